"""Imports code that a study file names, only if the user has allowed it.

A reference is ``package.module:name``, which is imported inside ``imports_allowed`` alone, or the
name of an entry point that an installed package declares, which whoever installed it has allowed.
What a program has in hand is found by its reference within ``in_hand``, and nothing is imported.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import re
import sys
import traceback
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from indian_tune.errors import InputError, alternatives
from indian_tune.used_code import own_place, used_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import ModuleType

log = logging.getLogger(__name__)

OPTION = "--allow-import"

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_ENTRY_POINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(eq=False)
class _Allowed:
    """A block in which references may be imported.

    Attributes:
        folders: that are searched before the installed packages; ``None`` allows nothing.
        path: ``sys.path`` before it.
        end: ``os._exit`` before it.
    """

    folders: tuple[str, ...] | None
    path: list[str]
    end: Callable[[int], NoReturn]


# Those that are open, in this order; those of several threads do not end in the reverse order.
_allowed: list[_Allowed] = []
# What a program has in hand, by its reference: where the block is, and in any thread.
_in_hand: ContextVar[Mapping[str, object]] = ContextVar("in_hand")
_in_any_hand: list[Mapping[str, object]] = []
# The process that may run own code; one that it forks ends as it likes.
_process = 0
_exit = os._exit


@contextmanager
def imports_allowed(folders: Sequence[str] | None) -> Iterator[None]:
    """Let references be imported within the block, in the whole process.

    Code that ends the process in the block by ``os._exit`` ends it with status 1: with a status of
    its own, whoever waits for the process would take the work for done, or the input for bad.

    Args:
        folders: searched for modules before the installed packages; ``None`` allows nothing.
    """
    global _process
    block = _Allowed(None if folders is None else tuple(folders), list(sys.path), os._exit)
    _allowed.append(block)
    _process = os.getpid()
    os._exit = _exit_as_failed
    sys.path[:0] = block.folders or ()
    try:
        yield
    finally:
        later = _allowed[_allowed.index(block) + 1 :]
        _allowed.remove(block)
        if later:
            # Of another thread: it puts back what this one has found.
            later[0].path, later[0].end = block.path, block.end
        else:
            os._exit = block.end  # type: ignore[assignment]
            sys.path[:] = block.path


def _folders() -> tuple[str, ...] | None:
    """Return the folders that are searched; ``None`` where nothing may be imported."""
    given = (block.folders for block in reversed(_allowed) if block.folders is not None)
    return next(given, None)


@contextmanager
def in_hand(objects: Mapping[str, object]) -> Iterator[None]:
    """Let references lead to objects of this process within the block.

    Args:
        objects: by the reference that a study has for each, see :func:`reference_to`.
    """
    token = _in_hand.set({**_in_hand.get({}), **objects})
    _in_any_hand.append(objects)
    try:
        yield
    finally:
        _in_hand.reset(token)
        _in_any_hand.remove(objects)


def _held() -> Mapping[str, object]:
    """Return what is in hand here; an engine may work in threads of its own."""
    found: dict[str, object] = {}
    for objects in (*_in_any_hand, _in_hand.get({})):
        found.update(objects)
    return found


def reference_to(function: Callable[..., object]) -> str:
    """Return what a study calls a function that a program has in hand.

    It is ``module:name``: the function itself where the module can be imported elsewhere, and only
    its name where it was defined in a notebook, a script or another function.

    Raises:
        InputError: it is no function, or has no name.
    """
    given: object = function
    name = getattr(given, "__name__", None)
    if not callable(given) or not isinstance(name, str):
        if type(given).__name__ in ("Problem", "Loop"):
            raise InputError(
                f"problem must be a function that returns a {type(given).__name__}, but it is a "
                f"{type(given).__name__}: give the function itself, without calling it, or a "
                "function that returns it: factory=lambda: loop"
            )
        raise InputError(
            f"problem is of type {type(given).__name__}, but must be a function with a name that "
            "returns a Problem or a Loop: write one with def"
        )
    # A lambda is called <lambda>.
    return f"{function.__module__}:{re.sub(r'[^A-Za-z0-9_]', '', name) or 'function'}"


def class_reference(cls: type, key: str) -> str:
    """Return what a study calls a class: ``module:name``, from which workers import it.

    Args:
        cls: that a program has in hand.
        key: where it was given, for messages.

    Raises:
        InputError: no import finds it, because a program, a notebook or a function defines it.
    """
    module, name = cls.__module__, cls.__name__
    if module == "__main__" or getattr(sys.modules.get(module), name, None) is not cls:
        raise InputError(_not_importable(f"{key} = {name}"))
    return f"{module}:{name}"


def _not_importable(where: str) -> str:
    return (
        f"{where} is defined in a program, a notebook or a function, but a class must be in a "
        "module that can be imported: move it to a .py file"
    )


def _exit_as_failed(status: int) -> NoReturn:
    if os.getpid() == _process:
        log.error(
            "user code ended this process early, with os._exit(%s): raise an exception there "
            "instead, then run the same command again",
            status,
        )
        status = 1
    _exit(status)


def is_reference(text: str) -> bool:
    """Whether a text has the form ``package.module:name``."""
    return _REFERENCE.fullmatch(text) is not None


def check_form(text: str, key: str, what: str) -> None:
    """Check that a text can be a reference; nothing is imported.

    Args:
        text: as given.
        key: where it was given.
        what: it is to name, such as ``function``.

    Raises:
        InputError: it cannot.
    """
    if not is_reference(text) and not _ENTRY_POINT.fullmatch(text):
        raise InputError(
            f"{key} = {text!r} must be package.module:{what}, or a {what} name that an installed "
            "package registers"
        )


def entry_point_names(group: str) -> list[str]:
    """Return the names that installed packages declare in a group of entry points."""
    return sorted(importlib.metadata.entry_points(group=group).names)


def load_named(reference: str, *, key: str, group: str) -> object:
    """Return what a reference names.

    Args:
        reference: ``package.module:name``, or the name of an entry point.
        key: of the study file, for messages.
        group: of entry points.

    Raises:
        InputError: it is not allowed here, is not found, or its module fails.
    """
    where = f"{key} = {reference!r}"
    held = _held()
    if reference in held:
        return held[reference]
    if not is_reference(reference):
        return _from_entry_point(reference, where, group)
    module_name, _, name = reference.partition(":")
    if module_name == "__main__":
        # Only what makes a problem is sent to workers from the program that defines it.
        if key != "problem.factory":
            raise InputError(_not_importable(where))
        raise InputError(
            f"{where} was defined in a program or a notebook: call indian_tune.search there with "
            "that function, or move it into a module that can be imported"
        )
    if _folders() is None:
        raise InputError(
            f"{where} names code, and a study file may not run code by itself: read that code, "
            f"then add {OPTION}"
        )
    with blamed(where, f"importing {module_name}", but=ModuleNotFoundError):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise InputError(_not_found(where, module_name, str(error.name))) from error
    return _attribute(module, name, where)


def _from_entry_point(name: str, where: str, group: str) -> object:
    found = importlib.metadata.entry_points(group=group, name=name)
    if not found:
        module, dot, last = name.rpartition(".")
        if dot and module:
            raise InputError(f"{where} has no colon: write {module}:{last}")
        raise InputError(
            f"{where} is not registered by any installed package in the entry points "
            f"{group}.{alternatives(name, entry_point_names(group))}; or write package.module:name"
        )
    (point, *_) = found
    with blamed(where, f"importing {point.value}"):
        return point.load()


def _not_found(where: str, module: str, missing: str) -> str:
    if module.endswith(".py"):
        return f"{where}: leave out .py, as a module is named without it"
    searched = ", ".join(_folders() or ())
    if module == missing or module.startswith(f"{missing}."):
        return (
            f"{where}: there is no module {missing!r} among the installed packages, on PYTHONPATH "
            f"or in {searched}. Install it, or run the command in the folder that contains it"
        )
    return f"{where}: module {module!r} needs {missing!r}, which is not installed"


def _attribute(module: ModuleType, name: str, where: str) -> object:
    try:
        return getattr(module, name)
    except AttributeError:
        own = [each for each in vars(module) if not each.startswith("_")]
        raise InputError(
            f"{where}: {module.__file__} has no {name!r}.{alternatives(name, own)}"
        ) from None


@contextmanager
def blamed(where: str, doing: str, but: type[Exception] | None = None) -> Iterator[None]:
    """Turn whatever somebody else's code raises into a message about the key that names it.

    Args:
        where: the key and its value.
        doing: what it was asked to do, such as ``importing the module``.
        but: an exception that is let through.

    Raises:
        InputError: the code in the block failed.
    """
    try:
        yield
    except (Exception, SystemExit, GeneratorExit) as error:
        if but is not None and isinstance(error, but):
            raise
        if isinstance(error, InputError):
            # Of this package's own functions, called from there: it says what is wrong by itself.
            known = str(error).startswith(where)
            raise error if known else InputError(f"{where}: {error}") from error
        log.debug("%s failed", doing, exc_info=True)
        if isinstance(error, SyntaxError):
            # It says itself where it is.
            raise InputError(f"{where}: {doing} failed with SyntaxError: {error}") from error
        place = _place_of(error)
        at = "" if place is None else f" ({place[0]}, line {place[1]})"
        raise InputError(
            f"{where}: {doing} failed with {type(error).__name__}: {error}{at}"
        ) from error


def _place_of(error: BaseException) -> tuple[str, int | None] | None:
    """Return file and line of somebody else's code at which an error arose; ``None`` if at none.

    A loop of one's own runs in a thread, whose error is the cause of the one that is raised here.
    """
    frames: list[tuple[str, int | None]] = []
    each: BaseException | None = error
    while each is not None:
        places = traceback.extract_tb(each.__traceback__)
        there = [(place.filename, place.lineno) for place in places]
        own = own_place(there)
        if own is not None:
            return own
        frames += there
        each = each.__cause__
    here = Path(__file__).parent
    others = [place for place in frames if not Path(place[0]).resolve().is_relative_to(here)]
    return others[-1] if others else None


@dataclass(frozen=True)
class Source:
    """Which code a reference meant when a study was registered.

    Attributes:
        reference: as in the study file.
        module: that it names.
        version: of the installed package that the module belongs to; ``None`` if of none.
        sha256: of the module's file, in hexadecimal; ``None`` if it has none.
        used: SHA-256 of all own code that it reaches, see :func:`used_code`; empty while the module
            is not imported.
    """

    reference: str
    module: str
    version: str | None
    sha256: str | None
    used: Mapping[str, str] = field(default_factory=dict)

    def differs(self, known: Mapping[str, Any]) -> list[str]:
        """Return what of the code is not what it was, by name.

        Args:
            known: an earlier one, as a dictionary. An earlier version may not have known all of it.
        """
        before, now = known.get("used", {}), self.used
        changed = [name for name, sha in now.items() if before.get(name, sha) != sha]
        if changed:
            return changed
        told = ("module", "version", "sha256")
        same = all(getattr(self, name) == known[name] for name in told)
        return [] if same else [self.reference]


def source_of(reference: str, group: str) -> Source | None:
    """Return where a reference leads from here; ``None`` if nowhere.

    The module itself is not run; packages that it lies in are.
    """
    held = _held()
    if reference in held and not _importable(reference):
        return _source_in_hand(reference, held[reference])
    module, version = reference.partition(":")[0], None
    if not is_reference(reference):
        found = importlib.metadata.entry_points(group=group, name=reference)
        if not found:
            return None
        (point, *_) = found
        module = point.module
        version = None if point.dist is None else point.dist.version
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if version is None:
        version = _version(module.partition(".")[0])
    file = None if spec.origin is None else Path(spec.origin)
    digest = None
    if file is not None and file.is_file():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    imported = sys.modules.get(module)
    used = {} if imported is None or version is not None else used_code(imported)
    return Source(reference, module, version, digest, used)


def _importable(reference: str) -> bool:
    """Whether what this program has in hand is what an import would find elsewhere."""
    module, _, name = reference.partition(":")
    found = getattr(sys.modules.get(module), name, None)
    return module != "__main__" and found is _held()[reference]


def _source_in_hand(reference: str, found: object) -> Source:
    """Return what is known of an object that this program has in hand."""
    module = reference.partition(":")[0]
    text = None
    if callable(found):
        with contextlib.suppress(OSError, TypeError):
            text = inspect.getsource(found).encode()
    digest = None if text is None else hashlib.sha256(text).hexdigest()
    return Source(reference, f"{module} (in hand)", None, digest, used_code(found))


def _version(package: str) -> str | None:
    names = _distributions(tuple(_installed_in())).get(package, [])
    return importlib.metadata.version(names[0]) if names else None


def _installed_in() -> Iterator[tuple[str, int]]:
    """Yield every folder of distributions, and when one was last added or removed there."""
    for folder in sys.path:
        if any(Path(folder).glob("*.*-info")):
            yield folder, Path(folder).stat().st_mtime_ns


@functools.lru_cache(maxsize=4)
def _distributions(folders: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    """Return the distributions of every package; to read all of their lists takes 50 ms."""
    return importlib.metadata.packages_distributions()
