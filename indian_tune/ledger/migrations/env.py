"""Alembic's environment: runs on the connection that the ledger hands over.

Foreign keys are off while it runs under SQLite, where Alembic's batch mode makes a table again and
drops the old one.
"""

from alembic import context

from indian_tune.ledger.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
