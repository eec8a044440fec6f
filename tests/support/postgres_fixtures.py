"""A real PostgreSQL server for tests, and empty databases for ledgers, on it and in SQLite."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest


class PostgresServer:
    """A PostgreSQL server of our own, reached through a socket in its folder, to stop and start."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._databases = 0
        # PostgreSQL refuses to run as root.
        self._user = {"user": "nobody", "group": "nogroup", "extra_groups": ()} if os.getuid() == 0 else {}
        if self._user:
            shutil.chown(folder, "nobody")
        self._run(
            "initdb", "-D", "data", "-U", "simtrue", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses='' -c fsync=off -k {self._folder}"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, cutting off whoever is connected."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def new_database(self) -> str:
        """The URL of an empty database: a schema of its own, which costs a hundredth of a real one."""
        self._databases += 1
        name = f"test_{self._databases}"
        server = f"postgresql://simtrue@/postgres?host={self._folder}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{server}&options=-csearch_path%3D{name}"

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._programs / program), *words]
        # pg_ctl leaves the server with its own output, so that this may not be a pipe.
        with (self._folder / "output").open("w+") as output:
            done = subprocess.run(
                command, cwd=self._folder, stdout=output, stderr=output, check=False, **self._user
            )
            output.seek(0)
            assert done.returncode == 0, output.read()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL server; skips where none is installed."""
    on_path = shutil.which("initdb")
    installed = [Path(on_path)] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not installed:
        pytest.skip("no PostgreSQL is installed here")
    # The path of a socket has at most 107 characters, and the server's user must be able to enter its folder.
    with tempfile.TemporaryDirectory(prefix="simtrue-", dir="/tmp") as folder:
        server = PostgresServer(installed[-1].resolve().parent, Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database for a ledger: a test that takes it runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()
