"""The commands of `flask`: what they do, what they ask, and how they fail."""

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from service import create_app
from service.models import Status
from tests.factories import product_body
from tests.helpers import app_with_tables, backend, dispose, execute

ROOT = Path(__file__).parent.parent
WARNING = "The tables product_changes, products have rows, which will be deleted."


def count(app: Flask) -> int:
    return len(app.test_client().get("/products").get_json())


def add_product(app: Flask) -> None:
    assert app.test_client().post("/products", json=product_body()).status_code == 201


def test_db_create_makes_the_tables(empty_database: str) -> None:
    app = create_app({"DATABASE_URI": empty_database})
    assert app.test_client().get("/products").status_code == 503

    result = app.test_cli_runner().invoke(args=["db-create"])

    assert (result.exit_code, result.output) == (0, "Created the tables.\n")
    assert count(app) == 0
    dispose(app)


def test_db_create_makes_the_folder_of_a_sqlite_file(tmp_path: Path) -> None:
    with app_with_tables(f"sqlite:///{tmp_path / 'new' / 'folder' / 'products.db'}") as app:
        assert count(app) == 0


def test_db_create_without_a_terminal_keeps_the_rows(postgresql_app: Flask) -> None:
    add_product(postgresql_app)

    result = postgresql_app.test_cli_runner().invoke(args=["db-create"])

    assert result.exit_code == 1
    assert result.stderr == f"Error: {WARNING} Use --yes to confirm.\n"
    assert count(postgresql_app) == 1


def test_db_create_names_each_table_with_rows(postgresql_app: Flask) -> None:
    add_product(postgresql_app)
    columns = "writer, key, fingerprint, expires_at"
    execute(postgresql_app, f"INSERT INTO idempotency_keys ({columns}) VALUES ('', 'a', '', 1)")

    result = postgresql_app.test_cli_runner().invoke(args=["db-create"])

    assert (
        "The tables idempotency_keys, product_changes, products have rows, which" in result.stderr
    )


def test_db_create_does_not_ask_for_an_empty_table(runner: FlaskCliRunner) -> None:
    assert runner.invoke(args=["db-create"]).exit_code == 0


def test_db_create_yes_drops_the_rows_and_begins_anew(app: Flask, runner: FlaskCliRunner) -> None:
    add_product(app)

    result = runner.invoke(args=["db-create", "--yes"])

    assert result.exit_code == 0
    assert count(app) == 0
    add_product(app)
    assert app.test_client().get("/products/1").status_code == 200


def test_db_create_does_not_ask_on_sqlite(sqlite_app: Flask) -> None:
    add_product(sqlite_app)

    assert sqlite_app.test_cli_runner().invoke(args=["db-create"]).exit_code == 0
    assert count(sqlite_app) == 0


def test_db_create_replaces_a_table_of_another_version(app: Flask, runner: FlaskCliRunner) -> None:
    add_product(app)
    execute(app, "ALTER TABLE products RENAME COLUMN category TO kind")

    refused = runner.invoke(args=["db-create"])
    assert refused.exit_code == (0 if backend(app) == "sqlite" else 1)
    assert runner.invoke(args=["db-create", "--yes"]).exit_code == 0

    add_product(app)
    assert count(app) == 1


def at_a_terminal(app: Flask, *arguments: str, answer: str = "") -> tuple[int, str]:
    """Run a command with a terminal as its input and output; return its code and what it says."""
    keyboard, terminal = pty.openpty()
    environment = {**os.environ, "DATABASE_URI": app.config["DATABASE_URI"], "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "flask", *arguments],
        cwd=ROOT, env=environment, stdin=terminal, stdout=terminal, stderr=terminal,
    ) as command:  # fmt: skip
        os.close(terminal)
        os.write(keyboard, answer.encode())
        said = b""
        try:
            while part := os.read(keyboard, 4096):
                said += part
        except OSError:  # how Linux tells that the terminal has no one left
            pass
        os.close(keyboard)
        return command.wait(timeout=30), said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1)])
