"""How Optuna's tables show a trial of the ledger: its state, attributes, curve and times."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from indian_tune.ledger import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from optuna.distributions import BaseDistribution

SLOT = "slot"
OUTCOME = "outcome"

TOLD_AS = {
    State.WAITING: TrialState.RUNNING,
    State.RUNNING: TrialState.RUNNING,
    State.COMPLETE: TrialState.COMPLETE,
    # A result at chance level: told FAIL, the sampler would learn nothing from it.
    State.DIVERGED: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}


@dataclass(frozen=True)
class Past:
    """What the ledger knows of a trial that Optuna is to show.

    Attributes:
        state: of the trial; one that is not finished is shown as running.
        values: its score under every objective.
        curve: step → score, as it was reported.
        constraints: name → value, as it was told.
        started: when it was first claimed.
        finished: when it ended.
    """

    state: State
    values: Sequence[float] | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    started: datetime | None = None
    finished: datetime | None = None


def shown_trial(
    slot: int,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    past: Past,
    system_attrs: Mapping[str, Any],
) -> FrozenTrial:
    """Return the Optuna trial that shows a trial of the ledger, not stored yet.

    Args:
        slot: id of the ledger's trial.
        params: the searched part of its configuration.
        distributions: where they came from.
        past: what has happened to it so far.
        system_attrs: what a sampler keeps with the trial.
    """
    state = TOLD_AS[past.state]
    trial = optuna.trial.create_trial(
        state=state,
        values=None if not state.is_finished() or state is TrialState.FAIL else past.values,
        params=dict(params),
        distributions=dict(distributions),
        user_attrs={SLOT: slot, **outcome_attributes(past.state)},
        system_attrs={**system_attrs, **constraint_attributes(past.constraints)},
        intermediate_values={
            step: value for step, value in past.curve.items() if math.isfinite(value)
        },
    )
    # Optuna keeps local times without a zone.
    if past.started is not None:
        trial.datetime_start = past.started.astimezone().replace(tzinfo=None)
    if past.finished is not None and state.is_finished():
        trial.datetime_complete = past.finished.astimezone().replace(tzinfo=None)
    return trial


def constraint_attributes(constraints: Mapping[str, float]) -> dict[str, float]:
    """Return system attributes as `optuna.trial.Trial.set_constraint` writes them."""
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, constraints=dict(constraints))
    return dict(trial.system_attrs) if constraints else {}


def outcome_attributes(state: State) -> dict[str, str]:
    """Return the attribute of a trial whose outcome Optuna has no state for."""
    return {OUTCOME: str(state)} if state is State.DIVERGED else {}
