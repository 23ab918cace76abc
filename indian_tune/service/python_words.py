"""Messages for Python: options of the command line are replaced by arguments.

Lower layers do not know who calls them, so their messages name options. The functions that
`import indian_tune` offers translate the messages of their exceptions.
"""

from __future__ import annotations

import re
from contextlib import ContextDecorator
from typing import TYPE_CHECKING

from indian_tune.errors import IndianTuneError

if TYPE_CHECKING:
    from types import TracebackType

_NAMES = {"as": "as_name", "map": "columns"}
# Values of a space, as a study file and as a program writes them.
_FORMS = {
    "{choices = [...]}": "Choices([...])",
    "{grid = [...]}": "Grid([...])",
    "{low = ..., high = ..., log = true or false}": "Range(low, high, log=True or False)",
}
_FLAGS = {"allow-import", "retry-failed", "freeze-anyway", "extend-space", "sequential"}
# Commands stay as they are, for a shell; an option may have a value behind it.
_OPTION = re.compile(
    r"(?P<command>`[^`]*`|\b(?:indian-tune|pip install|pg_dump) [^,:;()\n]*)"
    r"|--engine-option (?P<engine_option>\w+)"
    r"|(?<![\w-])--(?P<name>[a-z][a-z-]*[a-z]|[ab]\b)"
    r"(?: (?P<value>[A-Z][A-Z-]+(?![\w=])|\d[\d.]*\d?|\w+\+?\w*://[^\s),]+"
    r"|lower|higher|failed|inline|optuna|ray)(?![\w-])"
    r"| (?P<key>\w+)=(?P<of_key>[\w.]+))?"
)


class PythonWords(ContextDecorator):
    """Decorates a function, or wraps a block, so that its errors name arguments."""

    def __enter__(self) -> None:
        """Change nothing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, IndianTuneError):
            error.args = (in_arguments(str(error)),)


def in_arguments(text: str) -> str:
    """Return a message with the arguments of Python in place of options, and its classes."""
    for toml, python in _FORMS.items():
        text = text.replace(toml, python)
    return _OPTION.sub(_argument, text)


def _argument(match: re.Match[str]) -> str:
    found = match.groupdict()
    if found["command"] or found["engine_option"]:
        return match[0] if found["command"] else str(found["engine_option"])
    option = found["name"]
    name = _NAMES.get(option, option.replace("-", "_"))
    if option in _FLAGS:
        return f"{name}=True"
    if option.startswith("no-"):
        return f"{name[3:]}=False"
    if found["key"]:
        return f"{name}={{{found['key']!r}: {found['of_key']!r}}}"
    value = found["value"]
    if value is None:
        return f"{name}=…" if match.string.endswith("with ", 0, match.start()) else name
    return f"{name}={value if value[0].isdigit() else repr(value)}"
