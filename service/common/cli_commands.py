"""The commands of `flask` that create the tables, seed the database and create tokens."""

import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NoReturn

import click
from click.core import ParameterSource
from flask import Flask
from flask.cli import with_appcontext
from flask_migrate import upgrade
from sqlalchemy import Connection, MetaData, inspect, literal, select
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from service.common.error_handlers import outage_message
from service.config import TOKEN_NAME, read_settings
from service.database import db, insert_rows, revisions, sqlite, transaction
from service.server.addresses import address_of, refuse_taken

BATCH_SIZE = 1_000

Rows = Callable[[int], Iterator[dict[str, Any]]]


def init_app(app: Flask, demo_rows: Rows, demo_table: str) -> None:
    """Add the commands; ``demo_rows(count)`` yields the rows that `db-seed` inserts."""
    app.cli.add_command(db_create)
    app.cli.add_command(token_create)

    @app.cli.command("db-seed")
    @click.option(
        "--count",
        type=click.IntRange(min=1, max=10_000_000),
        default=100,
        show_default=True,
        help="Number of rows to insert.",
    )
    def db_seed(count: int) -> None:
        """Insert demo rows in one transaction."""
        _insert_batches(demo_table, demo_rows(count), count)
        click.echo(f"Inserted {count} {demo_table}.")


@click.command("db-create")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation if rows are deleted.")
@with_appcontext
def db_create(yes: bool) -> None:
    """Drop all tables and create them again."""
    with one_line_errors():
        sqlite.create_file(db.engine.url)
    with _transaction() as connection:
        if connection.dialect.name != "sqlite":
            revisions.refuse_pooler(connection)
            _confirm_deletion([] if yes else _tables_with_rows(connection, db.metadata))
        db.metadata.drop_all(connection)
        revisions.drop_version_table(connection)
    upgrade()
    click.echo("Created the tables.")


@click.command("token-create")
@click.argument("name")
def token_create(name: str) -> None:
    """Print a new NAME=TOKEN pair for API_TOKENS or API_TOKENS_FILE."""
    if not TOKEN_NAME.fullmatch(name):
        raise click.BadParameter("must be 1 to 64 characters of A-Za-z0-9._-", param_hint="NAME")
    click.echo(f"{name}={secrets.token_urlsafe()}")


def prepare_run() -> None:
    """Make `flask run` use HOST and PORT, and log each request once; to be called before the app.

    Does nothing in other commands and servers.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "run":
        return
    sources = {context.get_parameter_source(name) for name in ("host", "port")}
    if ParameterSource.DEFAULT in sources:
        _run_again()
    if "WERKZEUG_SERVER_FD" not in os.environ:  # else the reloader has the socket
        refuse_taken(context.params["host"], context.params["port"])
    logging.getLogger("werkzeug").addFilter(_is_no_request)


def _run_again() -> NoReturn:
    """Execute the command anew: flask parsed HOST and PORT before `.env` was loaded."""
    settings = read_settings()
    os.environ.setdefault("FLASK_RUN_HOST", address_of(settings.HOST))
    os.environ.setdefault("FLASK_RUN_PORT", str(settings.PORT))
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # the command itself


def _is_no_request(record: logging.LogRecord) -> bool:
    return '"%s" %s %s' not in str(record.msg)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn ``DBAPIError`` and ``OSError`` into ``ClickException``: one line, no traceback."""
    try:
        with _shown_cause():
            yield
    except DBAPIError as error:
        cause = " ".join(str(error.orig).split())
        message = outage_message(error) or f"The database rejected the command: {cause}"
        raise click.ClickException(message) from None
    except OSError as error:
        raise click.ClickException(
            f"The database file cannot be created or written: {error}"
        ) from None


@contextmanager
def _shown_cause() -> Iterator[None]:
    """Raise the error of a lost connection, not the one of ending its transaction."""
    try:
        yield
    except PendingRollbackError as error:
        raise error.__context__ or error from None


@contextmanager
def _transaction() -> Iterator[Connection]:
    with one_line_errors(), transaction() as connection:
        yield connection


def _insert_batches(table: str, rows: Iterator[dict[str, Any]], count: int) -> None:
    with _transaction() as connection, click.progressbar(length=count, label="Seeding") as bar:
        while batch := list(islice(rows, BATCH_SIZE)):
            insert_rows(connection, db.metadata.tables[table], batch)
            bar.update(len(batch))


def _tables_with_rows(connection: Connection, metadata: MetaData) -> list[str]:
    inspector = inspect(connection)
    tables = [
        table
        for table in metadata.sorted_tables
        if not table.info.get("is_internal") and inspector.has_table(table.name)
    ]
    # A table of another version may lack columns of the model, so none is selected.
    return [
        table.name
        for table in tables
        if connection.execute(select(literal(1)).select_from(table).limit(1)).first()
    ]


def _confirm_deletion(tables: list[str]) -> None:
    """Ask for confirmation; raise ``ClickException`` if standard input is not a terminal."""
    if not tables:
        return
    subject = "The table {} has" if len(tables) == 1 else "The tables {} have"
    warning = f"{subject.format(', '.join(tables))} rows, which will be deleted."
    if not sys.stdin.isatty():
        raise click.ClickException(f"{warning} Use --yes to confirm.")
    click.confirm(f"{warning} Continue?", abort=True)
