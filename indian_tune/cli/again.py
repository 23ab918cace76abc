"""Builds the command that continues an interrupted one, from its own parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.models import OptionInfo, ParameterInfo
from typer.utils import get_params_from_function

from indian_tune.service.command import Command, without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What concerns one call alone: done again, it would be done twice.
ONCE = frozenset({"extend", "extend_space", "retry_failed"})


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
