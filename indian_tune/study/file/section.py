"""What the sections of a study file have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer

if TYPE_CHECKING:
    from pydantic import SerializerFunctionWrapHandler

MAX_SEED = 2**31 - 1
# Far above what a study needs, and what a machine can still count up to and keep in a table.
MAX_COUNT = 1_000_000
MAX_SEEDS = 10_000
# Far above the forty searches that a small effect needs; each has an Optuna study for every arm.
MAX_REPLICATES = 100
MAX_ARMS = 1_000

Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
SeedCount = Annotated[int, Field(ge=1, le=MAX_SEEDS)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]

ADDED = "added"
"""Marks a key that came after studies were registered: ``key: Annotated[Count | None, ADDED]``.

The canonical form leaves the key out while it is at its default, so that the digest of a study that
does not use it stays what it was. The marker belongs outside a union.
"""


class Section(BaseModel):
    """One table of a study file: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def keys_left_out(self) -> set[str]:
        """Return the keys that the canonical form leaves out: added ones at their defaults."""
        return {
            key
            for key, field in type(self).model_fields.items()
            if ADDED in field.metadata
            and getattr(self, key) == field.get_default(call_default_factory=True)
        }

    @model_serializer(mode="wrap")
    def _leave_out(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        left_out = self.keys_left_out()
        return {key: value for key, value in dump(self).items() if key not in left_out}
