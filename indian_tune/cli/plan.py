"""`indian-tune plan`: what a study will cost and can show, before anything runs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indian_tune.cli.options import AllowImport, DataDir, Json, Storage
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence


def plan(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="Study file, or the name of a shipped one."),
    ],
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes.", show_default="one per GPU, or per CPU core"),
    ] = None,
    devices: Annotated[
        str, typer.Option(help="auto, cpu, or a list such as cuda:0,cuda:1.")
    ] = "auto",
    threads_per_worker: Annotated[int, typer.Option(help="CPU threads per worker.")] = 1,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Time a few training steps on the devices.")
    ] = True,
    assume_gpu: Annotated[
        str | None,
        typer.Option(
            metavar="GPU",
            help="Estimate, with a model, times and lanes on a GPU that is not here: A100, H100 or "
            "H200.",
        ),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(
            help="Assumed standard deviation of paired differences, in accuracy, 0 to 1.",
            show_default="0.01",
        ),
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Finished study in --storage. Its validation results on fresh seeds give the "
            "standard deviations; with several searches of every arm, also the cheapest "
            "design that detects claims.delta.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Like --pilot, with a .parquet or .csv file of runs."),
    ] = None,
    storage: Storage = None,
    data_dir: DataDir = None,
    allow_import: AllowImport = False,
    as_json: Json = False,
) -> None:
    """Estimate the cost of a study and what it can show; nothing is run or written."""
    given = dict(locals())

    from indian_tune.errors import InputError
    from indian_tune.service.finding import find_or_tell
    from indian_tune.service.output import TRYING, notices, print_json, results
    from indian_tune.service.plan_report import print_report
    from indian_tune.service.planning import PlanRequest, make

    given_by = {"--sd": sd, "--pilot": pilot, "--from": source}
    said = [f"{option} {value}" for option, value in given_by.items() if value is not None]
    if len(said) > 1:
        raise InputError(f"{' and '.join(said)} all set the standard deviation: give one of them")

    def on_timing(assigned: Sequence[str]) -> None:
        places = ", ".join(dict.fromkeys(assigned))
        notices().print(f"Timing a few steps with {counted(len(assigned), 'worker')} on {places} …")

    report = make(
        find_or_tell(study, None, storage),
        PlanRequest(
            workers=workers,
            devices=devices,
            threads_per_worker=threads_per_worker,
            timing=timing,
            assume_gpu=assume_gpu,
            sd=sd,
            pilot=pilot,
            source=source,
            storage=storage,
            data_dir=data_dir,
            allow_import=allow_import,
        ),
        on_own_code=lambda: notices().print(TRYING),
        on_timing=on_timing,
    )
    if as_json:
        print_json(report.as_dict())
    else:
        from indian_tune.cli.again import command_line
        from indian_tune.cli.search import search
        from indian_tune.service.output import print_lines

        print_report(results(), report)
        shared = inspect.signature(search).parameters.keys() & given.keys() - {"as_json"}
        command = command_line(search, {name: given[name] for name in shared})
        print_lines(results(), "\nStart it with:", command)
