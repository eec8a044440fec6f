"""Opening the ledger: which database it is, how to speak to it, and that its tables are up to date."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from app.errors import BadLedger, BadSettings, LedgerUnavailable
from app.jobs.ledger import Ledger
from app.jobs.migrating import migrate
from app.jobs.transactions import WRITES, Transactions
from app.jobs.turnstile import Turnstile
from app.settings import Settings

LOCK_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
POOL_TIMEOUT_S = 30
SQLITE_FILE = "ledger.sqlite"

_POSTGRES = "postgresql+psycopg"
_POSTGRES_NAMES = {"postgres", "postgresql", _POSTGRES}


def database_url(settings: Settings) -> URL:
    """The database that the settings name: an SQLite file in the data folder when they name none."""
    if settings.database is None:
        return URL.create("sqlite", database=str(settings.data / SQLITE_FILE))
    return _parsed(settings.database.get_secret_value())


@contextmanager
def open_ledger(database: URL | str, clock: Callable[[], float] = time.time) -> Iterator[Ledger]:
    """The ledger in `database`, whose tables are made or brought up to date first.

    Raises BadSettings (no such kind of database), BadLedger (made by a newer version, or no database at all)
    and LedgerUnavailable (nobody answers). A password in the URL is in none of them.
    """
    transactions = Transactions(_engine(_parsed(database) if isinstance(database, str) else database))
    try:
        _make_ready(transactions)
        yield Ledger(transactions, clock)
    finally:
        transactions.close()


def _parsed(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise BadSettings(
            "SIMTRUE_DATABASE is no database URL such as postgresql://user@host/name."
        ) from None
    return url.set(drivername=_POSTGRES) if url.drivername in _POSTGRES_NAMES else url


def _make_ready(transactions: Transactions) -> None:
    try:
        with transactions.writing() as connection:
            migrate(connection)
    except LedgerUnavailable as error:
        if isinstance(error.__cause__, DatabaseError) and "not a database" in error.reason:
            raise BadLedger(f"{transactions.name} is not an SQLite database.") from error
        raise LedgerUnavailable(
            f"The ledger {transactions.name} cannot be opened: {error.reason}.", error.reason
        ) from error


def _engine(url: URL) -> Engine:
    if url.drivername == _POSTGRES:
        return _postgres_engine(url)
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    raise BadSettings(f"The ledger lives in SQLite or PostgreSQL, not in {url.get_backend_name()}.")


def _sqlite_engine(url: URL) -> Engine:
    if url.database in {None, "", ":memory:"} or str(url.database).startswith("file:"):
        raise BadSettings("The ledger needs a file: sqlite:////path/to/ledger.sqlite.")
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger's folder {folder} cannot be made: {error.strerror}.", str(error)
        ) from error
    engine = create_engine(
        url,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,
        connect_args={"timeout": LOCK_TIMEOUT_S},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    turnstile = Turnstile(Path(f"{url.database}-turn"), LOCK_TIMEOUT_S)
    event.listen(engine, "begin", partial(_begin_sqlite, turnstile))
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # or Python would begin transactions on its own
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    if _journal_mode(connection) != "wal":
        raise BadLedger("The ledger's folder cannot hold SQLite's write-ahead log; take a local disk.")


def _journal_mode(connection: sqlite3.Connection) -> str:
    """Switch to WAL and return the mode; SQLite does not wait by itself when two do this at once."""
    until = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return str(mode)


def _begin_sqlite(turnstile: Turnstile, connection: Connection) -> None:
    """Writers queue at the start: one that reads first and then finds another ahead could only fail."""
    if connection.get_execution_options().get(WRITES, False):
        with turnstile.passing():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _postgres_engine(url: URL) -> Engine:
    # A server that is cut off is noticed within half a minute; what the URL says wins.
    network = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    try:
        engine = create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_timeout=POOL_TIMEOUT_S,
            hide_parameters=True,
            connect_args={name: value for name, value in network.items() if name not in url.query},
        )
    except ImportError:
        raise BadSettings("PostgreSQL needs a driver: pip install 'simtrue[postgres]'.") from None
    event.listen(engine, "connect", _prepare_postgres)
    return engine


def _prepare_postgres(connection: Any, _record: object) -> None:
    """No wait without a bound: for a row that another process holds, or holds without going on."""
    connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
    connection.execute(f"SET idle_in_transaction_session_timeout = '{2 * LOCK_TIMEOUT_S}s'")
    connection.commit()
