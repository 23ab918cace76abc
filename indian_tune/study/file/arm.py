"""``[[arms]]``: one optimizer with its search space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from indian_tune.optim.families import get_family
from indian_tune.study.file.section import Name, Section

if TYPE_CHECKING:
    from indian_tune.optim.family import Family


class ArmSection(Section):
    """``[[arms]]``: one optimizer with its search space.

    ``space`` overrides the family's default space, name by name. An arm may also be ``fixed``: it
    is not tuned, and its constants go to the confirm phase as they are. Or it is SGD whose step
    size is matched: at confirmation it takes the effective learning rate of the winner of the
    INDIAN arm ``matched_rate_of``.
    """

    name: Name
    optimizer: str
    space: dict[str, Any] = Field(default_factory=dict)
    fixed: bool = False
    matched_rate_of: str | None = None

    @property
    def searched(self) -> bool:
        """Whether the arm has trials in the tune phase."""
        return not self.fixed and self.matched_rate_of is None

    @property
    def family(self) -> Family:
        """The optimizer family that the arm searches."""
        return get_family(self.optimizer)
