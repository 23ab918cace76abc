"""The command that goes on where one stopped, built from that command's own parameters."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typer.models import OptionInfo, ParameterInfo
from typer.utils import get_params_from_function

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What concerns one call alone: done again, it would be done twice.
ONCE = frozenset({"extend", "extend_space", "retry_failed"})

# What is between the name of a user and the last @: a password may hold an @ by mistake.
_PASSWORD = re.compile(r"(://[^:/@]*):.*@")
_IN_QUERY = re.compile(r"([?&])(?:ssl)?password=[^&]*(&|$)")


@dataclass(frozen=True)
class Command:
    """A command to be copied: complete, quoted for a shell, and without passwords.

    Attributes:
        words: of it.
        incomplete: whether a password was left out.
    """

    words: tuple[str, ...]
    incomplete: bool = False

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def line(self) -> str:
        """The command on a line of its own, with what its user must add below."""
        hint = (
            "\n  (the password is left out: put it into ~/.pgpass, or the whole address into "
            "INDIAN_TUNE_STORAGE in place of --storage)"
        )
        return f"  {self}{hint if self.incomplete else ''}"


def command_line(
    function: Callable[..., None], given: Mapping[str, Any], **changes: Any
) -> Command:
    """Return the command that calls a function of the command line.

    Args:
        function: of a command; its parameters say what there is to give.
        given: values of all its parameters, as it was called. Those of one call alone are left
            out.
        **changes: values of parameters that are to differ.
    """
    values = {name: value for name, value in given.items() if name not in ONCE} | changes
    words = ["indian-tune", function.__name__]
    incomplete = False
    for name, parameter in get_params_from_function(function).items():
        info = parameter.default
        assert isinstance(info, ParameterInfo)
        value = values.get(name, info.default)
        if value == info.default:
            continue
        texts = [str(each) for each in (value if isinstance(value, list | tuple) else [value])]
        shown = [without_password(text) for text in texts]
        incomplete |= shown != texts
        if not isinstance(info, OptionInfo):
            words += shown
            continue
        flags = [flag for flag in info.param_decls or () if flag.startswith("--")]
        on, _, off = (flags[0] if flags else "--" + name.replace("_", "-")).partition("/")
        if isinstance(value, bool):
            words.append(on if value else off)
        else:
            words += [word for text in shown for word in (on, text)]
    return Command(tuple(words), incomplete)


def other_command(*words: str, storage: str | None) -> Command:
    """Return another command about the same database.

    Args:
        *words: of it, from its name on.
        storage: as ``--storage`` was given.
    """
    if storage is None:
        return Command(("indian-tune", *words))
    shown = without_password(storage)
    return Command(("indian-tune", *words, "--storage", shown), shown != storage)


def recorded_command(recorded: str, *options: str, storage: str | None) -> Command:
    """Return a command that is in the record, with more options.

    Args:
        recorded: as a text.
        *options: to add.
        storage: as ``--storage`` was given.
    """
    incomplete = storage is not None and without_password(storage) != storage
    return Command((*shlex.split(recorded), *options), incomplete)


def without_password(address: str) -> str:
    """Return an address without its password; any other text as it is."""
    if "://" not in address:
        return address
    shown = _PASSWORD.sub(r"\1@", address)
    for _ in range(2):
        # What follows keeps the mark of what came first.
        shown = _IN_QUERY.sub(lambda match: match[1] if match[2] else "", shown)
    return shown
