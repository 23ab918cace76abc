"""`indian-tune replay`: other samplers and pruners in the learning curves of a finished study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from indian_tune.cli.options import Json, Storage, complete_study

if TYPE_CHECKING:
    from indian_tune.service.replaying import Method


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
    samplers and pruners are ranked by the regret of the configurations that they choose: the score
    that these lose to the best trial.
    """
    from indian_tune.service.output import notices, print_json, results
    from indian_tune.service.replaying import replay as run

    def tell(method: Method) -> None:
        epochs = sum(search.epochs for search in method.searches)
        notices().print(f"{method.sampler}, {method.pruner}: {epochs} epochs replayed")

    found = run(
        study,
        storage=storage,
        samplers=sampler,
        pruners=pruner,
        seeds=seeds,
        workers=workers,
        trials=trials,
        on_method=tell,
    )
    if as_json:
        print_json(found.as_json())
    else:
        results().print(found.shown())
