"""Commands whose modules are imported when they are called."""

from __future__ import annotations

import importlib
import logging
from functools import cached_property
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

LOG_MORE = "Log more; give it twice to log everything."


def set_log_level(verbose: int) -> None:
    """Let the package log warnings (0), what it does (1) or everything (2 and more)."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.getLogger("indian_tune").setLevel(level)


def _log_more(value: int) -> None:
    # Without it, the option before the command counts.
    if value:
        set_log_level(value)


def _common(
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            help=LOG_MORE,
            show_default=False,
            callback=_log_more,
            expose_value=False,
        ),
    ] = 0,
) -> None:
    """Have the options that every command takes behind its name, too."""


def _common_options() -> list[Any]:
    loader = typer.Typer(add_completion=False, rich_markup_mode=None)
    loader.command()(_common)
    return list(typer.main.get_command(loader).params)


class PlainUsageCommand(TyperCommand):
    """A command whose usage line names a required argument as it is, where typer adds braces."""

    def collect_usage_pieces(self, *args: Any) -> list[str]:
        """Return the parts of the usage line after the command's name."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(*args)]


class DeferredCommand(TyperCommand):
    """A command, or a group of them, that knows no more of itself than the list of commands tells.

    To import every command and to describe its options takes longer than most commands do.

    Args:
        name: of the command, of its module in this package, and of its function there; a group is
            the module's ``app``.
        summary: what the list of commands says of it.
    """

    def __init__(self, name: str, summary: str) -> None:
        # In a list, short help is wrapped, where the beginning of a long one would be cut.
        super().__init__(name, help=summary, short_help=summary)

    @cached_property
    def loaded(self) -> TyperCommand | TyperGroup:
        """The command itself."""
        assert self.name is not None
        module = importlib.import_module(f"indian_tune.cli.{self.name}")
        loader = typer.Typer(rich_markup_mode=None)
        if hasattr(module, "app"):
            loader.add_typer(module.app, name=self.name)
        else:
            loader.command(self.name, cls=PlainUsageCommand)(getattr(module, self.name))
        command = typer.main.get_group(loader).commands[self.name]
        assert isinstance(command, TyperCommand | TyperGroup)
        if isinstance(command, TyperGroup):
            for below in command.commands.values():
                below.short_help = " ".join((below.help or "").partition("\n\n")[0].split())
                below.params += _common_options()
        command.params += _common_options()
        return command

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Return a context whose command is the loaded one: it parses, completes and runs."""
        return self.loaded.make_context(*args, **extra)
