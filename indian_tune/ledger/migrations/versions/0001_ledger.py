"""The ledger's first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger_study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("spec_hash", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_study")),
        sa.UniqueConstraint("name", name=op.f("uq_ledger_study_name")),
    )
    op.create_table(
        "ledger_arm",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("optimizer", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["ledger_study.id"],
            name=op.f("fk_ledger_arm_study_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_arm")),
        sa.UniqueConstraint("study_id", "name", name=op.f("uq_ledger_arm_study_id_name")),
        sa.UniqueConstraint("study_id", "position", name=op.f("uq_ledger_arm_study_id_position")),
    )
    op.create_table(
        "ledger_worker",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=100), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["ledger_study.id"],
            name=op.f("fk_ledger_worker_study_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_worker")),
    )
    op.create_table(
        "ledger_trial",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("arm_id", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=20), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("optuna_trial_id", sa.Integer(), nullable=True),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("worker_id", sa.String(length=32), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("phase IN ('tune', 'confirm')", name=op.f("ck_ledger_trial_phase")),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'complete', 'pruned', 'diverged', 'failed')",
            name=op.f("ck_ledger_trial_state"),
        ),
        sa.ForeignKeyConstraint(
            ["arm_id"], ["ledger_arm.id"], name=op.f("fk_ledger_trial_arm_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["ledger_study.id"],
            name=op.f("fk_ledger_trial_study_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["worker_id"],
            ["ledger_worker.id"],
            name=op.f("fk_ledger_trial_worker_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_trial")),
        sa.UniqueConstraint(
            "arm_id", "phase", "index", name=op.f("uq_ledger_trial_arm_id_phase_index")
        ),
    )
    op.create_index(
        "ix_ledger_trial_claim",
        "ledger_trial",
        ["study_id", "phase", "state", "index"],
        unique=False,
    )
    op.create_table(
        "ledger_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["ledger_study.id"],
            name=op.f("fk_ledger_event_study_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["ledger_trial.id"],
            name=op.f("fk_ledger_event_trial_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_event")),
    )
    op.create_index(
        "ix_ledger_event_study_id_kind", "ledger_event", ["study_id", "kind"], unique=False
    )
    op.create_table(
        "ledger_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("epochs_planned", sa.Integer(), nullable=False),
        sa.Column("epochs_done", sa.Integer(), nullable=False),
        sa.Column("provenance", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'complete', 'pruned', 'diverged', 'failed')",
            name=op.f("ck_ledger_run_state"),
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["ledger_trial.id"],
            name=op.f("fk_ledger_run_trial_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_run")),
        sa.UniqueConstraint("trial_id", "seed", name=op.f("uq_ledger_run_trial_id_seed")),
    )
    op.create_table(
        "ledger_epoch",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("train_loss", sa.Double(), nullable=True),
        sa.Column("train_accuracy", sa.Double(), nullable=True),
        sa.Column("validation_loss", sa.Double(), nullable=True),
        sa.Column("validation_accuracy", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["ledger_run.id"], name=op.f("fk_ledger_epoch_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "epoch", name=op.f("pk_ledger_epoch")),
    )
    op.create_table(
        "ledger_sealed_epoch",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("test_loss", sa.Double(), nullable=True),
        sa.Column("test_accuracy", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["ledger_run.id"],
            name=op.f("fk_ledger_sealed_epoch_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "epoch", name=op.f("pk_ledger_sealed_epoch")),
    )


def downgrade() -> None:
    op.drop_table("ledger_sealed_epoch")
    op.drop_table("ledger_epoch")
    op.drop_table("ledger_run")
    op.drop_index("ix_ledger_event_study_id_kind", table_name="ledger_event")
    op.drop_table("ledger_event")
    op.drop_index("ix_ledger_trial_claim", table_name="ledger_trial")
    op.drop_table("ledger_trial")
    op.drop_table("ledger_worker")
    op.drop_table("ledger_arm")
    op.drop_table("ledger_study")
