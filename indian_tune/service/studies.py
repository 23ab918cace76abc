"""Resolves a study from a path, a name, a TOML text, or an object."""

from __future__ import annotations

import dataclasses
import functools
import pickle
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indian_tune.engines import folders
from indian_tune.errors import InputError, StudyFileError
from indian_tune.imports import class_reference, in_hand, reference_to
from indian_tune.optim.families import FAMILIES
from indian_tune.service.shipped import find_study_file
from indian_tune.study.file.space import Choices, Constant, Grid, Range
from indian_tune.study.file.spec import StudySpec, load_study, parse_study
from indian_tune.text import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

Factory = Callable[..., object]
"""Makes a problem or a loop of one's own; takes ``arguments`` of the study's problem by name."""


@dataclass(frozen=True)
class Arm:
    """One optimizer with its search space, as ``[[arms]]`` of a study file.

    Attributes:
        optimizer: name of a family, such as ``indian``, ``package.module:Class`` or the class
            itself, or two for matrices and the rest, ``matrices=torch.optim:Muon,rest=indian``.
        space: hyperparameter → number, truth value, text, tuple, ``None``, :class:`Range`,
            :class:`Grid`, :class:`Choices`, or a table as a study file has it; what is left out
            keeps the family's default.
        name: of the arm; that of its optimizer, or of its class in small letters, if empty.
        options: other keys of ``[[arms]]``, such as ``fixed`` or ``response_of``.
    """

    optimizer: str | type
    space: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the arm as a study file has it."""
        if not isinstance(self.space, Mapping):
            raise InputError(
                f"space = {self.space!r} of Arm {self.optimizer!r} must be a dictionary from "
                'hyperparameters to values: write Arm(optimizer, space, name="…")'
            )
        space = {name: _plain(value) for name, value in self.space.items()}
        optimizer = _reference(self.optimizer)
        name = self.name or _name_of(optimizer)
        arm = {"name": name, "optimizer": optimizer, **self.options}
        return {**arm, "space": space} if space else arm


def _refuse_unknown(cls: type[Arm]) -> None:
    """Let unknown arguments of an arm be refused with the place where they belong."""
    plain = cls.__init__

    @functools.wraps(plain)
    def init(self: Arm, *args: Any, **named: Any) -> None:
        for name in named.keys() - cls.__dataclass_fields__.keys():
            raise InputError(
                f"Arm has no argument {name!r}: give a key of [[arms]] as options={{{name!r}: "
                f"{named[name]!r}}}, and a hyperparameter in space"
            )
        plain(self, *args, **named)

    cls.__init__ = init  # type: ignore[method-assign]


_refuse_unknown(Arm)


@dataclass(frozen=True)
class Study:
    """A study built in Python: the same as a study file, key by key, with the same defaults.

    So there are no finalists unless ``protocol`` asks for some: the best trial wins directly.

    Attributes:
        name: of the study.
        arms: each an :class:`Arm`, or the name or class of an optimizer whose default space is
            searched.
        problem: a function that returns a ``Problem`` or a ``Loop``; or ``[problem]`` as a table,
            in which ``factory`` may be such a function, beside ``dropout`` or ``batch_size``.
        protocol: ``[protocol]``.
        search: ``[search]``.
        claims: ``[claims]``.
        description: what it is for.
    """

    name: str
    arms: Sequence[Arm | str | type]
    problem: Mapping[str, Any] | Factory
    protocol: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    @property
    def function(self) -> Factory | None:
        """What makes the problem, if the study has it in hand."""
        if not isinstance(self.problem, Mapping):
            return self.problem
        factory = self.problem.get("factory")
        return None if isinstance(factory, str) else factory

    def plain(self) -> dict[str, Any]:
        """Return the study as a study file has it."""
        function = self.function
        problem = dict(self.problem) if isinstance(self.problem, Mapping) else {}
        if function is not None:
            problem["factory"] = reference_to(function)
        if isinstance(self.arms, str) or not isinstance(self.arms, Sequence):
            raise InputError(
                "arms must be a list of optimizers and Arms, but is of type "
                f"{type(self.arms).__name__}: write {_listed(self.arms)}"
            )
        sections = {"protocol": self.protocol, "search": self.search, "claims": self.claims}
        given: dict[str, object] = {**sections}
        for key, section in given.items():
            if not isinstance(section, Mapping):
                example = {"protocol": "epochs", "search": "trials"}.get(key, "verdict")
                raise InputError(
                    f"{key} = {section!r} of Study {self.name!r} must be a dictionary: write "
                    f'{key}={{"{example}": …}}'
                )
        sections = {"problem": problem, **sections}
        plain = {
            "name": self.name,
            "description": self.description,
            "arms": [(arm if isinstance(arm, Arm) else Arm(arm)).plain() for arm in self.arms],
            **sections,
        }
        return {key: _without_numpy(value) for key, value in plain.items()}


AnyStudy = str | Path | Study | StudySpec


@dataclass(frozen=True)
class FoundStudy:
    """A study that was given, read.

    Attributes:
        spec: the study.
        file: that it was read from; ``None`` for any other source.
        functions: what the caller has in hand, by its reference in the study.
        arms: their names, if messages are to name them instead of counting.
    """

    spec: StudySpec
    file: Path | None
    functions: Mapping[str, Factory]
    arms: Sequence[object] = ()

    def imports(self, *, allowed: bool) -> tuple[str, ...] | None:
        """Return the folders from which its own code may be imported; ``None`` for nothing."""
        beside = () if self.file is None else (self.file.parent,)
        return folders(*beside) if allowed else None

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Let the study's references lead to what the caller has in hand within the block."""
        with _arms_named(self.arms), in_hand(self.functions):
            yield

    def packed(self) -> bytes | None:
        """Return what the caller has in hand, pickled for other processes; ``None`` for nothing.

        Raises:
            InputError: it cannot be sent.
        """
        if not self.functions:
            return None
        import cloudpickle

        try:
            return bytes(cloudpickle.dumps(dict(self.functions)))
        except (TypeError, pickle.PicklingError, AttributeError, ValueError) as error:
            (reference,) = self.functions
            raise InputError(
                f"problem = {reference!r} cannot be sent to worker processes ({error}): create "
                'the objects that it uses inside the function, or use engine="inline"'
            ) from error


