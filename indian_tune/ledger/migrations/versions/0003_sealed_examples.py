"""Which test images a run classifies correctly, and scores under several objectives."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger_sealed_example",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("correct", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["ledger_run.id"],
            name=op.f("fk_ledger_sealed_example_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_ledger_sealed_example")),
    )
    op.add_column("ledger_trial", sa.Column("values", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("ledger_trial", "values")
    op.drop_table("ledger_sealed_example")
