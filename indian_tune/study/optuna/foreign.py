"""Optuna trials that this package did not create, in the Optuna studies of a study.

Anyone may add some, with Optuna's own functions or in its dashboard. Their scores mean anything, so
samplers and pruners do not see them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.study.optuna.shown_trial import SLOT

if TYPE_CHECKING:
    from collections.abc import Iterable

_STUDIES, _TRIALS, _ATTRIBUTES = (
    sa.table(name, *map(sa.column, columns))
    for name, columns in {
        "studies": ("study_id", "study_name"),
        "trials": ("trial_id", "study_id"),
        "trial_user_attributes": ("trial_id", "key"),
    }.items()
)


def foreign_count(names: Iterable[str]) -> sa.Select[Any]:
    """Return a query of how many trials of some Optuna studies have no slot of the ledger."""
    ours = sa.select(_ATTRIBUTES.c.trial_id).where(_ATTRIBUTES.c.key == SLOT)
    return (
        sa.select(sa.func.count())
        .select_from(_TRIALS.join(_STUDIES, _TRIALS.c.study_id == _STUDIES.c.study_id))
        .where(_STUDIES.c.study_name.in_(list(names)))
        .where(_TRIALS.c.trial_id.not_in(ours))
    )
