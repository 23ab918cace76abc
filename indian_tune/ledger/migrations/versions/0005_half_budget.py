"""Phases for finalists and half the budget; claims in the order of replicates."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INDEX = "ix_ledger_trial_claim"
_COLUMNS = ["study_id", "phase", "state"]


def upgrade() -> None:
    op.drop_index(_INDEX, "ledger_trial")
    with op.batch_alter_table("ledger_trial") as table:
        _admit(table, "phase IN ('tune', 'final', 'match', 'half', 'confirm')")
    op.create_index(_INDEX, "ledger_trial", [*_COLUMNS, "replicate", "index"])


def downgrade() -> None:
    op.drop_index(_INDEX, "ledger_trial")
    with op.batch_alter_table("ledger_trial") as table:
        _admit(table, "phase IN ('tune', 'match', 'confirm')")
    op.create_index(_INDEX, "ledger_trial", [*_COLUMNS, "index"])


def _admit(table: Any, phases: str) -> None:
    table.drop_constraint(op.f("ck_ledger_trial_phase"), type_="check")
    table.create_check_constraint(op.f("ck_ledger_trial_phase"), sa.text(phases))
