"""Transactions on the ledger's database, and what is said when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from app.errors import LedgerUnavailable

WRITES = "simtrue_writes"
"""Execution option of a connection whose transaction is going to write."""

_OUR_FAULT = (DataError, IntegrityError, NotSupportedError, ProgrammingError)


class Transactions:
    """Opens transactions on an engine and closes it in the end; threads may share one."""

    def __init__(self, engine: Engine) -> None:
        self._reader = engine
        self._writer = engine.execution_options(**{WRITES: True})
        self.name = engine.url.render_as_string(hide_password=True)
        """Which database this is, without its password."""

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._reader.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads. Raises LedgerUnavailable."""
        with _answering(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes all or nothing. Raises LedgerUnavailable.

        When the database goes away at the very end, nobody can tell whether it was written; so every
        operation of the ledger may be repeated.
        """
        with _answering(), self._writer.begin() as connection:
            yield connection


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except NoConnectionLeft as error:
        raise LedgerUnavailable(
            "The ledger of jobs has too much to do right now; try again.", str(error)
        ) from error
    except DBAPIError as error:
        if isinstance(error, _OUR_FAULT) and not error.connection_invalidated:
            raise
        reason = str(error.orig).partition("\n")[0]
        raise LedgerUnavailable("The ledger of jobs does not answer right now; try again.", reason) from error
