"""The application: its commands, and how it ends."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, NoReturn

import typer

from indian_tune._version import __version__
from indian_tune.cli import (
    analyze,
    dashboard,
    data,
    doctor,
    export,
    plan,
    reproduce,
    search,
    show,
    status,
    studies,
    worker,
)
from indian_tune.errors import IndianTuneError, InputError

FAILED = 1
BAD_INPUT = 2

app = typer.Typer(
    name="indian-tune",
    help="Tune the INDIAN optimizer and its rivals under one fair budget.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("search")(search.search)
app.command("plan")(plan.plan)
app.command("worker")(worker.worker)
app.command("status")(status.status)
app.command("show")(show.show)
app.command("analyze")(analyze.analyze)
app.command("studies")(studies.studies)
app.command("doctor")(doctor.doctor)
app.command("dashboard")(dashboard.dashboard)
app.command("export")(export.export)
app.add_typer(data.app, name="data")
app.add_typer(reproduce.app, name="reproduce")


class _ConsoleHandler(logging.Handler):
    """Writes the log where remarks go, above a live table if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from indian_tune.cli.output import notices

        level = record.levelname.capitalize()
        notices().print(f"{level}: {self.format(record)}", markup=False, soft_wrap=True)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"indian-tune {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", callback=_print_version, is_eager=True
        ),
    ] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log more; twice for everything.")
    ] = 0,
) -> None:
    """Set up what all commands share."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_ConsoleHandler()])
    logging.getLogger("indian_tune").setLevel(level)


def main() -> NoReturn:
    """Run the command line; a user's mistake ends with one message and status 2."""
    try:
        app()
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except IndianTuneError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except BrokenPipeError:
        # The reader, such as head, has seen enough.
        sys.stderr.close()
        sys.exit(FAILED)
    sys.exit(0)
