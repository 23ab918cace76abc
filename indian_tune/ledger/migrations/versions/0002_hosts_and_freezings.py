"""Where a study was registered, and which freezing made a confirm trial."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger_study", sa.Column("host", sa.String(length=255), nullable=True))
    op.add_column(
        "ledger_trial", sa.Column("freezing", sa.Integer(), nullable=False, server_default="0")
    )
    op.execute("UPDATE ledger_trial SET freezing = 1 WHERE phase = 'confirm'")


def downgrade() -> None:
    op.drop_column("ledger_trial", "freezing")
    op.drop_column("ledger_study", "host")
