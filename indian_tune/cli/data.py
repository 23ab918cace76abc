"""``indian-tune data``: list, fetch and check the data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from indian_tune.cli.deferred import PlainUsageCommand
from indian_tune.cli.options import DataDir, Json
from indian_tune.service.output import notices, print_json, results, table

if TYPE_CHECKING:
    from indian_tune.problems import DataStatus

app = typer.Typer(help="List, fetch and check the data sets.", no_args_is_help=True)


@app.command("list")
def list_data_sets(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the data sets, the models that accept them, and whether they are present.

    Files are not read: `verify` compares checksums.
    """
    from indian_tune.problems import DATASETS, MODELS, data_folder, verify

    entries = [
        (
            info,
            [model.name for model in MODELS.values() if model.takes(info)],
            verify(info, data_dir, checksums=False),
        )
        for info in DATASETS.values()
    ]
    if as_json:
        rows = [
            {
                "name": info.name,
                "title": info.title,
                "description": info.description,
                "classes": info.classes,
                "shape": info.shape,
                "train_images": info.train_images,
                "test_images": info.test_images,
                "models": models,
                "state": status.state,
                "details": status.details,
            }
            for info, models, status in entries
        ]
        print_json({"data_dir": data_folder(data_dir), "datasets": rows})
        return
    listed = table(
        "name",
        "image",
        "classes",
        "training",
        "test",
        "models",
        "state",
        right=("classes", "training", "test"),
    )
    for info, models, status in entries:
        listed.add_row(
            info.name,
            "×".join(map(str, info.shape)),
            f"{info.classes}",
            f"{info.train_images:,}",
            f"{info.test_images:,}",
            ", ".join(models),
            status.state,
        )
    results().print(listed)
    typer.echo(f"Data folder: {data_folder(data_dir)}")


@app.command("fetch", cls=PlainUsageCommand)
def fetch_data_set(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Data set, as `indian-tune data list` names it.")
    ],
    data_dir: DataDir = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            help="Address (http, https or file) of a copy of a data folder, used instead of the "
            "official addresses. Default: $INDIAN_TUNE_MIRROR.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Download a data set, check it and unpack it; intact files are kept.

    The same command continues an interrupted download.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from indian_tune.errors import DataError
    from indian_tune.problems import fetch

    console = notices()
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    tasks = {}

    def show(file: str, done: int, total: int | None) -> None:
        if file not in tasks:
            tasks[file] = bars.add_task(file, total=total)
            if bars.disable:
                size = f" ({total / 1e6:,.1f} MB)" if total else ""
                typer.echo(f"downloading {file}{size}", err=True)
        bars.update(tasks[file], completed=done, total=total)

    try:
        with bars:
            status = fetch(name, data_dir, mirror=mirror, progress=show)
    except DataError as error:
        # What was asked for is right, so this is no bad input: it could not be had.
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    _print_status(status)
    typer.echo(f"Data folder: {status.folder}")


@app.command("verify")
def verify_data_sets(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Data set. Default: all.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Compare the files of a data set, or of all, with their checksums.

    Exits with 1 if one is damaged, or if the named one is missing.
    """
    from indian_tune.problems import DATASETS, DataState, data_folder, verify

    statuses = [verify(each, data_dir) for each in ([name] if name else DATASETS)]
    if as_json:
        rows = [
            {"name": status.name, "state": status.state, "details": status.details}
            for status in statuses
        ]
        print_json({"data_dir": data_folder(data_dir), "datasets": rows})
    else:
        for status in statuses:
            _print_status(status)
        typer.echo(f"Data folder: {data_folder(data_dir)}")
    bad = {DataState.DAMAGED} | ({DataState.MISSING} if name else set())
    if any(status.state in bad for status in statuses):
        raise typer.Exit(1)


@app.command("path")
def print_path(data_dir: DataDir = None) -> None:
    """Print the data folder that the other commands would use."""
    from indian_tune.problems import data_folder

    typer.echo(data_folder(data_dir))


def _print_status(status: DataStatus) -> None:
    typer.echo(f"{status.name}: {status.state}")
    for detail in status.details:
        typer.echo(f"    {detail}")
    if not status.usable:
        typer.echo(f"    get it with `{status.fetch_command}`")
