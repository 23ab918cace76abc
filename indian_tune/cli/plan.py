"""`indian-tune plan`: what a study will cost and can show, before anything runs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from indian_tune.cli.options import AllowImport, DataDir, Json, Storage
from indian_tune.text import counted

# Where nothing is known: between the spread of runs on digits and that of long runs on CIFAR.
DEFAULT_SD = 0.01


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
    threads_per_worker: Annotated[int, typer.Option(help="CPU threads of a worker.")] = 1,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Time a few training steps on the devices.")
    ] = True,
    sd: Annotated[
        float | None,
        typer.Option(
            help="Assumed standard deviation of paired differences, as a share of accuracy.",
            show_default=str(DEFAULT_SD),
        ),
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Finished study in --storage to take the standard deviations from, on validation "
            "images and its fresh seeds; with several searches of every arm, also how many "
            "searches, trials and seeds reach δ at the least cost.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="The same from a .parquet or .csv file of runs."),
    ] = None,
    storage: Storage = None,
    data_dir: DataDir = None,
    allow_import: AllowImport = False,
    as_json: Json = False,
) -> None:
    """Say what a study will cost and what it can show; nothing is run, nothing is written."""
    given = dict(locals())

    from indian_tune.cli.plan_report import print_report
    from indian_tune.engines.devices import worker_devices
    from indian_tune.engines.own_code import folders, guarded_own_code, prepared
    from indian_tune.errors import InputError
    from indian_tune.planning import make_plan
    from indian_tune.service.output import TRYING, notices, print_json, results
    from indian_tune.service.own_runs import read_runs
    from indian_tune.service.shipped import find_study_file
    from indian_tune.study import load_study

    given_by = {"--sd": sd, "--pilot": pilot, "--from": source}
    said = [f"{option} {value}" for option, value in given_by.items() if value is not None]
    if len(said) > 1:
        raise InputError(f"{' and '.join(said)} all say how far runs differ: give one of them")
    if sd is not None and not 0 < sd < 1:
        raise InputError(
            f"--sd = {sd} must be above 0 and below 1: 0.01 is one percentage point of accuracy"
        )
    file = find_study_file(study)
    imports = folders(file.parent) if allow_import else None
    spec = prepared(load_study(file), imports, lambda: notices().print(TRYING))
    assigned = worker_devices(devices, workers, threads_per_worker)

    def on_timing() -> None:
        places = ", ".join(set(assigned))
        notices().print(f"Timing a few steps with {counted(len(assigned), 'worker')} on {places} …")

    with guarded_own_code(spec):
        report = make_plan(
            spec,
            assigned,
            sd=sd or DEFAULT_SD,
            pilot=pilot if source is None else str(source),
            storage=storage,
            runs=None if source is None else read_runs(source),
            data_dir=data_dir,
            threads=threads_per_worker,
            imports=imports,
            timing=timing,
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
