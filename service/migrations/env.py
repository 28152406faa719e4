"""What Alembic runs for the commands of `flask db`."""

import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import click
from alembic import context
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext, MigrationInfo
from flask import current_app
from sqlalchemy import Connection
from sqlalchemy.schema import SchemaItem

from service.common.cli_commands import one_line_errors
from service.common.database import create_sqlite_file
from service.common.migrations import LIMITS, is_later, refuse_unstamped, sole_migration
from service.models import db

# Autogenerate cannot compare every index of an expression; a test compares the schemas.
NOT_COMPARED = "autogenerate skipping .* expression-based index|Expression .* operator clause"


def number(context: MigrationContext, revision: object, directives: list[MigrationScript]) -> None:
    """Give a drafted revision the next number: a later one is told by its greater number."""
    for script in directives:
        script.rev_id = f"{len(current_app.extensions['revisions']) + 1:04}"


OPTIONS: dict[str, Any] = {
    "target_metadata": db.metadata,
    "compare_server_default": True,
    "render_as_batch": True,
    "transactional_ddl": True,  # on SQLite, too
    "process_revision_directives": number,
}


def write_sql() -> None:
    """Write the SQL of a command to standard output; no database is asked."""
    dialect = db.engine.dialect.name
    context.configure(
        dialect_name=dialect,
        dialect_opts={"paramstyle": "named"},  # so that no % is doubled
        literal_binds=True,
        **OPTIONS,
    )
    if dialect == "postgresql":
        for limit in LIMITS:
            context.execute(limit)
    with context.begin_transaction():
        context.run_migrations()


def run() -> None:
    """Run a command, and no other one of this database at the same time."""
    upgrading = click.get_current_context().info_name == "upgrade"
    if upgrading:
        create_sqlite_file(db.engine.url)
    with sole_migration(db.engine.url) as connection:
        context.configure(
            connection=connection,
            include_object=partial(is_for, connection),
            on_version_apply=log_step,
            **OPTIONS,
        )
        with context.begin_transaction():
            if upgrading:
                refuse_unstamped(connection, db.metadata)
                if is_later(connection, db.metadata):
                    current_app.logger.warning("The schema is a later version's, and stays so")
                    return
            context.run_migrations()


def is_for(connection: Connection, item: SchemaItem, *_: Any) -> bool:
    """Say whether this database is to have a table, a column, an index and so on of the models."""
    condition: Callable[[Connection], bool] | None = item.info.get("condition")
    return condition is None or condition(connection)


def log_step(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Tell of each revision that was applied or taken back."""
    reached = ", ".join(step.destination_revision_ids) or "base"
    current_app.logger.info("The schema is at revision %s", reached)


if context.is_offline_mode():
    write_sql()
else:
    with one_line_errors(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", NOT_COMPARED)
        run()
