"""``[claims]``: what the analysis will test, registered before the first trial.

Every hypothesis names the arms that it compares. A study file may leave a hypothesis out: the
study fills it in from its arms where they make it testable, so that what is registered is always
written out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from indian_tune.study.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

Level = Annotated[float, Field(gt=0, lt=0.5)]
Loss = Annotated[float, Field(gt=0)]
Arms = Annotated[list[str], Field(min_length=1)]


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


class Replication(Section):
    """H1: every one of ``arms`` beats every one of ``baselines``; ``beside`` is sensitivity."""

    arms: Arms
    baselines: Arms
    beside: list[str] = Field(default_factory=list)


class MatchedLoss(Section):
    """H2: ``arm`` beats ``baseline`` at equal training loss.

    ``matched_rate`` is SGD at the arm's effective learning rate (control C1), ``momentum`` are
    QHM and momentum methods tuned on the same budget (control C2).
    """

    arm: str
    baseline: str
    matched_rate: str | None = None
    momentum: list[str] = Field(default_factory=list)


class Surface(Section):
    """H3a: the accuracy of ``arm`` over a designed grid of (α, β, η)."""

    arm: str


class TuningGain(Section):
    """H3b: what tuning (α, β, γ0) gains over tuning γ0 alone.

    ``default`` is T0, ``rate`` T1, ``full`` T2, ``usual`` T3 (dropout and weight decay).
    """

    rate: str
    full: str
    default: str | None = None
    usual: str | None = None


class Cell(Section):
    """One cell of the factorial of H4."""

    arm: str
    tuned: bool
    dropout: bool
    weight_decay: bool


class Factorial(Section):
    """H4: (α, β) default or tuned × dropout 0 or on × weight decay 0 or tuned."""

    cells: list[Cell]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        places = {(cell.tuned, cell.dropout, cell.weight_decay) for cell in self.cells}
        if len(self.cells) != 8 or len(places) != 8:
            raise ValueError(
                f"cells must hold the 8 cells of the 2×2×2 design once each, got "
                f"{len(self.cells)} with {len(places)} different"
            )
        return self

    def arm(self, *, tuned: bool, dropout: bool, weight_decay: bool) -> str:
        """Return the arm of a cell."""
        return next(
            cell.arm
            for cell in self.cells
            if (cell.tuned, cell.dropout, cell.weight_decay) == (tuned, dropout, weight_decay)
        )


class ClaimsSection(Section):
    """``[claims]``.

    Attributes:
        delta: smallest difference in accuracy of interest, a share (0.005 is half a percentage
            point).
        alpha: one-sided level of every test.
        default: the default (α, β) of INDIAN, against which tuning is judged.
        thresholds: training losses τ at which H2 compares, listed or log-spaced.
        support: what happens to a τ that some run never reaches: "common" drops it for all arms,
            "all" makes H2 inconclusive.
    """

    delta: float = Field(default=0.005, gt=0, lt=1)
    alpha: Level = 0.05
    default: dict[str, float] = Field(default_factory=lambda: {"alpha": 0.5, "beta": 0.1})
    thresholds: Annotated[list[Loss], Field(min_length=1)] | Thresholds = Field(
        default_factory=lambda: Thresholds(low=0.05, high=1.0, count=7)
    )
    support: Literal["common", "all"] = "common"
    h1: Replication | None = None
    h2: MatchedLoss | None = None
    h3a: Surface | None = None
    h3b: TuningGain | None = None
    h4: Factorial | None = None

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield every arm that a hypothesis names, with the key that names it."""
        for name in ("h1", "h2", "h3a", "h3b", "h4"):
            hypothesis: Section | None = getattr(self, name)
            if isinstance(hypothesis, Factorial):
                for n, cell in enumerate(hypothesis.cells, 1):
                    yield f"claims.{name}.cells[{n}].arm", cell.arm
            elif hypothesis is not None:
                for key, value in hypothesis:
                    for arm in [value] if isinstance(value, str) else value or ():
                        yield f"claims.{name}.{key}", arm

    @property
    def taus(self) -> tuple[float, ...]:
        """The training losses of H2, from high to low."""
        given = self.thresholds
        if isinstance(given, Thresholds):
            steps = max(given.count - 1, 1)
            ratio = math.log(given.low / given.high)
            return tuple(given.high * math.exp(ratio * k / steps) for k in range(given.count))
        return tuple(sorted(given, reverse=True))
