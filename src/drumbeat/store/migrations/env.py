"""Runs the migrations on the connection, and in the transaction, of drumbeat.store.upgrade."""

from alembic import context

from drumbeat.store.tables import metadata
from drumbeat.store.upgrade import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
