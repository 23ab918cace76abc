"""Alembic's environment: runs on the connection that the ledger hands over."""

from alembic import context

from indian_tune.ledger.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # SQLite changes a table by copying it.
    render_as_batch=True,
)
context.run_migrations()
