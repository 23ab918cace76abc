"""``[[arms]]``: one optimizer with its search space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from indian_tune.optim.families import get_family
from indian_tune.optim.families.response import RESPONSE
from indian_tune.study.file.section import ADDED, Name, Section

if TYPE_CHECKING:
    from indian_tune.optim.family import Family


FirstValue = float | bool | str | list[float | bool | str]


class ArmSection(Section):
    """``[[arms]]``: one optimizer with its search space.

    ``space`` overrides the family's default space, name by name. An arm may also be ``fixed``: it
    is not tuned, and its constants go to the confirm phase as they are. Or it is a control of an
    INDIAN arm, an arm of SGD without a space. ``response_of``: it takes the steps that the winner
    of that arm takes on a steady gradient, times a level that is searched in the match phase.
    ``matched_rate_of``: at confirmation it takes the winner's effective learning rate.

    ``first`` are configurations that a searched arm tries before its sampler is asked: values of
    what is searched, or names of earlier arms, whose winners are meant.
    """

    name: Name
    optimizer: Annotated[str, Field(max_length=200)]
    space: dict[str, Any] = Field(default_factory=dict)
    fixed: bool = False
    matched_rate_of: str | None = None
    response_of: Annotated[str | None, ADDED] = None
    first: Annotated[list[str | dict[str, FirstValue]] | None, ADDED] = None

    @property
    def searched(self) -> bool:
        """Whether the arm has trials in the tune phase."""
        return not self.fixed and self.source is None

    @property
    def waits_for(self) -> list[str]:
        """The arms whose search ends before this one begins."""
        return [name for name in self.first or () if isinstance(name, str)]

    @property
    def source(self) -> str | None:
        """The arm whose winner this one is a control of."""
        return self.matched_rate_of if self.response_of is None else self.response_of

    @property
    def trained_with(self) -> str:
        """Name of the optimizer family that trains the arm."""
        return self.optimizer if self.response_of is None else RESPONSE.name

    @property
    def family(self) -> Family:
        """The optimizer family that trains the arm."""
        return get_family(self.trained_with)
