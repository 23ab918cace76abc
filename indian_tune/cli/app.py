"""The application: its commands and exit statuses."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import logging
import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from indian_tune._version import __version__
from indian_tune.cli.deferred import LOG_MORE, DeferredCommand, set_log_level
from indian_tune.errors import DatabaseLostError, IndianTuneError, InputError, check_platform
from indian_tune.text import printable, tolerate_encodings

FAILED = 1
BAD_INPUT = 2
# After Ctrl-C, the status that shells use.
INTERRUPTED = 130
# The reader of a pipe has gone, the disk behind a file is full, or the device is lost.
_OUTPUT_LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EDQUOT)
# Names that a file system refuses whatever is done with them.
_UNUSABLE_NAME = (errno.ENAMETOOLONG, errno.ELOOP)

# In the order of `indian-tune --help`; the help of each begins with the same sentence.
COMMANDS = {
    "search": "Tune every arm of a study, train the winners on fresh seeds, and rank them.",
    "plan": "Estimate the cost of a study and what it can show; nothing is run or written.",
    "worker": "Train trials of a registered study until it is finished or you press Ctrl-C.",
    "slurm": "Submit workers of a study to a Slurm cluster, and register the study if it is new.",
    "status": "Show the progress of a study, its workers, and the ranking of its arms.",
    "show": "Show the trials of a study, those of one arm, or one trial epoch by epoch.",
    "analyze": "Open the test results: rank the arms, and judge whether tuning (α, β) regularizes.",
    "compare": "Test whether the difference between two arms is real, with runs from any source.",
    "replay": "Simulate other samplers and pruners on the recorded learning curves of a finished "
    "study.",
    "studies": "List the shipped study files and the studies in a database.",
    "doctor": "Check this machine and a database, and repair damage after a crash.",
    "dashboard": "Show a study in Optuna Dashboard, while it runs or afterwards.",
    "export": "Export a study as tables or TensorBoard event files, or copy its database.",
    "data": "List, fetch and check the data sets.",
    "reproduce": "Reproduce the figures and the theorem of the INDIAN paper.",
}


# Options that had another name before, which still works and is not shown.
_FORMER_OPTIONS = {"slots": "lanes"}


class _Commands(TyperGroup):
    """The commands, each imported when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, summary in COMMANDS.items():
            self.add_command(DeferredCommand(name, summary))


app = typer.Typer(
    cls=_Commands,
    name="indian-tune",
    help="Tune the INDIAN optimizer and its rivals with equal budgets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # To import what draws help with Rich takes as long as all else that --help does.
    rich_markup_mode=None,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: _FORMER_OPTIONS.get(name, name),
    },
)


class _ConsoleHandler(logging.Handler):
    """Writes the log where remarks go, above a live table if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from indian_tune.service.output import notices

        level = "" if hasattr(record, "notice") else f"{record.levelname.capitalize()}: "
        notices().print(f"{level}{self.format(record)}", soft_wrap=True)


def log_with_times() -> None:
    """Begin every line of the log with the time."""
    import time

    formatter = logging.Formatter("%(asctime)s UTC %(message)s", "%Y-%m-%d %H:%M:%S")
    formatter.converter = time.gmtime
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _ConsoleHandler):
            handler.setFormatter(formatter)


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
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help=LOG_MORE)] = 0,
) -> None:
    """Set up what all commands share."""
    check_platform()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_ConsoleHandler()])
    set_log_level(verbose)


def main() -> NoReturn:
    """Run the command line; a user's mistake ends with one message and status 2."""
    # Imports make many objects, and these stay: to search all of them for garbage, while they come
    # and once more at the end, takes as long as a short command's own work.
    gc.set_threshold(*gc.get_threshold()[:2], 100)
    atexit.register(_end_sooner)
    tolerate_encodings()
    status = _status()
    if status == INTERRUPTED:
        # While Python shuts down, another Ctrl-C would only print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _end_sooner() -> None:
    """Spare a short command the search for garbage at its end.

    Not where torch is loaded: extensions such as Triton's and JAX's would print every object that
    is left as a leak.
    """
    if "torch" not in sys.modules:
        gc.freeze()


def _status() -> int:
    """Run the application and return the exit status, all output written."""
    status = 0
    try:
        try:
            # Also where Python runs the package, so that a shell completes it, and help shows it.
            app(prog_name="indian-tune")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else FAILED
        sys.stdout.flush()
    except InputError as error:
        _print_error(error)
        # A program that runs it again should not take this for a mistake of its own.
        status = FAILED if isinstance(error, DatabaseLostError) else BAD_INPUT
    except IndianTuneError as error:
        _print_error(error)
        status = FAILED
    except OSError as error:
        if error.errno in _UNUSABLE_NAME:
            _print_error(f"{error.filename} cannot be used as a file name: {error.strerror}")
            return BAD_INPUT
        if error.errno == errno.ENOENT and not _in_folder():
            _print_error("the current folder has been deleted: change to another one")
            return BAD_INPUT
        if error.errno not in _OUTPUT_LOST or error.filename is not None:
            raise
        # After EPIPE the reader, such as head, has seen enough.
        if error.errno != errno.EPIPE:
            _print_error(f"the output cannot be written: {error.strerror}")
        _discard_output()
        status = FAILED
    return status


def _in_folder() -> bool:
    """Return whether the current folder still exists."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() does the same
    except FileNotFoundError:
        return False
    return True


def _print_error(error: object) -> None:
    with contextlib.suppress(OSError):
        print(f"Error: {printable(str(error))}", file=sys.stderr)


def _discard_output() -> None:
    """Send what is still buffered to nowhere: at its end Python would fail to write it again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
