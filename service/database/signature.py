"""The signature of a change: who makes it and in which request, for the triggers that record it.

On PostgreSQL it travels with the statement that makes the change, as settings of its transaction.
On SQLite the triggers of the service's connections ask for it (service/database/sqlite.py).
"""

from typing import Any

from flask import has_request_context, request
from sqlalchemy import Connection, Text, bindparam, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Signed(FunctionElement[str]):
    """Sets the signature; an AFTER trigger runs when RETURNING has been evaluated."""

    name = "signed"
    type = Text()
    inherit_cache = True


@compiles(Signed, "postgresql")
def _set_config(element: Signed, compiler: SQLCompiler, **kw: Any) -> str:
    writer, request_id = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"set_config('service.writer', {writer}, true)"
        f" || set_config('service.request_id', {request_id}, true)"
    )


@compiles(Signed, "sqlite")
def _null(element: Signed, compiler: SQLCompiler, **kw: Any) -> str:
    return "NULL"


signed = Signed(bindparam("signature_writer", type_=Text), bindparam("signature_id", type_=Text))
"""The column that a statement which changes rows must return; its parameters: ``signature()``."""


def signature() -> dict[str, str]:
    """Return the parameters of ``signed``; empty strings outside of a request."""
    environ = request.environ if has_request_context() else {}
    return {
        "signature_writer": environ.get("writer", ""),
        "signature_id": environ.get("request_id", ""),
    }


def sign(connection: Connection) -> None:
    """Sign all changes of the transaction, also of statements that return no ``signed``."""
    connection.execute(select(signed), signature())
