"""Where a study was registered, and which freezing made a confirm trial."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("ledger_study") as study:
        study.add_column(sa.Column("host", sa.String(length=255), nullable=True))
    with op.batch_alter_table("ledger_trial") as trial:
        trial.add_column(sa.Column("freezing", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE ledger_trial SET freezing = 1 WHERE phase = 'confirm'")


def downgrade() -> None:
    with op.batch_alter_table("ledger_trial") as trial:
        trial.drop_column("freezing")
    with op.batch_alter_table("ledger_study") as study:
        study.drop_column("host")
