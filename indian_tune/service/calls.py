"""How a search is repeated: as a Python call, and as the recorded command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from indian_tune.engines import EngineOptions
from indian_tune.service.command import without_password
from indian_tune.service.searching import SearchRequest

if TYPE_CHECKING:
    from indian_tune.service.studies import FoundStudy


@dataclass(frozen=True)
class PythonCall:
    """A call of :func:`indian_tune.search` to be copied, without passwords.

    Attributes:
        request: what is asked.
        function: the one that is called; ``register`` takes what it knows of the same.
    """

    request: SearchRequest
    function: str = "search"

    def __str__(self) -> str:
        given = [_shown(self.request.study, "study")]
        plain = SearchRequest(self.request.study)
        for name in SearchRequest.__dataclass_fields__:
            value = getattr(self.request, name)
            if name in ("study", "options") or value == getattr(plain, name):
                continue
            given.append(f"{name}={_shown(value, name)}")
        given += [f"{name}={value!r}" for name, value in self.request.options.items()]
        return f"indian_tune.{self.function}({', '.join(given)})"

    @property
    def line(self) -> str:
        """The call on a line of its own."""
        return f"  {self}"


def python_again(request: SearchRequest, function: str = "search", **changes: Any) -> PythonCall:
    """Return how a search is called again from Python; what concerns one call alone is left out."""
    once = {"extend": 0, "extend_space": False, "retry_failed": False}
    return PythonCall(replace(request, **{**once, **changes}), function)


def recorded_command(request: SearchRequest, found: FoundStudy) -> str | None:
    """Return the command that continues with a search from anywhere; ``None`` if there is none.

    It is that which the command line would record for the same search.
    """
    if found.file is None or found.functions or isinstance(request.engine, EngineOptions):
        return None
    study = str(request.study)
    words = ["indian-tune", "search"]
    words.append(str(Path(study).absolute()) if Path(study).exists() else study)
    named: list[tuple[str, Any]] = [("storage", request.storage), ("as", request.as_name)]
    named.append(("freeze-anyway", request.freeze_anyway))
    named.append(("engine", None if request.engine == "optuna" else request.engine))
    options = dict(request.options)
    storage = options.pop("ray_storage", None)
    if storage is not None and "://" not in str(storage):
        storage = str(Path(storage).absolute())
    named += [(name, options.pop(name, None)) for name in ("workers", "devices")]
    threads = request.threads_per_worker
    named.append(("threads-per-worker", None if threads == 1 else threads))
    named += [(name, options.pop(name, None)) for name in ("lanes", "shrink_packs")]
    named.append(("data-dir", request.data_dir and request.data_dir.absolute()))
    named.append(("artifacts", request.artifacts))
    named.append(("log", request.log and request.log.absolute()))
    named += [(name, options.pop(name, None)) for name in ("ray_address", "gpus_per_trial")]
    named += [("ray-storage", storage), ("allow-import", request.allow_import)]
    named += [("engine-option", f"{name}={value}") for name, value in options.items()]
    for name, value in named:
        if value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(without_password(str(value)))
    return shlex.join(words)


def _shown(value: object, name: str) -> str:
    """Return a value as it would be written in a call, or the argument's name for what has none."""
    if isinstance(value, str) and "\n" not in value:
        return repr(without_password(value))
    if isinstance(value, Path):
        return repr(str(value))
    own = getattr(value, "__name__", "")
    if isinstance(value, FunctionType | type) and own.isidentifier():
        return own
    return repr(value) if isinstance(value, bool | int | float) else name
