"""The base class of hypotheses: section of the claims, arms, prospects."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from indian_tune.study.file.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from indian_tune.study.file.arm import ArmSection
    from indian_tune.study.file.factors import DesignedArm


@dataclass(frozen=True)
class Prospect:
    """What a study can say on one hypothesis.

    Attributes:
        hypothesis: its name, such as H1.
        testable: whether the study contains what the hypothesis compares.
        compares: what is compared, in words; empty if nothing is.
        missing: what to add for it to be tested, or to be supported; empty if nothing.
    """

    hypothesis: str
    testable: bool
    compares: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Setting:
    """What a hypothesis is proposed from, beside the arms.

    Attributes:
        default: the untuned (α, β) of INDIAN.
        grid: whether the search is a designed grid.
        seeds: of a tune trial.
        design: the arms that ``[[factors]]`` made; empty without factors.
    """

    default: Mapping[str, float]
    grid: bool
    seeds: int
    design: Sequence[DesignedArm] = ()


class Hypothesis(Section):
    """One hypothesis: the section of the claims that names its arms, such as ``[claims.h2]``.

    A study that does not test it has no such section.

    Attributes:
        name: such as H2; the key of its section is the same in small letters.
        role: a "link" is a part of the claim, the "replication" is tested under the paper's
            protocol too, what is "secondary" decides nothing.
        question: what it asks, in words.
        gain: of a link, where tuning improves accuracy if it holds, to complete a sentence.
        needs: what to write into a study file for it to be tested; ``{default}`` is filled in.
        add: the same for readers of a verdict.
        contrasts: of a link, how many contrasts it consists of.
        find: "module:function" that judges it, called with the evidence and the section.
    """

    name: ClassVar[str]
    role: ClassVar[Literal["replication", "link", "secondary"]]
    question: ClassVar[str]
    gain: ClassVar[str] = ""
    contrasts: ClassVar[int] = 1
    needs: ClassVar[str]
    add: ClassVar[tuple[str, ...]]
    find: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a class that leaves out what every hypothesis has.

        Raises:
            TypeError: it lacks an attribute, which would be missed only in a report.
        """
        super().__init_subclass__(**options)
        for name in ("name", "role", "question", "needs", "add", "find"):
            if not hasattr(cls, name):
                raise TypeError(f"{cls.__name__} needs the class attribute {name}")

    @classmethod
    @abstractmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        """Return the section that the arms of a study make testable, ``None`` if they do not."""

    @abstractmethod
    def prospect(self) -> Prospect:
        """Return what a study with this section can say."""

    def pairs(self) -> list[tuple[str, str]]:
        """Return which arm is compared with which on the fresh seeds; by default none."""
        return []

    def warnings(self) -> Iterable[str]:
        """Return what to think of before the study is run, a sentence each."""
        return ()

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield every arm that the section names, with the key that names it."""
        for key, value in self:
            for arm in [value] if isinstance(value, str) else value or ():
                yield key, arm

    def required(self) -> list[str]:
        """Return the arms without whose runs on the fresh seeds nothing can be compared."""
        fields = type(self).model_fields if self.pairs() else {}
        needed = {key for key, field in fields.items() if field.is_required()}
        return [arm for key, arm in self.named() if key.partition("[")[0] in needed]


def ours(arms: Sequence[ArmSection]) -> list[ArmSection]:
    """Return the arms of INDIAN."""
    return [arm for arm in arms if arm.family.role == "ours"]


def tunes_shape(arm: ArmSection, *names: str) -> bool:
    """Return whether an arm of INDIAN searches (α, β), in its coordinates, and all of ``names``."""
    return searches(arm, *arm.family.shape, *names)


def first(arms: Sequence[ArmSection], condition: Callable[[ArmSection], bool]) -> str | None:
    """Return the name of the first arm that fulfils a condition."""
    return next((arm.name for arm in arms if condition(arm)), None)


def searches(arm: ArmSection, *names: str) -> bool:
    """Return whether the space of an arm gives all of these a range or a list."""
    return all(isinstance(arm.space.get(name), dict) for name in names)
