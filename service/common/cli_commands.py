"""The commands of `flask`: what is done to a database by hand."""

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import click
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, MetaData, inspect, literal, select
from sqlalchemy.exc import DBAPIError

from service.common.database import create_sqlite_file, insert_rows, transaction
from service.common.error_handlers import advice
from service.common.migrations import stamp_head
from service.config import CLIENT_NAME

BATCH = 1_000

Rows = Callable[[int], Iterator[dict[str, Any]]]


def init_app(app: Flask, db: SQLAlchemy, demo_rows: Rows, demo_table: str) -> None:
    """Add the commands; ``demo_rows(count)`` yields what `db-seed` puts into ``demo_table``."""

    @app.cli.command("db-create")
    @click.option("--yes", is_flag=True, help="Do not ask, even if rows will be lost.")
    def db_create(yes: bool) -> None:
        """Drop all tables and create them anew."""
        with one_line_errors():
            create_sqlite_file(db.engine.url)
        with _database() as connection:
            if not yes and connection.dialect.name != "sqlite":
                _confirm_loss(_full_table(connection, db.metadata))
            db.metadata.drop_all(connection)
            db.metadata.create_all(connection)
            stamp_head(connection)
        click.echo("The tables are created.")

    @app.cli.command("db-seed")
    @click.option(
        "--count",
        type=click.IntRange(min=1, max=10_000_000),
        default=100,
        show_default=True,
        help="How many to add.",
    )
    def db_seed(count: int) -> None:
        """Add a demo catalogue: all of it, or nothing if it fails."""
        rows = demo_rows(count)
        with _database() as connection, click.progressbar(length=count, label="Seeding") as bar:
            while batch := list(islice(rows, BATCH)):
                insert_rows(connection, db.metadata.tables[demo_table], batch)
                bar.update(len(batch))
        click.echo(f"{count} {demo_table} are added.")

    @app.cli.command("token-create")
    @click.argument("name")
    def token_create(name: str) -> None:
        """Print a new token for NAME, as API_TOKENS and API_TOKENS_FILE take it."""
        if not CLIENT_NAME.fullmatch(name):
            raise click.BadParameter("must be 1 to 64 of A-Za-z0-9._-", param_hint="NAME")
        click.echo(f"{name}={secrets.token_urlsafe()}")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Let a command that fails at the database end with one clear line, not a traceback."""
    try:
        yield
    except DBAPIError as error:
        said = " ".join(str(error.orig).split())
        line = advice(error) or f"The database refuses this ({said})."
        raise click.ClickException(line) from None
    except OSError as error:
        raise click.ClickException(f"The database cannot be made ({error}).") from None


@contextmanager
def _database() -> Iterator[Connection]:
    with one_line_errors(), transaction() as connection:
        yield connection


def _full_table(connection: Connection, metadata: MetaData) -> str | None:
    """Return the name of a table that has rows; None if all are empty or not there."""
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        if inspector.has_table(table.name):
            # Not one of its columns is named: it may be of another version.
            found = connection.execute(select(literal(1)).select_from(table).limit(1)).first()
            if found:
                return table.name
    return None


def _confirm_loss(table: str | None) -> None:
    """Ask whether the rows of ``table`` may go; only a terminal can answer."""
    if table is None:
        return
    question = f"The table {table} has rows. They will be lost. Go on?"
    if not sys.stdin.isatty():
        raise click.ClickException(f"{question} There is no terminal to ask: say --yes.")
    click.confirm(question, abort=True)
