"""``[claims]``: what the analysis will test, registered before the first trial.

Every hypothesis names the arms that it compares. A study file may leave a hypothesis out: the
study fills it in from its arms where they make it testable, so that what is registered is always
written out.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from indian_tune.study.file.section import ADDED, Name, Section
from indian_tune.study.hypotheses import (
    Factorial,
    Hypothesis,
    MatchedLoss,
    Replication,
    Setting,
    Surface,
    TuningGain,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.study.file.arm import ArmSection
    from indian_tune.study.file.factors import DesignedArm

Level = Annotated[float, Field(gt=0, lt=0.5)]
Loss = Annotated[float, Field(gt=0)]


class Thresholds(Section):
    """Log-spaced training losses: ``count`` of them from ``low`` to ``high``."""

    low: Loss
    high: Loss
    count: int = Field(ge=1, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high or (self.count > 1 and self.low == self.high):
            raise ValueError(f"low = {self.low!r} must be below high = {self.high!r}")
        return self


# Searches of every arm. With fewer than the least no verdict is given; with the advised number
# `analyze --calibrate` asks for power.
LEAST_SEARCHES, ADVISED_SEARCHES = 5, 10
# Of a metric without a unit; a share has a bound of its own.
MAX_DELTA = 1e12


class ClaimsSection(Section):
    """``[claims]``.

    The fields that hold a hypothesis are the one list of hypotheses: whatever goes through them
    asks :meth:`hypotheses`, and meets them in the order of the fields.

    Attributes:
        delta: smallest difference in accuracy of interest, a share (0.005 is half a percentage
            point); of another task than classification, in the unit of its metric.
        alpha: one-sided level of lower bounds; upper ones have alpha / k for k contrasts.
        default: the default (α, β) of INDIAN, against which tuning is judged.
        thresholds: training losses at which earlier versions compared; read, and not used.
        support: likewise.
        combined: studies, this one included, that the claim is judged on together with it.
        verdict: "none" for a study that settles nothing: its results are described.
        half_budget: whether the winner of the first half of every search is confirmed on the fresh
            seeds too, which shows what the second half has gained.
    """

    delta: float = Field(default=0.005, gt=0, le=MAX_DELTA)
    alpha: Level = 0.05
    default: dict[str, float] = Field(default_factory=lambda: {"alpha": 0.5, "beta": 0.1})
    thresholds: Annotated[list[Loss], Field(min_length=1)] | Thresholds = Field(
        default_factory=lambda: Thresholds(low=0.05, high=1.0, count=7)
    )
    support: Literal["common", "all"] = "common"
    verdict: Annotated[Literal["claim", "none"], ADDED] = "claim"
    combined: Annotated[list[Name], ADDED] = Field(default_factory=list)
    half_budget: Annotated[bool, ADDED] = False
    h1: Replication | None = None
    h2: MatchedLoss | None = None
    h3a: Surface | None = None
    h3b: TuningGain | None = None
    h4: Factorial | None = None

    @classmethod
    def hypotheses(cls) -> dict[str, type[Hypothesis]]:
        """Return every hypothesis there is by its key, in the order in which they are tested."""
        return {
            key: kind
            for key, field in cls.model_fields.items()
            for kind in typing.get_args(field.annotation)
            if isinstance(kind, type) and issubclass(kind, Hypothesis)
        }

    def links(self) -> list[type[Hypothesis]]:
        """Return the hypotheses that the claim is made of, in their order."""
        return [kind for kind, _ in self.sections() if kind.role == "link"]

    def sections(self) -> list[tuple[type[Hypothesis], Hypothesis | None]]:
        """Return the hypotheses of these claims, with their sections.

        The section is ``None`` where arms are missing. A hypothesis whose key is marked ``ADDED``
        is part of the claims only with a section, so that studies that were registered before it
        keep their claim and their levels.
        """
        left_out = self.keys_left_out()
        return [
            (kind, getattr(self, key))
            for key, kind in self.hypotheses().items()
            if key not in left_out
        ]

    @property
    def claimed(self) -> bool:
        """Whether a verdict is asked for: some part of the claim has the arms that it needs."""
        links = [section for section in self.tested if section.role == "link"]
        return self.verdict != "none" and any(link.prospect().testable for link in links)

    @property
    def tested(self) -> list[Hypothesis]:
        """The hypotheses that have a section."""
        return [section for _, section in self.sections() if section is not None]

    @property
    def plain(self) -> tuple[str, ...]:
        """Names of the arms of tuned SGD, that which other arms are compared with first."""
        names = (self.h3b and self.h3b.baseline, self.h2 and self.h2.baseline)
        return tuple(dict.fromkeys(name for name in names if name))

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield every arm that a hypothesis names, with the key that names it."""
        for section in self.tested:
            for key, arm in section.named():
                yield f"claims.{section.name.lower()}.{key}", arm

    def pairs(self) -> list[tuple[str, str]]:
        """Return which arms are compared, arm and baseline, each pair once."""
        return list(dict.fromkeys(pair for section in self.tested for pair in section.pairs()))

    def fill_in(
        self,
        arms: Sequence[ArmSection],
        *,
        paper: bool,
        grid: bool,
        seeds: int,
        design: Sequence[DesignedArm] = (),
        registered: bool = False,
    ) -> Self:
        """Return the claims with every hypothesis that the arms make testable.

        Args:
            arms: of the study.
            paper: whether the study is a descriptive replication, which tests nothing else.
            grid: whether the search is a designed grid.
            seeds: of a tune trial.
            design: the arms that ``[[factors]]`` made.
            registered: whether the claims are those of the record. Then no hypothesis is added that
                is recorded as none, or whose key is newer than the record may be.
        """
        setting = Setting(self.default, grid, seeds, design)
        settled = self.model_fields_set | self.keys_left_out() if registered else set()
        proposed = {
            key: kind.propose(arms, setting)
            for key, kind in self.hypotheses().items()
            if getattr(self, key) is None and (kind.role == "replication" or not paper)
            if key not in settled
        }
        return self.model_copy(update=proposed)
