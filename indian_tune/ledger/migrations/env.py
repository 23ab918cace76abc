"""Alembic's environment, on the connection that the ledger passes.

Foreign keys are off while it runs under SQLite: Alembic's batch mode makes a table again and drops
the old one, and with it would go, by the foreign keys, every row that refers to it.
"""

from alembic import context

from indian_tune.ledger.tables import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
if connection.dialect.name == "sqlite":
    assert not connection.exec_driver_sql("PRAGMA foreign_keys").scalar()
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
