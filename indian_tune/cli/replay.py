"""`indian-tune replay`: other samplers and pruners in the learning curves of a finished study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from indian_tune.cli.options import Json, Storage, complete_study

if TYPE_CHECKING:
    from rich.table import Table

    from indian_tune.comparison.intervals import Difference
    from indian_tune.service.replaying import Method, Replay


def replay(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="Name of a finished study.", autocompletion=complete_study
        ),
    ],
    sampler: Annotated[
        list[str] | None,
        typer.Option("--sampler", help="Sampler; repeatable.", show_default="as in STUDY"),
    ] = None,
    pruner: Annotated[
        list[str] | None,
        typer.Option("--pruner", help="Pruner; repeatable.", show_default="as in STUDY"),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(min=2, max=10_000, help="Simulated searches with each sampler and pruner."),
    ] = 20,
    workers: Annotated[
        int, typer.Option(min=1, max=10_000, help="Trials that run at the same time.")
    ] = 1,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials of each arm in a search.", show_default="as in STUDY"),
    ] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Simulate other samplers and pruners on the recorded learning curves of a finished study.

    Nothing is trained: a proposed configuration gets the curve of the nearest recorded trial. The
    samplers and pruners are ranked by the regret of the configurations that they choose.
    """
    from indian_tune.service.output import notices, print_json, results
    from indian_tune.service.replaying import replay as run

    def tell(method: Method) -> None:
        epochs = sum(search.epochs for search in method.searches)
        notices().print(f"{method.sampler}, {method.pruner}: {epochs} epochs replayed")

    found = run(
        storage,
        study,
        sampler,
        pruner,
        seeds=seeds,
        workers=workers,
        trials=trials,
        on_method=tell,
    )
    if as_json:
        print_json(_json(found))
        return
    console = results()
    console.print(_table(found))
    for note in _notes(found):
        console.print(note)


def _table(found: Replay) -> Table:
    from indian_tune.service.output import duration, table

    made = table(
        *("sampler", "pruner", "regret", "worse than first", "epochs", "time"),
        title=f"{found.study}: samplers and pruners, least regret first",
        right=("regret", "worse than first", "epochs", "time"),
    )
    first = found.methods[0]
    for method in found.methods:
        made.add_row(
            method.sampler,
            method.pruner,
            with_interval(method.regret),
            "–" if method is first else with_interval(method.worse_than(first)),
            f"{method.epochs:.0f}",
            duration(method.seconds),
        )
    return made


def with_interval(difference: Difference) -> str:
    """Return a difference with its interval; without a spread there is none."""
    if not difference.settled:
        return f"{difference.estimate:.4f} (–)"
    return f"{difference.estimate:.4f} ({difference.low:.4f}, {difference.high:.4f})"


def _notes(found: Replay) -> list[str]:
    from indian_tune.service.output import number
    from indian_tune.text import counted

    arms = ", ".join(f"{arm} {count}" for arm, count in found.table.items())
    seeds = len(found.methods[0].searches)
    return [
        f"Regret: {found.objective.replace('_', ' ')} of the configuration that a search chose, "
        f"minus the lowest one in the table; mean over {counted(len(found.table), 'arm')} and "
        f"{counted(seeds, 'seed')}. In brackets: 95 % interval over seeds for this row.",
        f"Each search: {counted(found.trials, 'trial')} per arm, "
        f"{counted(found.workers, 'worker')}. Epochs and time: means per search; times use the "
        "recorded seconds of the epochs.",
        f"Configurations in the table: {arms}. For a configuration that is not in the table, the "
        f"nearest one is used: {100 * found.held:.0f} % of the proposed ones are in the table, "
        f"and the median distance is {number(found.median_distance)} where each range has length "
        "1.",
    ]


def _json(found: Replay) -> dict[str, Any]:
    first = found.methods[0]
    return {
        "study": found.study,
        "objective": found.objective,
        "trials": found.trials,
        "workers": found.workers,
        "table": found.table,
        "held": found.held,
        "median_distance": found.median_distance,
        "methods": [
            {
                "sampler": method.sampler,
                "pruner": method.pruner,
                "regret": _interval(method.regret),
                "worse_than_first": None
                if method is first
                else _interval(method.worse_than(first)),
                "epochs": method.epochs,
                "seconds": method.seconds,
                "searches": [vars(search) for search in method.searches],
            }
            for method in found.methods
        ],
    }


def _interval(difference: Difference) -> dict[str, float]:
    return {"estimate": difference.estimate, "low": difference.low, "high": difference.high}
