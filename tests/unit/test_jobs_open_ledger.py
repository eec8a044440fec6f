"""Opening a ledger: which database, its revisions, and what is said about one that will not do."""

import logging
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, text

import app.jobs.migrations
from app.errors import BadLedger, BadSettings, LedgerUnavailable
from app.jobs.counts import Counts
from app.jobs.job import Chunk, NewJob
from app.jobs.job_rows import change, write_down
from app.jobs.migrating import migrate
from app.jobs.open_ledger import _engine, _parsed, database_url, open_ledger
from app.jobs.tables import VERSION_TABLE, chunks, metadata
from app.jobs.transactions import Transactions
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
JOB = "0" * 26


def _revisions():
    """From an empty database to the newest."""
    config = Config()
    config.set_main_option("script_location", str(Path(app.jobs.migrations.__file__).parent))
    return [
        "base",
        *reversed([step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]),
    ]


def differences(ledger):
    with ledger._transactions.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return compare_metadata(context, metadata)


@pytest.mark.parametrize("revision", _revisions())
def test_a_database_of_any_revision_becomes_what_the_code_expects(ledger_url, revision):
    transactions = Transactions(_engine(_parsed(ledger_url)))
    with transactions.writing() as connection:
        migrate(connection, revision)
    transactions.close()

    with open_ledger(ledger_url) as ledger:
        assert differences(ledger) == []
        assert ledger.tally() == {}


def test_chunks_of_the_first_revision_keep_what_became_of_them(ledger_url):
    transactions = Transactions(_engine(_parsed(ledger_url)))
    with transactions.writing() as connection:
        migrate(connection, "0001")
        job = write_down(connection, NewJob(JOB, "{}", "digest"), 0.0)
        change(connection, job, state="running", owner="me", chunks=3, chunks_done=1)
        rows = [(0, "waiting", 0), (1, "waiting", 2), (2, "done", 1)]
        values = [{"job_id": JOB, "number": n, "state": state, "attempts": a} for n, state, a in rows]
        connection.execute(insert(chunks), values)
    transactions.close()

    with open_ledger(ledger_url) as ledger:
        assert ledger.chunks_waiting(JOB) == (Chunk(0, 0), Chunk(1, 2))
        assert [ledger.start_chunk(JOB, "me", number) for number in (0, 1)] == [1, 3]
        assert [ledger.finish_chunk(JOB, "me", number, Counts()) for number in range(3)] == [
            True,
            True,
            False,
        ]


def test_revisions_are_one_line_without_branches():
    config = Config()
    config.set_main_option("script_location", str(Path(app.jobs.migrations.__file__).parent))

    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


def test_a_migration_that_fails_leaves_nothing_behind(ledger_url, monkeypatch):
    step = "app.jobs.migrating.command.upgrade"
    upgrade = app.jobs.migrating.command.upgrade

    def broken(*words):
        upgrade(*words)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(step, broken)
    with pytest.raises(RuntimeError), open_ledger(ledger_url):
        pass
    monkeypatch.undo()

    with open_ledger(ledger_url) as ledger:
        assert differences(ledger) == []


def test_a_database_of_a_newer_version_is_refused_in_one_sentence_and_left_alone(ledger_url):
    with open_ledger(ledger_url) as ledger, ledger._transactions.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    sentence = r"newer Simtrue \(revision 9999\); run that version, or .*DATABASE\.$"
    with pytest.raises(BadLedger, match=sentence), open_ledger(ledger_url):
        pass


def test_opening_leaves_the_logs_as_they_were(ledger_url):
    root = logging.getLogger()
    loggers = [root, logging.getLogger("alembic"), logging.getLogger("sqlalchemy"), logging.getLogger("app")]
    before = [(logger.level, list(logger.handlers), logger.disabled) for logger in loggers]

    with open_ledger(ledger_url):
        pass

    assert [(logger.level, list(logger.handlers), logger.disabled) for logger in loggers] == before


def test_without_a_database_the_ledger_is_a_file_in_the_data_folder(tmp_path):
    with open_ledger(database_url(Settings(data=tmp_path / "new" / "folder"))):
        pass

    assert (tmp_path / "new" / "folder" / "ledger.sqlite").is_file()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_goes_by_all_its_names(postgres, scheme):
    url = postgres.new_database().replace("postgresql", scheme, 1)

    with open_ledger(database_url(Settings(database=url))) as ledger:
        assert ledger.name.startswith("postgresql+psycopg://simtrue@/")


def test_what_a_sqlite_ledger_says_is_written_is_on_the_disk(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with open_ledger(url) as ledger, ledger._transactions.reading() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys")
        asked = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}

    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_password_is_not_in_the_name(postgres):
    url = postgres.new_database().replace("simtrue@", "simtrue:open-sesame@", 1)

    with open_ledger(url) as ledger:
        assert "open-sesame" not in ledger.name
        assert ":***@" in ledger.name


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("mysql://me:open-sesame@host/x", "SQLite or PostgreSQL, not in mysql"),
        ("nonsense open-sesame", "no database URL"),
        ("postgresql://me:open-sesame@host:port/x", "no database URL"),
    ],
)
def test_what_is_no_url_of_a_ledger_is_refused_and_keeps_its_password(url, sentence):
    with pytest.raises(BadSettings, match=sentence) as raised, open_ledger(url):
        pass

    assert "open-sesame" not in str(raised.value)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "ledger.sqlite"
    file.write_text("these are my notes, not a database\n" * 100)

    with pytest.raises(BadLedger, match="is not an SQLite database"), open_ledger(f"sqlite:///{file}"):
        pass

    assert file.read_text() == "these are my notes, not a database\n" * 100


def test_a_file_that_another_process_is_about_to_switch_to_wal_is_waited_for(tmp_path):
    file = tmp_path / "ledger.sqlite"
    maker = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    maker.execute("BEGIN IMMEDIATE")
    maker.execute("CREATE TABLE made_first (a)")
    done = threading.Timer(0.3, maker.execute, ["COMMIT"])
    done.start()

    with open_ledger(f"sqlite:///{file}") as ledger:
        assert ledger.tally() == {}
    done.join()
    maker.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(LedgerUnavailable, match=r"folder .*file cannot be made"),
        open_ledger(f"sqlite:///{tmp_path}/file/ledger.sqlite"),
    ):
        pass


def test_a_disk_that_is_full_is_unavailable(tmp_path):
    with (
        open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger,
        pytest.raises(LedgerUnavailable) as raised,
    ):
        _fill(ledger)

    assert raised.value.reason == "database or disk is full"


def _fill(ledger):
    with ledger._transactions.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("CREATE TABLE big (a)")
        connection.exec_driver_sql("INSERT INTO big VALUES (zeroblob(10000000))")


def test_closing_leaves_the_ledger_in_one_file(tmp_path):
    with open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        ledger.tally()

    left = {file.name: file.stat().st_size > 0 for file in tmp_path.iterdir()}
    assert left == {"ledger.sqlite": True, "ledger.sqlite-turn": False}


def test_a_service_that_has_not_opened_a_ledger_has_not_loaded_one():
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, app.cli, app.main, app.serving, app.offline; print(*sys.modules)",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert {"sqlalchemy", "alembic", "psycopg"} & set(loaded) == set()