def test_db_create_asks_at_a_terminal(
    postgresql_app: Flask, answer: str, code: int, left: int
) -> None:
    add_product(postgresql_app)

    ended, said = at_a_terminal(postgresql_app, "db-create", answer=answer)

    assert f"{WARNING} Continue?" in said
    assert (ended, count(postgresql_app)) == (code, left)


def test_db_seed_shows_its_progress_at_a_terminal(app: Flask) -> None:
    code, said = at_a_terminal(app, "db-seed", "--count", "3")

    assert code == 0
    assert "100%" in said
    assert count(app) == 3


@pytest.mark.parametrize("amount", [1, 999, 1000, 1001, 2500])
def test_db_seed_adds_as_many_as_it_is_told(
    app: Flask, runner: FlaskCliRunner, amount: int
) -> None:
    add_product(app)

    result = runner.invoke(args=["db-seed", "--count", str(amount)])

    assert result.exit_code == 0
    assert f"Inserted {amount} products." in result.output
    assert "%" not in result.output
    assert count(app) == amount + 1


@pytest.mark.parametrize("amount", ["0", "-1", "many", "10000001"])
def test_db_seed_refuses_another_count(app: Flask, runner: FlaskCliRunner, amount: str) -> None:
    assert runner.invoke(args=["db-seed", "--count", amount]).exit_code == 2
    assert count(app) == 0


def test_the_demo_catalogue_is_the_same_everywhere(
    sqlite_app: Flask, postgresql_app: Flask
) -> None:
    bodies = []
    for app in (sqlite_app, postgresql_app):
        assert app.test_cli_runner().invoke(args=["db-seed", "--count", "200"]).exit_code == 0
        bodies.append(app.test_client().get("/products").data)

    assert bodies[0] == bodies[1]


def test_the_demo_catalogue_has_variety(app: Flask, runner: FlaskCliRunner) -> None:
    runner.invoke(args=["db-seed"])

    products = app.test_client().get("/products").get_json()
    assert len(products) == 100
    assert {product["status"] for product in products} == {status.value for status in Status}
    assert len({product["category"] for product in products}) > 5
    assert len({product["price"] for product in products}) > 50


@pytest.mark.parametrize("command", ["db-create", "db-seed"])
def test_an_unreachable_database_is_one_clear_line(command: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        app = create_app({"DATABASE_URI": f"postgresql+psycopg://nobody@127.0.0.1:{port}/none"})

        result = app.test_cli_runner().invoke(args=[command])
        dispose(app)

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: The database is unavailable")
    assert "check DATABASE_URI" in line


def test_db_seed_without_tables_says_to_make_them(empty_database: str) -> None:
    app = create_app({"DATABASE_URI": empty_database})

    result = app.test_cli_runner().invoke(args=["db-seed"])
    dispose(app)

    assert result.exit_code == 1
    assert "run `flask db upgrade`" in result.stderr, (result.exception, result.output)


def test_db_seed_adds_all_or_nothing(app: Flask, runner: FlaskCliRunner) -> None:
    if backend(app) == "sqlite":
        execute(
            app,
            "CREATE TRIGGER full BEFORE INSERT ON products WHEN NEW.id > 1500 OR "
            "(SELECT count(*) FROM products) >= 1500 BEGIN SELECT RAISE(ABORT, 'full'); END",
        )
    else:
        execute(app, "ALTER TABLE products ADD CONSTRAINT full_up CHECK (id <= 1500)")
    try:
        assert runner.invoke(args=["db-seed", "--count", "2000"]).exit_code == 1
        assert count(app) == 0
    finally:
        if backend(app) == "sqlite":
            execute(app, "DROP TRIGGER full")
        else:
            execute(app, "ALTER TABLE products DROP CONSTRAINT full_up")
