"""Finds the user's own code that a function uses: functions, classes, constants and modules."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import sys
import sysconfig
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def used_code(start: object) -> dict[str, str]:
    """Return the SHA-256 of all own code that is reached from a function or a class.

    Own is what belongs to no installed package. Of a module, the file counts as a whole. What the
    running program or a notebook defines counts by itself, plain constants included: the rest of
    that file may change without an effect.

    Args:
        start: a function or a class.

    Returns:
        ``module`` or ``module:name`` → SHA-256 in hexadecimal, sorted. What has no source, such as
        a function that was made by ``exec``, is left out.
    """
    found: dict[str, str] = {}
    seen: set[int] = set()
    # They are kept: the id of an object that is gone may be another's.
    ahead = [start]
    for each in ahead:
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, ModuleType):
            ahead += _of_module(each, found)
        elif isinstance(each, functools.partial):
            ahead += [each.func, *each.args, *each.keywords.values()]
        else:
            ahead += _of_object(inspect.unwrap(each) if callable(each) else each, found)
    return dict(sorted(found.items()))


def own_place(places: Iterable[tuple[str, int | None]]) -> tuple[str, int | None] | None:
    """Return the last of some places in code that is own code; ``None`` if none is.

    Args:
        places: file and line of each frame, outermost first.
    """
    own = [(file, line) for file, line in places if _is_own(file)]
    return own[-1] if own else None


def _of_module(module: ModuleType, found: dict[str, str]) -> Iterator[object]:
    file = _own_file(module)
    if file is None:
        return
    found[module.__name__] = hashlib.sha256(file.read_bytes()).hexdigest()
    for value in vars(module).values():
        if isinstance(value, ModuleType):
            yield value
        elif isinstance(getattr(value, "__module__", None), str):
            yield from _module_of(value)


def _module_of(value: object) -> Iterator[object]:
    module = sys.modules.get(str(getattr(value, "__module__", None)))
    if module is not None and module.__name__ != "__main__":
        yield module


def _of_object(value: Any, found: dict[str, str]) -> Iterator[object]:
    """Yield what a function, a method or a class of the running program uses in turn."""
    value = getattr(value, "__func__", value)
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return
    if value.__module__ != "__main__":
        yield from _module_of(value)
        return
    # The text of a class has its methods.
    if "." not in value.__qualname__.rpartition("<locals>.")[2]:
        with contextlib.suppress(OSError, TypeError):
            text = inspect.getsource(value)
            found[f"__main__:{value.__qualname__}"] = hashlib.sha256(text.encode()).hexdigest()
    if inspect.isclass(value):
        yield from value.__bases__
        yield from vars(value).values()
        return
    for cell in value.__closure__ or ():
        # One that is not filled yet has no contents.
        with contextlib.suppress(ValueError):
            yield cell.cell_contents
    for name in _names(value.__code__):
        if name in value.__globals__:
            used = value.__globals__[name]
            if _is_plain(used):
                found[f"__main__:{name}"] = hashlib.sha256(repr(used).encode()).hexdigest()
            else:
                yield used


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(each) for pair in value.items() for each in pair)
    return isinstance(value, _PLAIN)


def _own_file(module: ModuleType) -> Path | None:
    """Return the file of a module that belongs to no installed package; ``None`` of any other."""
    name = getattr(module, "__file__", None)
    if not isinstance(name, str) or module.__name__ == "__main__":
        return None
    return Path(name).resolve() if _is_own(name) else None


def _is_own(name: str) -> bool:
    """Whether a file is no part of Python, of an installed package, or of this package."""
    file = Path(name).resolve()
    return file.is_file() and not any(file.is_relative_to(folder) for folder in _installed())


@functools.cache
def _installed() -> tuple[Path, ...]:
    """Folders of Python's own modules, of installed packages and of this one."""
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    more = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    installed = [*(paths[name] for name in names), *more, str(Path(__file__).parent)]
    return tuple({Path(path).resolve() for path in installed})