def find_study(study: AnyStudy, problem: Factory | None = None) -> FoundStudy:
    """Read a study.

    Args:
        study: path of a study file, name of a shipped one, text of TOML (it has a line break), or
            an object.
        problem: a function that makes what is trained, in place of the study's own.

    Raises:
        StudyFileError: there is no such study, or it is not valid.
        InputError: ``problem`` is no function that has a name.
    """
    if problem is None and isinstance(study, Study):
        problem = study.function
    functions = {} if problem is None else {reference_to(problem): problem}
    if isinstance(study, StudySpec):
        return FoundStudy(_with_problem(study.canonical(), study.name, functions), None, functions)
    if isinstance(study, Study):
        raw = study.plain()
        arms = [arm["name"] for arm in raw["arms"]]
        with _arms_named(arms):
            spec = _with_problem(raw, study.name, functions)
        return FoundStudy(spec, None, functions, arms)
    if isinstance(study, str) and "\n" in study:
        try:
            raw = read_toml(study)
        except tomllib.TOMLDecodeError as error:
            raise StudyFileError(f"the study's text is not valid TOML: {error}") from error
        return FoundStudy(_with_problem(raw, raw.get("name"), functions), None, functions)
    if not isinstance(study, str | Path):
        raise InputError(
            f"study = {study!r} must be a path, the name of a shipped study, TOML text, or an "
            "indian_tune.Study"
        )
    file = find_study_file(str(study))
    if not functions:
        return FoundStudy(load_study(file), file, functions)
    raw = read_toml(file.read_text(encoding="utf-8"))
    return FoundStudy(_with_problem(raw, raw.get("name"), functions), file, functions)


def _with_problem(raw: dict[str, Any], name: object, functions: Mapping[str, Factory]) -> StudySpec:
    problem = raw.get("problem", {})
    if functions and isinstance(problem, Mapping):
        kept = {key: each for key, each in problem.items() if key not in ("dataset", "model")}
        raw = {**raw, "problem": {**kept, "factory": next(iter(functions))}}
    return parse_study(raw, source=f"study {name!r}")


@contextmanager
def _arms_named(names: Sequence[object]) -> Iterator[None]:
    """Let messages name the arms of a list in Python, which nobody counts from 1."""

    def named(match: re.Match[str]) -> str:
        name = names[int(match[1]) - 1]
        if names.count(name) > 1:
            # As Python counts.
            return f"arms[{int(match[1]) - 1}]{match[2] or ''}"
        return f"arms[{name!r}]" if match[2] is None else f"arm {name!r}"

    try:
        yield
    except InputError as error:
        if names:
            error.args = (re.sub(r"\barms\[(\d+)\]( = '[^']*'|(?![\w.]))?", named, str(error)),)
        raise


def _listed(arms: object) -> str:
    """Return how a list of arms is written, with what was given if it names one."""
    return f"[{arms!r}]" if isinstance(arms, str) else '["indian", "adam"]'


def _reference(optimizer: object) -> str:
    """Return what a study file calls an optimizer.

    Raises:
        InputError: it is neither a name nor a class that can be imported.
    """
    if isinstance(optimizer, str):
        return optimizer
    if not isinstance(optimizer, type):
        raise InputError(
            f"optimizer = {optimizer!r} of Arm must be a name such as 'adam', or a class such as "
            "torch.optim.RMSprop"
        )
    name = optimizer.__name__
    if getattr(sys.modules.get("torch.optim"), name, None) is optimizer:
        return f"torch.optim:{name}"
    reference = class_reference(optimizer, "optimizer of Arm")
    known = (family.name for family in FAMILIES.values() if family.optimizer == reference)
    return next(known, reference)


def _name_of(optimizer: str) -> str:
    """Return the name of an arm that is given none."""
    one_class = optimizer.count(":") == 1 and "=" not in optimizer
    return optimizer.partition(":")[2].lower() if one_class else optimizer


def _without_numpy(value: object) -> Any:
    """Return a value of a study with Python's numbers in place of numpy's."""
    match value:
        case Mapping():
            return {key: _without_numpy(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(map(_without_numpy, value))
    # A scalar of numpy, or an array without dimensions.
    return value.item() if getattr(value, "ndim", None) == 0 else value  # type: ignore[attr-defined]


def _plain(value: object) -> object:
    match value:
        case Constant(only):
            return only
        case Choices(values):
            return {"choices": list(values)}
        case Grid(values):
            return {"grid": list(values)}
        case Range():
            table = dataclasses.asdict(value)
            del table["integer"]
            return {key: each for key, each in table.items() if each is not None}
    return value
