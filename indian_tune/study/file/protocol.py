"""``[protocol]``: how long runs are, on which seeds, and what they are judged by."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from indian_tune.study.file.section import ADDED, MAX_SEEDS, Count, Section, Seed, SeedCount

# Where counted confirm seeds begin, far above any counted tuning seed.
FIRST_CONFIRM_SEED = 1000
# How many tune seeds the levels of a response-matched control are compared on.
MATCH_SEEDS = 5
# A month, in seconds.
MAX_EPOCH_TIMEOUT = 2_592_000

Mode = Literal["honest", "paper"]
Objective = Literal["validation_error", "validation_loss", "train_loss"]
AnyObjective = Literal["validation_error", "validation_loss", "train_loss", "seconds"]


class ProtocolSection(Section):
    """``[protocol]``: how long, on which seeds, and judged by what."""

    mode: Mode = "honest"
    epochs: Count
    tune_epochs: Count | None = None
    tune_seeds: SeedCount | Annotated[list[Seed], Field(max_length=MAX_SEEDS)] = 1
    confirm_seeds: (
        Annotated[int, Field(ge=0, le=MAX_SEEDS)]
        | Annotated[list[Seed], Field(max_length=MAX_SEEDS)]
    ) = 5
    objective: Objective | None = None
    objectives: Annotated[list[AnyObjective], Field(min_length=2)] | None = None
    train_eval_size: Count | None = None
    keep_checkpoints: bool = False
    epoch_timeout: Annotated[Annotated[float, Field(ge=1, le=MAX_EPOCH_TIMEOUT)] | None, ADDED] = (
        None
    )

    @field_validator("objective", "objectives", mode="before")
    @classmethod
    def _nothing_sealed(cls, value: Any) -> Any:
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name.startswith("test"):
                raise ValueError(
                    f"{name!r} reads test data, by which nothing may ever be chosen: use "
                    "'validation_error', 'validation_loss' or 'train_loss'"
                )
        return value

    @property
    def tuning_seeds(self) -> tuple[int, ...]:
        """Seeds that every tune trial is scored on: those listed, or 0, 1, …"""
        if isinstance(self.tune_seeds, int):
            return tuple(range(self.tune_seeds))
        return tuple(self.tune_seeds)

    @property
    def matching_seeds(self) -> tuple[int, ...]:
        """The first five tune seeds, filled up with the lowest that are no confirm seeds."""
        taken = {*self.tuning_seeds, *self.confirming_seeds}
        more = (seed for seed in itertools.count() if seed not in taken)
        return tuple(itertools.islice(itertools.chain(self.tuning_seeds, more), MATCH_SEEDS))

    @property
    def confirming_seeds(self) -> tuple[int, ...]:
        """Fresh seeds of the confirm phase: those listed, or 1000, 1001, …"""
        if isinstance(self.confirm_seeds, int):
            return tuple(range(FIRST_CONFIRM_SEED, FIRST_CONFIRM_SEED + self.confirm_seeds))
        return tuple(self.confirm_seeds)

    @property
    def tuning_epochs(self) -> int:
        """Length of a tune run."""
        return self.epochs if self.tune_epochs is None else self.tune_epochs

    @property
    def score(self) -> Objective:
        """What a trial is judged by, and winners are chosen by; lower is better."""
        if self.objective is not None:
            return self.objective
        if self.objectives is not None:
            first = self.objectives[0]
            assert first != "seconds"
            return first
        return "validation_error" if self.mode == "honest" else "train_loss"

    @property
    def scores(self) -> tuple[AnyObjective, ...]:
        """All that a trial is judged by, what winners are chosen by first."""
        return (self.score,) if self.objectives is None else tuple(self.objectives)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_objectives()
        for key in ("tune_seeds", "confirm_seeds"):
            seeds = getattr(self, key)
            if isinstance(seeds, list) and len(set(seeds)) != len(seeds):
                raise ValueError(f"{key} = {seeds!r} holds a seed twice")
        if self.tune_seeds == []:
            raise ValueError("tune_seeds = [] must hold at least one seed")
        shared = sorted(set(self.tuning_seeds) & set(self.confirming_seeds))
        if shared:
            raise ValueError(
                f"tune_seeds and confirm_seeds share {shared}: confirmation needs fresh seeds, "
                "so give it others"
            )
        if self.tuning_epochs > self.epochs:
            raise ValueError(
                f"tune_epochs = {self.tune_epochs} must be at most epochs = {self.epochs}"
            )
        needing = [name for name in self.scores if name.startswith("validation")]
        if self.mode == "paper" and needing:
            raise ValueError(
                f"objective = {needing[0]!r} needs a validation part, which mode = 'paper' "
                "has not: use objective = 'train_loss' or mode = 'honest'"
            )
        return self

    def _check_objectives(self) -> None:
        if self.objectives is None:
            return
        if self.objective is not None:
            raise ValueError(
                f"objective = {self.objective!r} and objectives = {self.objectives!r} cannot be "
                "given together: remove one"
            )
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError(f"objectives = {self.objectives!r} holds one twice")
        if self.objectives[0] == "seconds":
            raise ValueError(
                f"objectives = {self.objectives!r} begins with 'seconds', and the first one "
                "chooses the winners: put it after what is to be learnt"
            )
