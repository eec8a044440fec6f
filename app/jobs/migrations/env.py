"""What Alembic runs: it uses the connection, inside the transaction, that `app.jobs.migrating` hands over."""

from alembic import context

from app.jobs.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
