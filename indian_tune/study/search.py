"""``[search]``: the budget of every arm and who proposes its configurations."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from indian_tune.study.section import Count, Section, Seed

SamplerName = Literal["grid", "random", "qmc", "tpe", "gp", "cmaes"]
PrunerName = Literal["none", "median", "percentile", "hyperband", "wilcoxon", "patient"]


class SearchSection(Section):
    """``[search]``: the budget of every arm and who proposes."""

    trials: Count
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "none"
    seed: Seed = 0
    batch_size: Count | None = None
    budget: Literal["trials", "epochs", "seconds"] = "trials"
    epochs: Count | None = None
    seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch_size is not None and self.batch_size > self.trials:
            raise ValueError(
                f"search.batch_size = {self.batch_size} must be at most search.trials = "
                f"{self.trials}: a generation is a part of an arm's trials"
            )
        return self
