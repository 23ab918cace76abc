"""H4: tuning (α, β) gains in addition to dropout and weight decay."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from indian_tune.study.file.section import ADDED, Section
from indian_tune.study.hypotheses.hypothesis import (
    Hypothesis,
    Prospect,
    Setting,
    first,
    ours,
    searches,
    tunes_shape,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.study.file.arm import ArmSection

# The factors of the design, whose first level is "default" or "off" and whose second "tuned" or
# "on".
FACTORS = {"tuning", "dropout", "weight_decay"}
CELLS = 8
REGULARIZERS = ("dropout", "weight_decay")


class Cell(Section):
    """One cell of the factorial of H4."""

    arm: str
    tuned: bool
    dropout: bool
    weight_decay: bool


class Factorial(Hypothesis):
    """H4: ``full`` (T2 with dropout and weight decay) beats ``baseline`` (SGD with them).

    ``cells`` is a design beside: (α, β) default or tuned × dropout 0 or on × weight decay 0 or
    tuned. Where it is there, ``full`` is by default its cell with all three on.
    """

    name = "H4"
    role = "link"
    question = "With dropout and weight decay, does INDIAN with tuned (α, β) beat SGD?"
    gain = "in addition to dropout and weight decay"
    needs = "an arm of indian and one of sgd that both search dropout and weight_decay"
    add = (
        "an INDIAN arm and one of sgd that tune dropout and weight decay, named in "
        "claims.h4.full and .baseline",
    )
    find = "indian_tune.analysis.factorial:find"

    cells: list[Cell] = Field(default_factory=list)
    full: Annotated[str | None, ADDED] = None
    baseline: Annotated[str | None, ADDED] = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.cells and self.full is not None and self.baseline is not None:
            return self
        places = {(cell.tuned, cell.dropout, cell.weight_decay) for cell in self.cells}
        if len(self.cells) != CELLS or len(places) != CELLS:
            raise ValueError(
                f"cells must contain each of the {CELLS} cells of the 2×2×2 design once, got "
                f"{len(self.cells)} with {len(places)} different"
            )
        return self

    @classmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        """Take the design of three factors over one arm, and the arms with both regularizers."""
        full = first(ours(arms), lambda arm: tunes_shape(arm, *REGULARIZERS))
        baseline = first(arms, lambda arm: arm.family.plain and searches(arm, *REGULARIZERS))
        design = setting.design
        if len(design) != CELLS or set(design[0].levels) != FACTORS:
            return None if full is None or baseline is None else cls(full=full, baseline=baseline)
        cells = []
        for cell in design:
            on = {factor: level == 1 for factor, level in cell.levels.items()}
            cells.append(Cell(arm=cell.name, tuned=on.pop("tuning"), **on))
        # A design may hold the rate of dropout; the baseline then holds it too.
        baseline = baseline or first(
            arms,
            lambda arm: arm.family.plain and arm.searched and all(map(arm.space.get, REGULARIZERS)),
        )
        return cls(cells=cells, baseline=baseline)

    def prospect(self) -> Prospect:
        """Name the design."""
        if self.baseline is None:
            compares = "2×2×2 arms: tuning × dropout × weight decay (a table)"
            missing = "an arm of sgd with dropout and tuned weight decay"
            return Prospect(self.name, False, compares, missing)
        return Prospect(self.name, True, f"{self.regularized} and {self.baseline}")

    @property
    def regularized(self) -> str | None:
        """The arm of INDIAN with both regularizers."""
        if self.full is not None or not self.cells:
            return self.full
        return self.arm(tuned=True, dropout=True, weight_decay=True)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the arms with both regularizers, and the pairs of the design."""
        full, baseline = self.regularized, self.baseline
        decides = [] if full is None or baseline is None else [(full, baseline)]
        return [*decides, *self.cell_pairs()]

    def cell_pairs(self) -> list[tuple[str, str]]:
        """Return the tuned with the default arm, for every setting of the usual regularizers."""
        if not self.cells:
            return []
        return [
            (
                self.arm(tuned=True, dropout=dropout, weight_decay=decay),
                self.arm(tuned=False, dropout=dropout, weight_decay=decay),
            )
            for dropout, decay in product((False, True), repeat=2)
        ]

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the arms with both regularizers, and that of every cell."""
        for key, arm in (("full", self.full), ("baseline", self.baseline)):
            if arm is not None:
                yield key, arm
        for n, cell in enumerate(self.cells, 1):
            yield f"cells[{n}].arm", cell.arm

    def arm(self, *, tuned: bool, dropout: bool, weight_decay: bool) -> str:
        """Return the arm of a cell."""
        return next(
            cell.arm
            for cell in self.cells
            if (cell.tuned, cell.dropout, cell.weight_decay) == (tuned, dropout, weight_decay)
        )
