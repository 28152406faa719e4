"""Locks that end with the transaction, and INSERT … ON CONFLICT."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Select, Table, literal
from sqlalchemy.dialects import postgresql, sqlite

from service.database.dialects import Differing

INSERT = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class TryLock(Differing):
    """Takes the lock ``number``, a signed 64-bit integer, until the transaction ends.

    It is false if another transaction has the lock. On SQLite it is always true, as transactions
    that write run one after the other.
    """

    inherit_cache = True

    def __init__(self, number: int) -> None:
        super().__init__(
            "pg_try_advisory_xact_lock({0})",
            "({0} IS NOT NULL)",
            literal(number),
            type_=Boolean(),
        )


class Lock(Differing):
    """Takes the lock ``number`` as ``TryLock``, but waits for another transaction to end."""

    inherit_cache = True

    def __init__(self, number: int) -> None:
        super().__init__("pg_advisory_xact_lock({0})", "{0}", literal(number))


def insert_or_update(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Select[Any],
    may_update: ColumnElement[bool],
) -> Any:
    """Return the INSERT of ``rows``; one that is there is updated if it meets the condition."""
    statement: Any = INSERT[connection.dialect.name](table).from_select(columns, rows)
    return statement.on_conflict_do_update(
        index_elements=table.primary_key.columns,
        set_={name: statement.excluded[name] for name in columns},
        where=may_update,
    )


def insert_unless_there(connection: Connection, table: Table) -> Any:
    """Return the INSERT of a row; one whose primary key is taken is not inserted."""
    statement: Any = INSERT[connection.dialect.name](table)
    return statement.on_conflict_do_nothing(index_elements=table.primary_key.columns)
