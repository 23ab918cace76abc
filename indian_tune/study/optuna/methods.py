"""What samplers and pruners have in common: a name in a study file, options, perhaps own code.

Optuna is loaded where one is made and not before: a study file is checked without it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping  # noqa: TC003 - pydantic reads it
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from indian_tune.errors import IndianTuneError, InputError, alternatives, unknown_name
from indian_tune.imports import blamed, entry_point_names, is_reference, load_named
from indian_tune.study.file.problem_summary import check_plain

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractContextManager

# Above what any search has of trials, epochs or seeds.
MANY = 1_000_000

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


@dataclass(frozen=True)
class Option:
    """What one option may be in a study file.

    Attributes:
        kind: of its values; a whole number will do for ``float``.
        default: its value when it is not given; ``None`` leaves it to Optuna.
        low: its least value.
        high: its largest value.
        choices: the texts there are.
    """

    kind: type[bool | int | float | str]
    default: bool | float | str | None = None
    low: float = -inf
    high: float = inf
    choices: tuple[str, ...] = ()

    def check(self, value: object, key: str) -> Any:
        """Return a value if it can be one.

        Raises:
            InputError: the message names the key, the value and what is allowed.
        """
        if self.choices and value not in self.choices:
            raise InputError(unknown_name(key, value, self.choices))
        fits, limits = type(value) is self.kind, ""
        if self.kind in (int, float):
            fits = type(value) in (int, self.kind) and self.low <= cast("float", value) <= self.high
            limits = f" from {self.low:,} to {self.high:,}"
        if not fits:
            raise InputError(f"{key} = {value!r} must be {_KINDS[self.kind]}{limits}")
        # Or 25 and 25.0 would be two studies.
        return self.kind(cast("Any", value))


@dataclass(frozen=True)
class Method:
    """A sampler or a pruner with its options.

    Attributes:
        name: in a study file; ``package.module:Class`` or that of an entry point for an own one.
        factory: makes Optuna's object; ``None`` for an own class, which is loaded by its name.
        options: that a study file may give; an own class says itself what it takes.
        given: the options of this study.
    """

    KEY: ClassVar[str]
    """Of the study file."""
    WORD: ClassVar[str]
    ENTRY_POINTS: ClassVar[str]
    """Group by which an installed package names its own."""
    DECLARED: ClassVar[Mapping[str, Option]]
    """Capabilities that an own class may declare by attributes of these names."""

    name: str
    factory: Callable[..., Any] | None = field(default=None, compare=False)
    options: Mapping[str, Option] = field(default_factory=dict, compare=False)
    given: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @classmethod
    def read(cls, raw: object, catalog: Mapping[str, Self]) -> Self:
        """Return what a study file asks for; nothing is imported.

        Args:
            raw: a name, or a table of a name and options.
            catalog: what there is by name.

        Raises:
            InputError: it is neither, the name is not known, or an option cannot be what it is.
        """
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, str | dict):
            raise InputError(
                cls._of_optuna(raw, catalog)
                or f"{cls.KEY} = {raw!r} must be a name, or a table of name and options"
            )
        given: dict[str, Any] = {"name": raw} if isinstance(raw, str) else dict(raw)
        name = given.pop("name", None)
        if not isinstance(name, str):
            problem = "is missing" if name is None else f"= {name!r} must be a string"
            raise InputError(cls._of_optuna(name, catalog) or f"{cls.KEY}.name {problem}")
        if name in catalog:
            method = catalog[name]
            method._check_names(given, method.options)
            known = {k: method.options[k].check(v, f"{cls.KEY}.{k}") for k, v in given.items()}
            return replace(method, given=dict(sorted(known.items())))
        if not is_reference(name) and name not in entry_point_names(cls.ENTRY_POINTS):
            raise InputError(
                f"{unknown_name(cls.KEY, name, catalog)}, or package.module:Class for your own "
                f"{cls.WORD}"
            )
        declared = {
            key: option.check(given.pop(key), f"{cls.KEY}.{key}")
            for key, option in cls.DECLARED.items()
            if key in given
        }
        check_plain(given, cls.KEY)
        return cls(name, given=dict(sorted(given.items())), **declared)

    @classmethod
    def _of_optuna(cls, given: object, catalog: Mapping[str, Self]) -> str | None:
        """Return what to write in place of an Optuna object or class; ``None`` for all else."""
        made = given if isinstance(given, type) else type(given)
        suffix = cls.WORD.capitalize()
        if f"Base{suffix}" not in [base.__name__ for base in made.__mro__]:
            return None
        module = f"optuna.{cls.WORD}s" if made.__module__.startswith("optuna.") else made.__module__
        table = f'{{"name": "{module}:{made.__name__}"}} with its options and --allow-import'
        word = made.__name__.removesuffix(suffix).lower().replace("nop", "none")
        shipped = f'"{word}", or ' if word in catalog else ""
        return (
            f"{cls.KEY} = {made.__name__} must be given by its name, because every trial makes a "
            f"{cls.WORD} of its own: write {shipped}{table}"
        )

    def plain(self) -> str | dict[str, Any]:
        """Return it as a study file gives it: the name alone where nothing else is said."""
        declared = {key: getattr(self, key) for key in self.DECLARED} if self.own else {}
        table = {k: value for k, value in declared.items() if value != self.DECLARED[k].default}
        table |= self.given
        return {"name": self.name, **dict(sorted(table.items()))} if table else self.name

    def __str__(self) -> str:
        """Return name and options for people."""
        options = ", ".join(f"{key}={value}" for key, value in self.given.items())
        return f"{self.name} ({options})" if options else self.name

    @property
    def own(self) -> bool:
        """Whether it is its user's own class."""
        return self.factory is None

    @property
    def settings(self) -> dict[str, Any]:
        """The options with which it is made; what is left to Optuna is not among them."""
        defaults = {key: option.default for key, option in self.options.items()}
        return {k: v for k, v in {**defaults, **self.given}.items() if v is not None}

    def completed(self) -> Self:
        """Return it with the capabilities that its class declares; imports an own class.

        Raises:
            InputError: the class cannot be used, or declares what a capability cannot be.
        """
        if not self.own:
            return self
        own = self._load()
        declared = {
            key: option.check(getattr(own, key), f"{self.KEY} = {self.name!r}: its attribute {key}")
            for key, option in self.DECLARED.items()
            if hasattr(own, key)
        }
        return replace(self, **declared)

    def blamed(self, doing: str) -> AbstractContextManager[None]:
        """Turn what it raises into a message about the key; errors of this package pass.

        Raises:
            InputError: the code in the block failed.
        """
        return blamed(f"{self.KEY} = {self.name!r}", doing, but=IndianTuneError)

    def build(self, *args: Any, **ours: Any) -> Any:
        """Make Optuna's object.

        Args:
            args: for the factory of one that is shipped.
            ours: for the constructor of an own class, as far as it takes them.

        Raises:
            InputError: it does not take its options, or an own class cannot be used.
        """
        import optuna

        own = self._load() if self.factory is None else None
        with self.blamed(f"making {self}"), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if own is None:
                assert self.factory is not None
                return self.factory(*args, **self.settings)
            takes = inspect.signature(own).parameters
            # What passes all on to Optuna's class passes a seed on as well.
            takes_any = any(each.kind is each.VAR_KEYWORD for each in takes.values())
            allowed = takes.keys() | (self.given.keys() if takes_any else ())
            self._check_names(self.given, allowed - ours.keys())
            return own(**{k: v for k, v in ours.items() if k in takes or takes_any}, **self.given)

    def _check_names(self, given: Mapping[str, Any], allowed: Collection[str]) -> None:
        for key in given:
            if key not in allowed:
                known = alternatives(key, allowed) if allowed else " It has no options"
                raise InputError(f"{self.KEY}.{key} is not an option of {self.name!r}.{known}")

    def _load(self) -> type:
        import optuna

        base = getattr(getattr(optuna, f"{self.WORD}s"), f"Base{self.WORD.capitalize()}")
        found = load_named(self.name, key=self.KEY, group=self.ENTRY_POINTS)
        if not isinstance(found, type) or not issubclass(found, base):
            raise InputError(
                f"{self.KEY} = {self.name!r} must be a subclass of optuna.{self.WORD}s."
                f"{base.__name__}, got {found!r}"
            )
        return found
