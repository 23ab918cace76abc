"""``[protocol]``: how long runs are, on which seeds, and what they are judged by."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from indian_tune.study.file.section import (
    ADDED,
    MAX_REPLICATES,
    MAX_SEEDS,
    Count,
    Section,
    Seed,
    SeedCount,
)

# Where counted confirm seeds begin, far above any counted tuning seed.
FIRST_CONFIRM_SEED = 1000
# How many tune seeds the levels of a response-matched control are compared on.
MATCH_SEEDS = 5
# More would be a second search.
MAX_FINALISTS = 100
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
        | Annotated[
            list[Annotated[list[Seed], Field(max_length=MAX_SEEDS)]],
            Field(max_length=MAX_REPLICATES),
        ]
    ) = 5
    objective: Objective | None = None
    objectives: Annotated[list[AnyObjective], Field(min_length=2)] | None = None
    train_eval_size: Count | None = None
    keep_checkpoints: bool = False
    finalists: Annotated[int, ADDED] = Field(default=0, ge=0, le=MAX_FINALISTS)
    epoch_timeout: Annotated[Annotated[float, Field(ge=1, le=MAX_EPOCH_TIMEOUT)] | None, ADDED] = (
        None
    )

    @field_validator("objective", "objectives", mode="before")
    @classmethod
    def _nothing_sealed(cls, value: Any) -> Any:
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name.startswith("test"):
                raise ValueError(
                    f"{name!r} reads test data, which must not be used to choose anything: use "
                    "'validation_error', 'validation_loss' or 'train_loss'"
                )
        return value

    @property
    def tuning_seeds(self) -> tuple[int, ...]:
        """Seeds that every tune trial of the first search is scored on."""
        return self.tuning_seeds_of(0)

    def tuning_seeds_of(self, replicate: int) -> tuple[int, ...]:
        """Seeds that every tune trial of a search is scored on: those listed, or counted from 0."""
        if isinstance(self.tune_seeds, int):
            first = replicate * self.tune_seeds
            return tuple(range(first, first + self.tune_seeds))
        return tuple(self.tune_seeds)

    @property
    def matching_seeds(self) -> tuple[int, ...]:
        """Seeds on which the levels of the first search are compared, if there is no other."""
        return self.matching_seeds_of(0, 1)

    def matching_seeds_of(self, replicate: int, replicates: int) -> tuple[int, ...]:
        """The first five tune seeds of a search, filled up with the lowest that nothing else uses.

        Args:
            replicate: of the search.
            replicates: how many searches there are.
        """
        searches = range(replicates)
        taken = {seed for r in searches for seed in self.tuning_seeds_of(r)}
        taken |= {seed for r in searches for seed in self.confirming_seeds_of(r)}
        own = self.tuning_seeds_of(replicate)[:MATCH_SEEDS]
        missing = MATCH_SEEDS - len(own)
        free = (seed for seed in itertools.count() if seed not in taken)
        first = replicate * missing
        return (*own, *itertools.islice(free, first, first + missing))

    def final_seeds_of(self, replicate: int, replicates: int) -> tuple[int, ...]:
        """Seeds of the finalists of a search beside its tune seeds: those of its match phase.

        Args:
            replicate: of the search.
            replicates: how many searches there are.
        """
        own = self.tuning_seeds_of(replicate)
        return tuple(s for s in self.matching_seeds_of(replicate, replicates) if s not in own)

    @property
    def confirming_seeds(self) -> tuple[int, ...]:
        """Fresh seeds of the winners of the first search."""
        return self.confirming_seeds_of(0)

    def confirming_seeds_of(self, replicate: int) -> tuple[int, ...]:
        """Fresh seeds of the winners of a search: those listed, or counted from 1000.

        What is registered lists them: see :func:`indian_tune.study.fresh_seeds.with_fresh_seeds`.
        """
        if isinstance(self.confirm_seeds, int):
            first = FIRST_CONFIRM_SEED + replicate * self.confirm_seeds
            return tuple(range(first, first + self.confirm_seeds))
        lists = self.confirm_lists
        return tuple(lists[replicate]) if replicate < len(lists) else ()

    @property
    def confirm_lists(self) -> list[list[int]]:
        """The fresh seeds that are listed, a list for each search; none if they are counted."""
        seeds = self.confirm_seeds
        if isinstance(seeds, int):
            return []
        flat = [seed for seed in seeds if isinstance(seed, int)]
        nested = [list(each) for each in seeds if not isinstance(each, int)]
        return nested or [flat]

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
        listed = [] if isinstance(self.tune_seeds, int) else self.tune_seeds
        fresh = [seed for seeds in self.confirm_lists for seed in seeds]
        for key, seeds in (("tune_seeds", listed), ("confirm_seeds", fresh)):
            if len(set(seeds)) != len(seeds):
                raise ValueError(f"{key} = {getattr(self, key)!r} contains a seed twice: remove it")
        if self.tune_seeds == []:
            raise ValueError("tune_seeds = [] must contain at least one seed")
        shared = sorted(set(self.tuning_seeds) & {*self.confirming_seeds, *fresh})
        if shared:
            raise ValueError(
                f"tune_seeds and confirm_seeds share {shared}: confirmation needs fresh seeds, "
                "so give it others"
            )
        if self.tuning_epochs > self.epochs:
            raise ValueError(
                f"tune_epochs = {self.tune_epochs} must be at most epochs = {self.epochs}"
            )
        if self.finalists == 1 or (self.finalists and not self.final_seeds_of(0, 1)):
            raise ValueError(
                f"finalists = {self.finalists} with tune_seeds = {self.tune_seeds} cannot compare "
                f"finalists: use 0 for none, or at least 2 and fewer than {MATCH_SEEDS} tune_seeds"
            )
        needing = [name for name in self.scores if name.startswith("validation")]
        if self.mode == "paper" and needing:
            raise ValueError(
                f"objective = {needing[0]!r} needs a validation part, but mode = 'paper' has "
                "none: use objective = 'train_loss' or mode = 'honest'"
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
            raise ValueError(f"objectives = {self.objectives!r} contains one twice: remove it")
        if self.objectives[0] == "seconds":
            raise ValueError(
                f"objectives = {self.objectives!r} begins with 'seconds', but the first objective "
                "chooses the winners: put an objective that measures quality first"
            )
