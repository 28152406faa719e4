"""The history: who changed which product in which request, and what it was before."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, select

from service.changes.cursor import checked_number
from service.common.error_handlers import InvalidRequest
from service.database import Recipe, execute
from service.database.dialects import Differing
from service.database.times import rfc3339
from service.http import opaque
from service.models import changes
from service.schemas import PAGE_SIZE, HistoryQuery

CONTEXT = "history"
INVALID_CURSOR = "must be a cursor from the Link header of the history"
CONDITIONS: dict[str, Callable[[], ColumnElement[bool]]] = {
    "id": lambda: changes.c.product_id == bindparam("id"),
    "request": lambda: changes.c.request_id == bindparam("request"),
    "op": lambda: changes.c.op == bindparam("op"),
    "cursor": lambda: changes.c.seq < bindparam("cursor"),
}
# PostgreSQL writes a value of the type json as it is; so does SQLite.
CHANGE = Differing(
    "(SELECT row_to_json(record)::text FROM (SELECT {0} AS change, {1} AS op, {2} AS id, {3} AS at,"
    " {4} AS by, {5} AS request_id, CAST({6} AS json) AS before) AS record)",
    "json_object('change', {0}, 'op', {1}, 'id', {2}, 'at', {3}, 'by', {4}, 'request_id', {5},"
    " 'before', json({6}))",
    changes.c.seq,
    changes.c.op,
    changes.c.product_id,
    rfc3339(changes.c.at),
    changes.c.writer,
    changes.c.request_id,
    changes.c.before,
)


def page(query: HistoryQuery) -> tuple[str, str | None]:
    """Return a page of the history as a JSON array, and the cursor of the next page, if any.

    Raises ``InvalidRequest`` if the cursor is damaged.
    """
    values: dict[str, Any] = {**query}
    limit = values.pop("limit", PAGE_SIZE)
    if "cursor" in values:
        values["cursor"] = _decoded(values["cursor"])
    statement = Recipe(_statement, (tuple(values),))
    rows = execute(statement, {**values, "limit": limit + 1})
    has_more = len(rows) > limit
    cursor = opaque.encode([rows[limit - 1][0]], CONTEXT) if has_more else None
    return f"[{','.join(row[1] for row in rows[:limit])}]", cursor


def _statement(names: tuple[str, ...]) -> Select[Any]:
    return (
        select(changes.c.seq, CHANGE)
        .where(*(CONDITIONS[name]() for name in names))
        .order_by(changes.c.seq.desc())
        .limit(bindparam("limit"))
    )


def _decoded(cursor: str) -> int:
    try:
        (change,) = opaque.decode(cursor, CONTEXT)
        return checked_number(change)
    except (ValueError, TypeError):
        raise InvalidRequest([{"parameter": "cursor", "detail": INVALID_CURSOR}]) from None
