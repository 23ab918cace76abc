"""Metrics of an epoch in one column, replicates of an arm, a phase for matched controls."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_METRICS = {
    "ledger_epoch": ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    "ledger_sealed_epoch": ("test_loss", "test_accuracy"),
}
_KEY = "uq_ledger_trial_arm_id_phase_index"
_KEY_WITH_REPLICATE = "uq_ledger_trial_arm_id_phase_replicate_index"
# Runs whose epochs are in memory at once.
_RUNS = 500


def upgrade() -> None:
    for name, metrics in _METRICS.items():
        op.add_column(name, sa.Column("metrics", sa.JSON(), nullable=True))
        _fill(name, ["metrics"], partial(_joined, metrics))
        with op.batch_alter_table(name) as table:
            table.alter_column("metrics", existing_type=sa.JSON(), nullable=False)
            for metric in metrics:
                table.drop_column(metric)
    with op.batch_alter_table("ledger_trial") as table:
        table.add_column(sa.Column("replicate", sa.Integer(), nullable=False, server_default="0"))
        _admit(table, "phase IN ('tune', 'match', 'confirm')")
        table.drop_constraint(op.f(_KEY), type_="unique")
        table.create_unique_constraint(
            op.f(_KEY_WITH_REPLICATE), ["arm_id", "phase", "replicate", "index"]
        )


def downgrade() -> None:
    with op.batch_alter_table("ledger_trial") as table:
        table.drop_constraint(op.f(_KEY_WITH_REPLICATE), type_="unique")
        table.create_unique_constraint(op.f(_KEY), ["arm_id", "phase", "index"])
        _admit(table, "phase IN ('tune', 'confirm')")
        table.drop_column("replicate")
    for name, metrics in _METRICS.items():
        for metric in metrics:
            op.add_column(name, sa.Column(metric, sa.Double(), nullable=True))
        _fill(name, metrics, partial(_split, metrics))
        with op.batch_alter_table(name) as table:
            table.drop_column("metrics")


def _admit(table: Any, phases: str) -> None:
    table.drop_constraint(op.f("ck_ledger_trial_phase"), type_="check")
    table.create_check_constraint(op.f("ck_ledger_trial_phase"), phases)


def _joined(metrics: Sequence[str], row: sa.RowMapping) -> dict[str, Any]:
    return {"metrics": {each: row[each] for each in metrics}}


def _split(metrics: Sequence[str], row: sa.RowMapping) -> dict[str, Any]:
    return {each: row["metrics"].get(each) for each in metrics}


def _fill(
    name: str, columns: Sequence[str], values: Callable[[sa.RowMapping], dict[str, Any]]
) -> None:
    """Fill columns from the others of the same row.

    Not in SQL: what SQLite makes of a number in JSON has 15 digits.
    """
    bind = op.get_bind()
    rows = sa.Table(name, sa.MetaData(), autoload_with=bind)
    update = (
        sa.update(rows)
        .where(rows.c.run_id == sa.bindparam("run"), rows.c.epoch == sa.bindparam("at"))
        .values({column: sa.bindparam(column) for column in columns})
    )
    last = bind.scalar(sa.select(sa.func.max(rows.c.run_id))) or 0
    for first in range(0, last + 1, _RUNS):
        some = sa.select(rows).where(rows.c.run_id.between(first, first + _RUNS - 1))
        filled = [
            {"run": row["run_id"], "at": row["epoch"], **values(row)}
            for row in bind.execute(some).mappings()
        ]
        if filled:
            bind.execute(update, filled)
