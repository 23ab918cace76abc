"""The ranking of arms, as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.measure import Measurement
from rich.text import Text

from indian_tune.ledger import State
from indian_tune.outcome import ACCURACY
from indian_tune.service.command import other_command
from indian_tune.service.output import config_text, number, table
from indian_tune.study.description import score_words
from indian_tune.text import SYMBOLS, counted, in_column, some

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

    from indian_tune.analysis import Verdict
    from indian_tune.ledger import ArmProgress
    from indian_tune.outcome import Outcome
    from indian_tune.study.ranking import ArmResult, Metrics

# Fresh seeds that a note lists; the rest is counted.
SEEDS = 5
SMALLER = "run a study with smaller step sizes, or with a metric that is finite"
SUSPECT = "first look for a fault in the data, the loss or the network; if there is none"


def ranking_table(results: Sequence[ArmResult], outcome: Outcome = ACCURACY) -> RenderableType:
    """Return the ranking for people; of classification errors in percent."""
    judged = _judged(outcome)
    searches = max((len(result.searches) for result in results), default=0)
    title = "Arms, best first" + (f"; means over {searches} searches" if searches > 1 else "")
    if any(each.confirmed and each.confirmed.validation_error_std is not None for each in results):
        title += f"; ± standard deviation between {'searches' if searches > 1 else 'seeds'}"
    tuned = [result.tuned for result in results]
    fresh = [result.confirmed for result in results]
    best = [first or second for first, second in zip(fresh, tuned, strict=True)]
    columns = (
        outcome.error_texts([None if each is None else each.validation_error for each in tuned]),
        outcome.error_texts(
            [None if each is None else each.validation_error for each in fresh],
            [None if each is None else each.validation_error_std for each in fresh],
        ),
        in_column([None if each is None else each.train_loss for each in best], 3),
    )
    rows = []
    for place, (result, *cells) in enumerate(zip(results, *columns, strict=True), 1):
        rate = None if result.dynamics is None else result.dynamics.effective_learning_rate
        rows.append((str(place), result.name, *cells, number(rate), config_text(result.config)))
    heads = ("", "arm", tune_title(outcome), f"fresh\n{judged}", "train\nloss", "γ0/α")
    last = "configuration of the best search" if searches > 1 else "best configuration"
    return _Ranking(title, heads, rows, last)


def tune_title(outcome: Outcome) -> str:
    """Return the heading of the score on the tuning seeds."""
    return f"tune\n{_judged(outcome)}"


def _judged(outcome: Outcome) -> str:
    return "error %" if outcome.share else outcome.title


def arms_table(verdict: Verdict, winners: Mapping[str, str]) -> RenderableType:
    """Return the arms of a verdict for people, best first: test results, runs and winners.

    Args:
        verdict: from ``analyze``.
        winners: the configuration of an arm that won, as text; may be empty.
    """
    from indian_tune.analysis.typography import arm_rows, arm_title

    (head, *rows), title = arm_rows(verdict, winners), arm_title(verdict, winners)
    return (
        _Ranking(title, head[:-1], rows, head[-1]) if winners else _Ranking(title, head, rows, "")
    )


@dataclass(frozen=True)
class _Ranking:
    """A table that cuts no number: in a narrow terminal, configurations stand below it.

    Attributes:
        title: above it.
        heads: of all columns but the last, which is the configuration.
        rows: place, arm, numbers and configuration.
        last: heading of the configurations; empty where there are none.
    """

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    last: str

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        room = options.max_width
        words = max((len(word) for row in self.rows for word in row[-1].split()), default=0)
        narrow = self._table()
        # Without a limit, which would hide what is cut.
        unlimited = options.update(width=10_000)
        whole = Measurement.get(console, unlimited, narrow).maximum
        names = max((len(row[1]) for row in self.rows), default=0)
        yield Text(f"\n{self.title}", "bold")
        if self.last and whole + max(words, len("configuration")) + 2 <= room:
            yield self._table(self.last)
            return
        if whole - names + len("arm") <= room:
            yield narrow
        else:
            for row in self.rows:
                pairs = zip(self.heads[2:], row[2:], strict=False)
                told = ", ".join(f"{' '.join(head.split())} {cell}" for head, cell in pairs)
                yield Text(f"{row[0]} {row[1]}: {told}")
        for row in self.rows if self.last else ():
            yield Text(f"{row[1]}: {row[-1]}")

    def _table(self, *last: str) -> Table:
        made = table(*self.heads, *last, right=("", *self.heads[2:]))
        folded = last or ("arm",)
        for column in made.columns:
            column.no_wrap = column.header not in folded
        for row in self.rows:
            made.add_row(*row[: len(made.columns)])
        return made


def front_table(
    results: Sequence[ArmResult], objectives: Sequence[str], outcome: Outcome = ACCURACY
) -> Table | None:
    """Return the Pareto fronts of a study with several objectives, ``None`` for one with one."""
    if not any(result.front for result in results):
        return None
    # As the ranking shows it: a score is to be small, of the metric as of an error.
    shown = {"validation_error": (f"validation {_judged(outcome)}", outcome.error_texts)}
    columns = [shown.get(name, (score_words(name, outcome), in_column)) for name in objectives]
    names = [name for name, _ in columns]
    made = table(
        *("arm", "trial", *names, "configuration"),
        title="Trials that no other trial of their arm beats in every objective",
        right=("trial", *names),
    )
    rows = [(result.name, trial) for result in results for trial in result.front]
    scores = zip(*(trial.scores or [float("nan")] * len(names) for _, trial in rows), strict=True)
    texts = [of([*each]) for (_, of), each in zip(columns, scores, strict=True)]
    for (arm, trial), *cells in zip(rows, *texts, strict=True):
        made.add_row(arm, str(trial.index), *cells, config_text(trial.config))
    return made


def no_winner(result: ArmResult, ranked: Sequence[ArmResult] = ()) -> str | None:
    """Return why an arm has no winner although its search is over; ``None`` for any other arm.

    Where trials failed, nothing is decided: they may be run again.

    Args:
        result: of the arm.
        ranked: of all arms: if nothing else came out of any of them, it is hardly the step sizes.
    """
    tune = result.tune
    if tune is None or result.value is not None or not tune.total:
        return None
    diverged = tune.counts.get(State.DIVERGED, 0)
    if tune.finished < tune.total or tune.counts.get(State.FAILED) or not diverged:
        return None
    if _all_diverged(ranked):
        return f"all trials of all arms diverged: {SUSPECT}, {SMALLER}"
    if diverged == tune.total:
        found = "all of its trials diverged"
    else:
        found = f"none of its {tune.total} trials is complete ({outcomes(tune)})"
    return f"{found}: {SMALLER}"


def why_no_winner(
    result: ArmResult, ranked: Sequence[ArmResult], study: str, *, finished: bool
) -> str:
    """Return, for programs, why an arm has no best configuration.

    Args:
        result: of the arm.
        ranked: of all arms.
        study: its name.
        finished: whether nothing of the study is left to do.
    """
    named = f"arm {result.name!r} of study {study!r}"
    if (reason := no_winner(result, ranked)) is not None:
        return f"{named} has no winner, as {reason}"
    if finished:
        return f"{named} has no winner: status() says what became of its trials"
    return f"{named} has no complete trial yet: continue the search"


def _all_diverged(results: Sequence[ArmResult]) -> bool:
    searched = [each.tune for each in results if each.tune is not None and each.tune.total]
    return bool(searched) and all(
        each.counts.get(State.DIVERGED) == each.total for each in searched
    )


def failure_notes(
    results: Sequence[ArmResult],
    study: str,
    storage: str | None = None,
    outcome: Outcome = ACCURACY,
) -> list[str]:
    """Return a sentence for every arm without a winner, and for fresh seeds that did not train.

    Where all trials of all arms diverged, one sentence says so. The last one says if the reason may
    be a best value that is out of reach.

    Args:
        results: of all arms.
        study: its name, for the command that shows a trial.
        storage: as ``--storage`` was given, likewise.
        outcome: what runs are judged by, with its chance.
    """
    notes = []
    lost = _all_diverged(results)
    if lost:
        notes.append(f"no arm has a winner, as {no_winner(results[0], results)}")
    for result in results:
        reason = None if lost else no_winner(result)
        if reason is not None:
            notes.append(f"{result.name}: no winner, as {reason}")
        if result.untrained:
            seeds = [run.seed for run in result.untrained]
            notes.append(
                f"{result.name}: {len(seeds)} of {counted(result.fresh, 'run')} on fresh seeds did "
                f"not train (seed{'s' * (len(seeds) > 1)} {some(seeds, SEEDS)}): see "
                f"{other_command('show', study, result.untrained[0].path, storage=storage)}"
            )
    if any(result.untrained or result.trained is False for result in results):
        measured = [each for result in results for each in (result.tuned, result.confirmed) if each]
        doubt = outcome.doubt(
            each.validation_error if each.train_error is None else each.train_error
            for each in measured
        )
        notes += [doubt] if doubt else []
    return notes


def former_notes(results: Sequence[ArmResult]) -> list[str]:
    """Return a sentence for every arm that has trials on fresh seeds of former winners."""
    return [
        f"{result.name}: {result.former} of {result.confirm.total} trials on fresh seeds are of "
        "winners that were overtaken when trials were added; they are kept, and no result counts "
        "them"
        for result in results
        if result.confirm is not None and result.former
    ]


def edge_notes(results: Sequence[ArmResult]) -> list[str]:
    """Return a sentence for every winner's value at an end of its range.

    Of an arm of which nothing trained, that is said instead.
    """
    untrained = ", ".join(result.name for result in results if result.trained is False)
    notes = [
        f"{untrained}: nothing trained, as the best trial ends near chance level: check "
        "the data and the step sizes, or train for more epochs"
    ]
    return notes[: bool(untrained)] + [
        f"{result.name}: {SYMBOLS.get(edge.name, edge.name)} = {number(edge.value)} is "
        f"{edge.place} [{number(edge.low)}, {number(edge.high)}]"
        f"{' on a log scale' if edge.scale == 'log' else ''}, so better values may be outside: "
        f"try [{number(edge.next_low)}, {number(edge.next_high)}] with search --extend-space (in "
        "Python, extend_space=True)"
        for result in results
        if result.trained is not False
        for edge in result.edges
    ]


def level_notes(results: Sequence[ArmResult]) -> list[str]:
    """Return a sentence for every response-matched control whose level is frozen."""
    return [
        f"{result.name}{f'/r{replicate}' if len(result.levels) > 1 else ''}: "
        + (
            f"its level is {number(level['level'])}"
            + (f" ({level['reason']})" if level["reason"] else "")
            if level["level"] is not None
            else f"not isolated, no runs on fresh seeds ({level['reason']})"
        )
        for result in results
        for replicate, level in result.levels.items()
    ]


def done(progress: ArmProgress | None) -> str:
    """Return how many trials of how many are finished."""
    return "–" if progress is None else f"{progress.finished}/{progress.total}"


def outcomes(progress: ArmProgress | None) -> str:
    """Return what became of the trials of an arm, other than that they are complete."""
    if progress is None:
        return ""
    shown = (State.RUNNING, State.PRUNED, State.DIVERGED, State.FAILED)
    return ", ".join(f"{progress.counts[s]} {s}" for s in shown if progress.counts.get(s))


def odd_ends(result: ArmResult) -> str:
    """Return what became of trials of each phase, as a clause; empty if all are complete."""
    parts = {
        "tuning trials": result.tune,
        "trials of levels": result.match,
        "trials of half the budget on fresh seeds": result.half,
        "trials on fresh seeds": result.confirm,
    }
    return "; ".join(
        f"of {part.total} {what}, {found}"
        for what, part in parts.items()
        if part is not None and (found := outcomes(part))
    )


def ranking_json(results: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """Return the ranking for programs; errors are shares."""
    return [
        {
            "arm": result.name,
            "optimizer": result.optimizer,
            "best_trial": result.best_trial,
            "value": result.value,
            "config": None if result.config is None else dict(result.config),
            "effective_learning_rate": _of(result.dynamics, "effective_learning_rate"),
            "instantaneous_response": _of(result.dynamics, "instantaneous_response"),
            "momentum": _of(result.dynamics, "momentum"),
            "front": [
                {"trial": trial.index, "scores": list(trial.scores or ())} for trial in result.front
            ],
            "edges": [vars(edge) for edge in result.edges],
            "tune": None if result.tune is None else _progress(result.tune, result.tuned),
            **({} if result.match is None else {"match": _progress(result.match, None)}),
            **({} if result.level is None else {"level": dict(result.level)}),
            **({} if result.half is None else {"half": _progress(result.half, None)}),
            **(
                {"searches": [vars(search) for search in result.searches]}
                if len(result.searches) > 1
                else {}
            ),
            "confirm": None
            if result.confirm is None
            else _progress(result.confirm, result.confirmed),
        }
        for result in results
    ]


def _progress(progress: ArmProgress, metrics: Metrics | None) -> dict[str, Any]:
    return {
        "trials": progress.total,
        "finished": progress.finished,
        "states": {str(state): count for state, count in progress.counts.items()},
        "epochs_done": progress.epochs_done,
        "metrics": None if metrics is None else vars(metrics),
    }


def _of(value: object, name: str) -> float | None:
    found: float | None = getattr(value, name, None)
    return found


def ranking_frame(ranked: Sequence[ArmResult]) -> pd.DataFrame:
    """Return a row per arm, best first; hyperparameters are columns ``config.alpha``."""
    import pandas as pd

    rows = []
    for result in ranked:
        tuned, fresh = result.tuned, result.confirmed
        rows.append(
            {
                "arm": result.name,
                "optimizer": result.optimizer,
                "score": result.value,
                "tune_error": None if tuned is None else tuned.validation_error,
                "fresh_error": None if fresh is None else fresh.validation_error,
                "fresh_error_std": None if fresh is None else fresh.validation_error_std,
                **{f"config.{name}": each for name, each in (result.config or {}).items()},
            }
        )
    return pd.DataFrame(rows)
