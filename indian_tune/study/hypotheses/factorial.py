"""H4: tuning (α, β) gains in addition to dropout and weight decay."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from indian_tune.study.file.section import Section
from indian_tune.study.hypotheses.hypothesis import Hypothesis, Prospect, Setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.study.file.arm import ArmSection

# The factors of the design, whose first level is "default" or "off" and whose second "tuned" or
# "on".
FACTORS = {"tuning", "dropout", "weight_decay"}
CELLS = 8


class Cell(Section):
    """One cell of the factorial of H4."""

    arm: str
    tuned: bool
    dropout: bool
    weight_decay: bool


class Factorial(Hypothesis):
    """H4: (α, β) default or tuned × dropout 0 or on × weight decay 0 or tuned."""

    name = "H4"
    role = "link"
    question = "With dropout and weight decay on, does tuning (α, β) still gain?"
    gain = "in addition to dropout and weight decay"
    needs = "[[factors]] tuning, dropout and weight_decay over one arm of indian"
    add = ("the 8 arms of the 2×2×2 design, named in claims.h4",)
    find = "indian_tune.analysis.factorial:find"

    cells: list[Cell]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        places = {(cell.tuned, cell.dropout, cell.weight_decay) for cell in self.cells}
        if len(self.cells) != CELLS or len(places) != CELLS:
            raise ValueError(
                f"cells must hold the {CELLS} cells of the 2×2×2 design once each, got "
                f"{len(self.cells)} with {len(places)} different"
            )
        return self

    @classmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        """Take the design of three factors with two levels each, over one arm."""
        design = setting.design
        if len(design) != CELLS or set(design[0].levels) != FACTORS:
            return None
        cells = []
        for arm in design:
            on = {factor: level == 1 for factor, level in arm.levels.items()}
            cells.append(Cell(arm=arm.name, tuned=on.pop("tuning"), **on))
        return cls(cells=cells)

    def prospect(self) -> Prospect:
        """Name the design."""
        return Prospect(self.name, True, "2×2×2 arms: tuning × dropout × weight decay")

    def pairs(self) -> list[tuple[str, str]]:
        """Return the tuned with the default arm, for every setting of the usual regularizers."""
        return [
            (
                self.arm(tuned=True, dropout=dropout, weight_decay=decay),
                self.arm(tuned=False, dropout=dropout, weight_decay=decay),
            )
            for dropout, decay in product((False, True), repeat=2)
        ]

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the arm of every cell."""
        for n, cell in enumerate(self.cells, 1):
            yield f"cells[{n}].arm", cell.arm

    def arm(self, *, tuned: bool, dropout: bool, weight_decay: bool) -> str:
        """Return the arm of a cell."""
        return next(
            cell.arm
            for cell in self.cells
            if (cell.tuned, cell.dropout, cell.weight_decay) == (tuned, dropout, weight_decay)
        )
