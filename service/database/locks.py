"""What claims a row without waiting for another transaction: a lock, and INSERT … ON CONFLICT."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Select, Table, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

INSERT = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class TryLock(FunctionElement[bool]):
    """Takes a lock until the transaction ends; false if another transaction has it.

    On SQLite it is true: a transaction waits for the other one before its first statement.
    """

    name = "try_lock"
    type = Boolean()
    inherit_cache = True


def try_lock(number: int) -> TryLock:
    """Return the condition that this transaction has the lock ``number``, a signed 64-bit one."""
    return TryLock(literal(number))


@compiles(TryLock, "postgresql")
def _try_advisory_lock(element: TryLock, compiler: SQLCompiler, **kw: Any) -> str:
    return f"pg_try_advisory_xact_lock({compiler.process(element.clauses, **kw)})"


@compiles(TryLock, "sqlite")
def _is_only_writer(element: TryLock, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.clauses, **kw)} IS NOT NULL)"


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
