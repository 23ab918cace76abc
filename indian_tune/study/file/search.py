"""``[search]``: the budget of every arm, and its sampler and pruner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_serializer, model_validator

from indian_tune.study.file.section import ADDED, MAX_REPLICATES, Count, Section, Seed
from indian_tune.study.optuna.pruners import PRUNERS, Pruner
from indian_tune.study.optuna.samplers import SAMPLERS, Sampler
from indian_tune.text import counted

if TYPE_CHECKING:
    from pydantic import SerializerFunctionWrapHandler

    from indian_tune.ledger.budget import Budget
    from indian_tune.study.file.protocol import ProtocolSection

FORMER_GENERATION = "batch_size"


def _sampler(raw: Any) -> Sampler:
    return Sampler.read(raw, SAMPLERS)


def _pruner(raw: Any) -> Pruner:
    return Pruner.read(raw, PRUNERS)


# A century.
MAX_SECONDS = 3.2e9


class SearchSection(Section):
    """``[search]``: the budget of every arm and who proposes.

    ``replicates`` is how often every arm is searched, each time under the whole budget and with
    seeds of its own.
    """

    trials: Count
    sampler: Annotated[Sampler, PlainValidator(_sampler), PlainSerializer(Sampler.plain)] = (
        SAMPLERS["tpe"]
    )
    pruner: Annotated[Pruner, PlainValidator(_pruner), PlainSerializer(Pruner.plain)] = PRUNERS[
        "none"
    ]
    seed: Seed = 0
    replicates: Annotated[int, Field(ge=1, le=MAX_REPLICATES), ADDED] = 1
    generation: Count | None = None
    budget: Literal["trials", "epochs", "seconds"] = "trials"
    epochs: Count | None = None
    seconds: float | None = Field(default=None, gt=0, le=MAX_SECONDS)
    untrained: Annotated[Literal["score", "constraint"], ADDED] = "score"

    @model_validator(mode="before")
    @classmethod
    def _rename_batch_size(cls, given: Any) -> Any:
        """Read ``generation`` under its former name too."""
        if not isinstance(given, dict) or FORMER_GENERATION not in given:
            return given
        if "generation" in given:
            raise ValueError(
                f"search.generation = {given['generation']!r} and search.{FORMER_GENERATION} = "
                f"{given[FORMER_GENERATION]!r}, its former name, are both given: remove "
                f"{FORMER_GENERATION}"
            )
        return {"generation" if k == FORMER_GENERATION else k: v for k, v in given.items()}

    @model_serializer(mode="wrap")
    def _leave_out(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The canonical form keeps the former name: digests of registered studies depend on it.
        left_out = self.keys_left_out()
        return {
            FORMER_GENERATION if key == "generation" else key: value
            for key, value in dump(self).items()
            if key not in left_out
        }

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.generation is not None and self.generation > self.trials:
            raise ValueError(
                f"search.generation = {self.generation} must be at most search.trials = "
                f"{self.trials}: a generation is a part of an arm's trials"
            )
        return self

    def budget_under(self, protocol: ProtocolSection) -> Budget | None:
        """Return what an arm may spend beside its number of trials."""
        from indian_tune.ledger.budget import Budget

        limit = self.epochs if self.budget == "epochs" else self.seconds
        if self.budget == "trials" or limit is None:
            return None
        return Budget(self.budget, limit, protocol.tuning_epochs * len(protocol.tuning_seeds))

    def check_under(self, protocol: ProtocolSection) -> None:
        """Check that the search can be done under a protocol.

        Raises:
            ValueError: the message names the keys, their values and what is allowed.
        """
        self._check_methods(protocol)
        self._check_budget(protocol)

    def _check_methods(self, protocol: ProtocolSection) -> None:
        pruner, sampler = self.pruner, self.sampler
        if self.untrained == "constraint" and not sampler.constrains:
            able = [repr(each.name) for each in SAMPLERS.values() if each.constrains]
            raise ValueError(
                "search.untrained = 'constraint' needs a sampler that supports constraints, but "
                f"search.sampler = {sampler.name!r} does not: use {', '.join(able)}, or 'score'"
            )
        if protocol.objectives is not None:
            if pruner.judges is not None:
                raise ValueError(
                    f"search.pruner = {pruner.name!r} supports one objective only, but "
                    "protocol.objectives has several: use 'none'"
                )
            if not sampler.several_objectives:
                able = [repr(each.name) for each in SAMPLERS.values() if each.several_objectives]
                raise ValueError(
                    f"search.sampler = {sampler.name!r} supports one objective only, but "
                    f"protocol.objectives has several: use {', '.join(able)}"
                )
        seeds, epochs = len(protocol.tuning_seeds), protocol.tuning_epochs
        if pruner.judges is not None and (seeds if pruner.judges == "seeds" else epochs) < (
            pruner.least
        ):
            raise ValueError(
                f"search.pruner = {pruner.name!r} needs at least {pruner.least} {pruner.judges} "
                f"to judge, but a tune trial has {counted(seeds, 'seed')} × "
                f"{counted(epochs, 'epoch')}: raise protocol.tune_{pruner.judges} to at least "
                f"{pruner.least}, or use 'none'"
            )

    def _check_budget(self, protocol: ProtocolSection) -> None:
        for kind in ("epochs", "seconds"):
            if (getattr(self, kind) is not None) != (self.budget == kind):
                raise ValueError(
                    f"search.budget = {self.budget!r} and search.{kind} = {getattr(self, kind)!r} "
                    f"do not match: budget = {kind!r} needs {kind}, other budgets do not accept it"
                )
        budget = self.budget_under(protocol)
        if budget is None:
            return
        if self.sampler.enumerates or self.generation is not None:
            fixed = f"sampler = {self.sampler.name!r}" if self.sampler.enumerates else "generation"
            raise ValueError(
                f"search.{fixed} needs a fixed number of trials: use budget = 'trials', not "
                f"{self.budget!r}"
            )
        if budget.kind == "epochs" and budget.limit < budget.trial:
            raise ValueError(
                f"search.epochs = {self.epochs} is less than one trial of {budget.trial} epochs: "
                "raise it"
            )
