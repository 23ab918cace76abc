"""`indian-tune show`: the trials of a study, or one trial epoch by epoch."""

from __future__ import annotations

import itertools
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indian_tune.cli.options import Json, Storage, complete_study
from indian_tune.text import in_column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from indian_tune.ledger import ArmRecord, LedgerReader, StudyRecord, TrialRecord

# Rows of a table that a person still reads; laying out thousands takes seconds.
ROWS = 100
# Characters between the columns of a table.
GAP = 3
TRIAL = re.compile(
    r"(?P<arm>[^/]+)(?:/r(?P<replicate>\d+))?(?:/(?P<phase>tune|final|match|half|confirm))?"
    r"(?:/(?P<index>\d+))?"
)


def show(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="Name of a study.", autocompletion=complete_study),
    ],
    trial: Annotated[
        str | None,
        typer.Argument(
            metavar="[ARM[/rN][/match|/half|/confirm][/INDEX]]",
            help="An arm, or one of its trials: indian, indian/3, indian/confirm/0, indian/half/0 "
            "for a winner of half the budget, control/match/0 for a level of a control, "
            "indian/r2/3 for a trial of one of several searches.",
        ),
    ] = None,
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="Order the trials of each phase by their score, the best first."
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=0,
            help="Show at most this many trials; 0 for all.",
            show_default=f"{ROWS} in a table, all as JSON",
        ),
    ] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Show the trials of a study, those of one arm, or one trial epoch by epoch."""
    from indian_tune.errors import InputError
    from indian_tune.ledger import LedgerReader, Phase
    from indian_tune.service.output import notices, print_json, results

    with LedgerReader.open(storage) as ledger:
        record = ledger.study(study)
        arms = {arm.name: arm for arm in ledger.arms(record.id)}
        parts = TRIAL.fullmatch(trial) if trial is not None else None
        if trial is not None and (parts is None or parts["arm"] not in arms):
            raise InputError(
                f"{trial!r} is not an arm or trial of {study!r}: write ARM, ARM/INDEX or "
                "ARM/PHASE/INDEX (phases are final, match, half and confirm) with one of the arms "
                f"{', '.join(arms)}"
            )
        replicate = _replicate(record, None if parts is None else parts["replicate"], trial)
        arm = None if parts is None else arms[parts["arm"]]
        phase = None if parts is None or parts["phase"] is None else Phase(parts["phase"])
        if arm is None or parts is None or parts["index"] is None:
            arm_id = None if arm is None else arm.id
            if limit is None and not as_json:
                limit = ROWS
            chosen: dict[str, Any] = {"arm_id": arm_id, "phase": phase, "replicate": replicate}
            trials = ledger.trials(record.id, **chosen, best_first=best, limit=limit or None)
            names = {each.id: each.name for each in arms.values()}
            if as_json:
                print_json([_trial_json(t, names[t.arm_id], record) for t in trials])
                return
            _print_trials(results(), record, names, trials)
            total = ledger.count_trials(record.id, **chosen)
            if total > len(trials):
                notices().print(
                    f"These are {len(trials):,} of {total:,} trials. --limit 0 shows all, --best "
                    "sorts the best first, and ARM selects one arm."
                )
            return
        index = int(parts["index"])
        phase = phase or Phase.TUNE
        if replicate is None and record.replicates > 1:
            raise InputError(
                f"{trial!r} exists in each of the {record.replicates} searches of arm "
                f"{arm.name!r}: name the search, such as {arm.name}/r0/{index}"
            )
        found = ledger.find_trial(arm.id, phase, index, replicate or 0)
        if found is None:
            total = ledger.count_trials(
                record.id, arm_id=arm.id, phase=phase, replicate=replicate or 0
            )
            name = record.search_name(arm.name, replicate or 0)
            raise InputError(
                f"arm {name!r} has no {phase} trial {index}: it has {total}, numbered from 0"
            )
        if as_json:
            print_json(_trial_details(ledger, found, arm, record))
        else:
            _print_trial(results(), ledger, record, arm, found)


def _replicate(record: StudyRecord, given: str | None, trial: str | None) -> int | None:
    """Return which search is meant, ``None`` for all.

    Raises:
        InputError: the study has no such search.
    """
    from indian_tune.errors import InputError

    if given is None:
        return None
    last = record.replicates - 1
    if int(given) > last:
        raise InputError(
            f"{trial!r} names search {given} of {record.name!r}, whose arms have "
            + (f"searches r0 to r{last}" if last else "one search: remove the /r")
        )
    return int(given)


def _print_trials(
    console: Console, study: StudyRecord, names: Mapping[int, str], trials: list[TrialRecord]
) -> None:
    from indian_tune.service.output import config_text, table
    from indian_tune.study.completion import path_of

    scores = _scores(study)
    titles = tuple(title for title, _ in scores)
    made = table("trial", "state", *titles, "configuration", right=titles)
    values = [_values(trial, scores) for trial in trials]
    columns = [texts([row[n] for row in values]) for n, (_, texts) in enumerate(scores)]
    for trial, *cells in zip(trials, *columns, strict=True):
        path = path_of(study, names[trial.arm_id], trial)
        made.add_row(path, str(trial.state), *cells, config_text(trial.config))
    console.print(made)


def _print_trial(
    console: Console,
    ledger: LedgerReader,
    study: StudyRecord,
    arm: ArmRecord,
    trial: TrialRecord,
) -> None:
    from indian_tune.cli.curve import curves
    from indian_tune.service.output import config_text, headed, number, percent, table
    from indian_tune.study import dynamics_of
    from indian_tune.study.completion import path_of

    state = f": {trial.state}" + (f" ({trial.reason})" if trial.reason else "")
    console.print(headed(f"{study.name} {path_of(study, arm.name, trial)}", state))
    scores = _scores(study)
    told = ", ".join(
        f"score ({title}) {texts([value])[0]}"
        for (title, texts), value in zip(scores, _values(trial, scores), strict=True)
    )
    console.print(f"{told}, attempt {trial.attempts}")
    console.print(config_text(trial.config))
    if trial.config is not None:
        dynamics = dynamics_of(arm.optimizer, trial.config)
        console.print(
            f"effective learning rate {number(dynamics.effective_learning_rate)}, instantaneous "
            f"response {number(dynamics.instantaneous_response)}, momentum "
            f"{number(dynamics.momentum)} (first step)"
        )
    known = _titles(study)
    broken = _broken_attempts(ledger, trial)
    for run in ledger.runs(trial.id):
        epochs = ledger.epochs(run.id)
        names = list(dict.fromkeys(name for epoch in epochs for name in epoch.metrics))
        views = [(name, *_view(name, known)) for name in names]
        columns = {
            "epoch": [str(epoch.epoch) for epoch in epochs],
            "step": [str(epoch.step) for epoch in epochs],
        }
        for name, heading, share in views:
            values = [epoch.value(name) for epoch in epochs]
            # A word a line, as in the ranking: so a column is no wider than its longest word.
            columns[heading.replace(" ", "\n")] = (
                [percent(1 - value) for value in values] if share else in_column(values)
            )
        title = f"seed {run.seed}: {run.state}, {run.epochs_done}/{run.epochs_planned} epochs"
        console.print(f"\n{title}", style="bold")
        for place, headings in enumerate(_parts(columns, console.width)):
            made = table(*headings, right=headings)
            for row in zip(*(columns[heading] for heading in headings), strict=True):
                made.add_row(*row)
            console.print(*[""] * bool(place), made, sep="\n")
        if len(epochs) > 1:
            shown = {
                heading: [
                    100 * (1 - epoch.value(name)) if share else epoch.value(name)
                    for epoch in epochs
                ]
                for name, heading, share in views
                # The loss as it is minimized, all else as it carries over.
                if name.endswith("_loss") != name.startswith("validation_")
            }
            console.print()
            console.print(curves(shown))
            console.print()
        if run.provenance:
            console.print(", ".join(f"{key} {value}" for key, value in run.provenance.items()))
        if run.error and run.error not in [each["traceback"] for each in broken]:
            console.print(f"The last failed attempt:\n{run.error}", style="red")
    for traceback, same in itertools.groupby(broken, key=itemgetter("traceback")):
        attempts = list(same)
        numbers = [str(each["attempt"]) for each in attempts]
        which = f"Attempt {numbers[0]} failed"
        if numbers[1:]:
            which = f"Attempts {', '.join(numbers)} failed in the same way, the last one"
        at = f"{attempts[-1]['at']:%Y-%m-%d %H:%M:%S} UTC"
        console.print(f"\n{which} at {at}:\n{traceback}", style="red")


def _parts(columns: Mapping[str, Sequence[str]], room: int) -> list[tuple[str, ...]]:
    """Split the columns of a table so that no word is cut; the first one begins every part.

    Args:
        columns: heading → cells.
        room: columns of the terminal.
    """
    first, *others = columns
    widths = {
        heading: GAP + max(len(word) for cell in (heading, *cells) for word in cell.split())
        for heading, cells in columns.items()
    }
    parts = [[first]]
    for heading in others:
        if parts[-1][1:] and sum(widths[each] for each in (*parts[-1], heading)) - GAP > room:
            parts.append([first])
        parts[-1].append(heading)
    return [tuple(part) for part in parts]


def _scores(study: StudyRecord) -> list[tuple[str, Callable[[Sequence[float | None]], list[str]]]]:
    """Return what the trials of a study are judged by, in words, and what shows the scores."""
    from indian_tune.outcome import outcome_of
    from indian_tune.study.description import score_words
    from indian_tune.study.file.protocol import ProtocolSection

    outcome = outcome_of(study.spec)
    found: list[tuple[str, Callable[[Sequence[float | None]], list[str]]]] = []
    for objective in ProtocolSection.model_validate(study.spec["protocol"]).scores:
        if objective == "validation_error":
            # The text of an error is the metric itself, unless it is a share.
            title = "validation error %" if outcome.share else f"validation {outcome.title}"
            found.append((title, outcome.error_texts))
        else:
            found.append((score_words(objective, outcome), in_column))
    return found


def _values(trial: TrialRecord, scores: Sequence[object]) -> list[float | None]:
    """Return the scores of a trial; on the fresh seeds it has the first alone."""
    others = (trial.values or ())[1:]
    return [trial.value, *others, *[None] * (len(scores) - 1 - len(others))]


def _broken_attempts(ledger: LedgerReader, trial: TrialRecord) -> list[dict[str, Any]]:
    """Return the attempts at a trial that ended with an exception or made no progress."""
    from indian_tune.ledger.slots import BROKE

    return [
        {"at": event.at, **{key: event.data[key] for key in ("attempt", "reason", "traceback")}}
        for event in ledger.events(trial.study_id, BROKE)
        if event.trial_id == trial.id
    ]


def _trial_json(trial: TrialRecord, arm: str, study: StudyRecord) -> dict[str, object]:
    return {
        "arm": arm,
        "phase": str(trial.phase),
        **({"replicate": trial.replicate} if study.replicates > 1 else {}),
        "index": trial.index,
        "state": str(trial.state),
        "value": trial.value,
        **({} if trial.values is None else {"values": list(trial.values)}),
        "config": None if trial.config is None else dict(trial.config),
        "attempts": trial.attempts,
        "reason": trial.reason,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
    }


def _trial_details(
    ledger: LedgerReader, trial: TrialRecord, arm: ArmRecord, study: StudyRecord
) -> dict[str, object]:
    from indian_tune.training.metrics import OPEN, metric_names

    dynamics = None
    if trial.config is not None:
        from indian_tune.study import dynamics_of

        dynamics = vars(dynamics_of(arm.optimizer, trial.config))
    return {
        **_trial_json(trial, arm.name, study),
        "meaning": dynamics,
        "broken_attempts": _broken_attempts(ledger, trial),
        "runs": [
            {
                "seed": run.seed,
                "state": str(run.state),
                "epochs_planned": run.epochs_planned,
                "provenance": run.provenance,
                "error": run.error,
                "epochs": [
                    {
                        "run_id": run.id,
                        "epoch": epoch.epoch,
                        "step": epoch.step,
                        **dict.fromkeys(metric_names(OPEN, _titles(study))),
                        **epoch.metrics,
                        "seconds": epoch.seconds,
                    }
                    for epoch in ledger.epochs(run.id)
                ],
            }
            for run in ledger.runs(trial.id)
        ],
    }


def _titles(study: StudyRecord) -> dict[str, tuple[str, bool]]:
    """Return the title of every metric of a study, and whether it is a share."""
    from indian_tune.outcome import metrics_of
    from indian_tune.training.metrics import METRICS

    known = metrics_of(study.spec)
    return known or {name: (metric.title, metric.share) for name, metric in METRICS.items()}


def _view(name: str, known: Mapping[str, tuple[str, bool]]) -> tuple[str, bool]:
    """Return the heading of a metric, and whether it is a share, shown as an error in %."""
    split, _, kind = name.partition("_")
    if kind not in known:
        return name, False
    title, share = known[kind]
    heading = f"{split.replace('validation', 'valid.')} {title}"
    return f"{heading} %" if share else heading, share
