"""The Alembic environment of the `flask db` commands."""

import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import click
from alembic import context
from alembic.operations import Operations
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext, MigrationInfo
from flask import current_app
from sqlalchemy import Connection, Index
from sqlalchemy.schema import SchemaItem

from service.common.cli_commands import one_line_errors
from service.database import db, revisions, sqlite

# Autogenerate does not compare indexes on expressions; a test compares the schemas instead.
EXPRESSION_INDEX_WARNINGS = (
    "autogenerate skipping .* expression-based index|Expression .* operator clause"
)


def number_revision(
    context: MigrationContext, revision: object, directives: list[MigrationScript]
) -> None:
    """Give a new revision the next number, so that a greater number means a newer revision."""
    for script in directives:
        script.rev_id = f"{int(revisions.known()[0]) + 1:04}"


OPTIONS: dict[str, Any] = {
    "target_metadata": db.metadata,
    "compare_server_default": True,
    "render_as_batch": True,
    "transactional_ddl": True,  # Alembic's default is False on SQLite
    "transaction_per_migration": True,
    "process_revision_directives": number_revision,
}


def write_sql() -> None:
    """Write the SQL of a command to standard output, without a connection (`--sql`)."""
    dialect = db.engine.dialect.name
    context.configure(
        dialect_name=dialect,
        dialect_opts={"paramstyle": "named"},  # the psycopg style would double each %
        literal_binds=True,
        **OPTIONS,
    )
    if dialect == "postgresql":
        for statement in revisions.TIMEOUTS:
            context.execute(statement)
    with context.begin_transaction():
        context.run_migrations()


def wait_seconds() -> int:
    """Return the seconds of `-x wait=SECONDS`, the only such argument; raise ``ClickException``."""
    given = context.get_x_argument(as_dictionary=True)
    seconds = given.pop("wait", "0")
    if given or not (isinstance(seconds, str) and seconds.isdecimal()):
        raise click.ClickException("-x must be wait=SECONDS, with a whole number of seconds.")
    return int(seconds)


def run() -> None:
    """Run a command while holding the migration lock."""
    wait = wait_seconds()
    command = click.get_current_context().info_name
    upgrading = command in {"upgrade", "db-create"}
    if upgrading:
        sqlite.create_file(db.engine.url)
    with revisions.migration_lock(db.engine.url, wait) as connection:
        context.configure(
            connection=connection,
            include_object=partial(is_expected, connection),
            on_version_apply=log_step,
            **OPTIONS,
        )
        with context.begin_transaction():
            if command == "stamp":
                target = context.get_revision_argument()
                revisions.require_tables(connection, db.metadata, target)
            if not upgrading or can_upgrade(connection):
                context.run_migrations()
        if upgrading:
            with Operations.context(context.get_context()):
                revisions.create_missing_triggers(connection, db.metadata)
        elif command == "check" and (error := revisions.trigger_error(connection, db.metadata)):
            raise click.ClickException(f"{error}.")


def can_upgrade(connection: Connection) -> bool:
    """Return whether the schema is not newer than this version; raises ``ClickException``."""
    revisions.require_revision(connection, db.metadata)
    is_newer = revisions.is_newer(connection)
    if is_newer:
        current_app.logger.warning(
            "The schema belongs to a later version of the service: it is left unchanged"
        )
    return not is_newer


def is_expected(connection: Connection, item: SchemaItem, *_: Any) -> bool:
    """Return whether the database must have an item of the models, such as an index."""
    if isinstance(item, Index) and item.name in db.metadata.info["retired_indexes"]:
        return False
    condition: Callable[[Connection], bool] | None = item.info.get("condition")
    return condition is None or condition(connection)


def log_step(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Log the revision after each upgrade or downgrade step."""
    reached = ", ".join(step.destination_revision_ids) or "base"
    current_app.logger.info("The schema is at revision %s", reached)


if context.is_offline_mode():
    write_sql()
else:
    with one_line_errors(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", EXPRESSION_INDEX_WARNINGS)
        run()
