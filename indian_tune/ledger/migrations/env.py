"""Alembic's environment: runs on the connection that the ledger hands over.

A migration adds and drops columns in place. Alembic's batch mode would rebuild the table, and under
SQLite dropping the old one deletes, by the foreign keys, every row that refers to it.
"""

from alembic import context

from indian_tune.ledger.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
