"""The command of `flask` that removes old records of changes."""

from typing import Any

import click
from flask import Flask
from flask.cli import with_appcontext
from sqlalchemy import Connection, bindparam, cast, delete, exists, or_, select, update

from service.common.cli_commands import one_line_errors
from service.database import execute, in_transaction
from service.database.dialects import Differing
from service.database.lists import OneOf
from service.database.times import earlier, now, parsed, rfc3339
from service.models import change_log, changes

# Each batch is a transaction of its own, which holds up the other writers of SQLite.
BATCH_SIZE = 1_000

_newer = changes.alias("newer")
_cutoff = parsed(bindparam("cutoff"))
_batch = (
    select(changes.c.seq, Differing("{0}", "{1}", changes.c.txid, changes.c.seq))
    .where(
        changes.c.seq > bindparam("after"),
        changes.c.at < _cutoff,
        exists().where(_newer.c.product_id == changes.c.product_id, _newer.c.seq > changes.c.seq),
    )
    .order_by(changes.c.seq)
    .limit(BATCH_SIZE)
)
_delete = delete(changes).where(OneOf(changes.c.seq, bindparam("batch")))


def init_app(app: Flask) -> None:
    """Add the command."""
    app.cli.add_command(db_prune)


@click.command("db-prune")
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    required=True,
    help="Keep the records of so many days, and the latest one of each product.",
)
@with_appcontext
def db_prune(days: int) -> None:
    """Remove old records of changes."""
    with one_line_errors():
        ((cutoff,),) = execute(select(rfc3339(earlier(now, bindparam("days")))), {"days": days})
        removed = _remove(cutoff)
    click.echo(f"Removed {removed} records of changes before {cutoff}.")


def _remove(cutoff: str) -> int:
    is_older = change_log.c.complete_since < _cutoff
    execute(update(change_log).where(is_older).values(complete_since=_cutoff), {"cutoff": cutoff})
    removed, after = 0, 0
    while batch := execute(_batch, {"cutoff": cutoff, "after": after}):
        in_transaction(lambda connection: _remove_batch(connection, batch))
        removed, after = removed + len(batch), batch[-1][0]
    return removed


def _remove_batch(connection: Connection, batch: Any) -> None:
    """Remove records, and note the latest transaction of them, for the feed."""
    latest = cast(str(max(int(txid) for _, txid in batch)), change_log.c.pruned.type)
    is_later = or_(change_log.c.pruned.is_(None), change_log.c.pruned < latest)
    connection.execute(update(change_log).where(is_later).values(pruned=latest))
    connection.execute(_delete, {"batch": [seq for seq, _ in batch]})
