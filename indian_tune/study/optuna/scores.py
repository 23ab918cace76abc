"""Writing the learning curves of Optuna's trials, one statement for each score.

Optuna itself reads the trial and the score before it writes, through its object mapper. With 20
epochs to a trial, that was most of what recording a trial cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

# Schemas of Optuna's tables that the statement is written for.
_KNOWN = ("v3.2.0.a",)
_KIND = sa.Enum("FINITE", "INF_POS", "INF_NEG", "NAN", name="trialintermediatevaluetype")
_SCORES = sa.table(
    "trial_intermediate_values",
    sa.column("trial_id", sa.Integer),
    sa.column("step", sa.Integer),
    sa.column("intermediate_value", sa.Double),
    sa.column("intermediate_value_type", _KIND),
)
_TRIALS = sa.table(
    "trials",
    sa.column("trial_id", sa.Integer),
    sa.column("state", sa.Enum(TrialState, name="trialstate")),
)


def score_insert(dialect: Dialect, schema: str) -> sa.Insert | None:
    """Return the statement that stores a finite score, with parameters ``of``, ``at``, ``score``.

    It leaves a score that is there, and a trial that is finished, as they are.

    Args:
        dialect: of the database.
        schema: of Optuna's tables.

    Returns:
        ``None`` for a schema that is not known here.
    """
    if schema not in _KNOWN:
        return None
    language = postgresql if dialect.name == "postgresql" else sqlite
    row = sa.select(
        _TRIALS.c.trial_id,
        sa.bindparam("at", type_=sa.Integer),
        sa.bindparam("score", type_=sa.Double),
        sa.literal("FINITE", _KIND),
    ).where(
        _TRIALS.c.trial_id == sa.bindparam("of", type_=sa.Integer),
        _TRIALS.c.state == TrialState.RUNNING,
    )
    insert: postgresql.Insert | sqlite.Insert = language.insert(_SCORES)
    insert = insert.from_select([column.name for column in _SCORES.c], row)
    return insert.on_conflict_do_nothing(index_elements=["trial_id", "step"])
