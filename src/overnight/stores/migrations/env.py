"""Run by Alembic: takes the connection, and the transaction on it, from whoever asked for the upgrade."""

from alembic import context

from overnight.stores.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
    transactional_ddl=True,
)
context.run_migrations()
