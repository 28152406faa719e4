"""The signature of a change: who makes it and in which request, for the triggers that record it.

On PostgreSQL it travels with the statement that makes the change, as settings of its transaction.
On SQLite the triggers of the service's connections ask for it (service/database/sqlite.py).
"""

from flask import has_request_context, request
from sqlalchemy import BindParameter, Connection, Text, bindparam, select

from service.database.dialects import Differing


class Signed(Differing):
    """Sets the signature; an AFTER trigger runs when RETURNING has been evaluated."""

    inherit_cache = True

    def __init__(self, writer: BindParameter[str], request_id: BindParameter[str]) -> None:
        super().__init__(
            "set_config('service.writer', {0}, true)"
            " || set_config('service.request_id', {1}, true)",
            "NULL",
            writer,
            request_id,
            type_=Text(),
        )


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
