"""Formats results: tables, JSON, and numbers of a sensible length."""

from __future__ import annotations

import functools
import html
import io
import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from indian_tune.optim.hyperparameters import is_number, labelled, value_text
from indian_tune.text import SYMBOLS, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.live import Live

    from indian_tune.optim.hyperparameters import Value
    from indian_tune.service.command import Command

# Said before own code is run for the first time, which may take long or hang.
TRYING = "Trying the study's own code …"
DEFAULT_COLUMNS = 80
MIN_COLUMNS = 20


class PlainConsole(Console):
    """A console that shows foreign text as it is: without markup, control characters escaped."""

    def __init__(self, file: TextIO | None = None, *, colored: bool = True) -> None:
        columns = os.environ.get("COLUMNS", "")
        # A terminal without a size passes on 0, in which nothing can be shown.
        unusable = columns.isdigit() and int(columns) < MIN_COLUMNS
        super().__init__(
            file=file,
            width=DEFAULT_COLUMNS if unusable else None,
            highlight=False,
            emoji=False,
            markup=False,
            color_system="auto" if colored else None,
            # One without colors writes to its file in a notebook, too.
            force_jupyter=None if colored else False,
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text ready to be shown; tables, too, pass their cells through here."""
        return super().render_str(printable(text), **options)


def results() -> Console:
    """Return the console for results: standard output."""
    return PlainConsole()


def notices() -> Console:
    """Return the console for progress and remarks: standard error.

    The same one while standard error is the same: a live table and a log line that know of each
    other do not overwrite each other.
    """
    return _notices(sys.stderr)


@functools.lru_cache(maxsize=1)
def _notices(stream: TextIO) -> Console:
    return PlainConsole(stream)


class Shown:
    """A result that prints as the command shows it, also in a notebook."""

    def _show(self, console: Console) -> None:
        raise NotImplementedError

    def __str__(self) -> str:
        file = io.StringIO()
        self._show(PlainConsole(file, colored=False))
        return file.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def live_display(console: Console) -> Live | None:
    """Return a display that is redrawn in place; ``None`` where the console cannot do that."""
    from rich.live import Live

    able = console.is_terminal and not console.is_dumb_terminal
    return Live(console=console, auto_refresh=False) if able else None


def print_lines(console: Console, text: str, *commands: Command) -> None:
    """Print a remark, and commands below it, each on a line of its own that nothing wraps."""
    console.print(text)
    for command in commands:
        console.print(command.line, soft_wrap=True)


def headed(head: str, rest: str) -> Text:
    """Return a line whose beginning is bold."""
    return Text.assemble((printable(head), "bold"), printable(rest))


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become null."""
    print(json_text(value))


def json_text(value: Any) -> str:
    """Return a value as JSON; numbers that are not finite become null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str)


def table(*columns: str, title: str | None = None, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table in the common style.

    Args:
        columns: their headings.
        title: above the table.
        right: headings of the columns that hold numbers.
    """
    shown = Table(
        # An empty line separates a titled table from what is above it.
        title=None if title is None else f"\n{title}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        show_edge=False,
    )
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return shown


def number(value: float | None, digits: int = 3) -> str:
    """Return a number in few characters; a dash for none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """Return a share as a percentage."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.2f}"


def config_text(config: Mapping[str, Value] | None) -> str:
    """Return a configuration on one line, Greek letters as such."""
    if config is None:
        return "–"
    # The hyperparameters that the paper names come first.
    named = labelled(config)
    names = [*(n for n in SYMBOLS if n in named), *(n for n in named if n not in SYMBOLS)]
    return " ".join(f"{SYMBOLS.get(name, name)}={_value(named[name])}" for name in names)


def _value(value: Value) -> str:
    return number(value) if is_number(value) else value_text(value)


def duration(seconds: float) -> str:
    """Return a time span as people say it."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
