"""Bringing a ledger's database to the newest revision, by one process at a time."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.errors import BadLedger
from app.jobs.tables import VERSION_TABLE

NEWEST = "head"

_FOLDER = Path(__file__).resolve().parent / "migrations"
_ADVISORY_LOCK = int.from_bytes(b"simtrue", "big")
_ONE_AT_A_TIME = threading.Lock()
"""Alembic's `op` and `context` belong to the whole process."""


def migrate(connection: Connection, revision: str = NEWEST) -> None:
    """Bring the database to `revision`, inside the writing transaction that is open on `connection`.

    Other processes wait until it ends: SQLite has one writer, PostgreSQL is locked here. Raises BadLedger
    when a newer version of this package made the database.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        _refuse_newer(connection, ScriptDirectory.from_config(config))
        command.upgrade(config, revision)


def _refuse_newer(connection: Connection, script: ScriptDirectory) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    if unknown := sorted(set(context.get_current_heads()) - known):
        raise BadLedger(
            f"The ledger {connection.engine.url.render_as_string()} was made by a newer Simtrue (revision "
            f"{', '.join(unknown)}); run that version, or name another database with SIMTRUE_DATABASE."
        )
