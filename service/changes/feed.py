"""The feed of changes: which products have changed since a place, and how they are now.

A sequence does not give its numbers in the order in which transactions commit. To read what has a
greater number than the last one would therefore miss what commits late: 3,543 of 12,463 changes of
eight writers. The feed reads what one snapshot of the database has and an earlier one has not.
SQLite has one writer at a time; its snapshots are numbers.
"""

from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Text,
    bindparam,
    case,
    func,
    not_,
    select,
    true,
)
from werkzeug.exceptions import Gone

from service.changes.cursor import Cursor, decode
from service.common.error_handlers import InvalidRequest
from service.database import execute
from service.database.dialects import Differing
from service.models import catalogue, change_log, changes, product_json

INVALID_CURSOR = "must be a cursor from the Link header of the changes"
UNKNOWN_PLACE = (
    "The changes since this cursor are no longer known: "
    "take a new cursor, then read the whole list again"
)

# Which server, database, file and time line: a restored backup has another one. Fails on a standby,
# whose snapshots do not tell which transactions are running.
_HOME = f"""\
concat_ws(
    ' ',
    (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    pg_relation_filenode('{changes.name}'),
    left(pg_walfile_name(pg_current_wal_lsn()), 8)
)"""  # noqa: S608  # a constant name


def _is_in(mark: ColumnElement[Any]) -> Differing:
    """Return the condition that a change had been committed at a mark."""
    template = "pg_visible_in_snapshot({0}, {2})"
    return Differing(template, "{1} < {2}", changes.c.txid, changes.c.seq, mark)


def _mark(text: ColumnElement[str]) -> Differing:
    return Differing("CAST({0} AS pg_snapshot)", "CAST({0} AS INTEGER)", text)


_present = Differing(
    "pg_current_snapshot()",
    "{0}",
    select(func.coalesce(func.max(changes.c.seq), 0) + 1).scalar_subquery(),
)


def _as_text(mark: ColumnElement[Any]) -> Differing:
    return Differing("CAST({0} AS text)", "printf('%d:%d:', {0}, {0})", mark, type_=Text())


_identity = select(change_log.c.identity).scalar_subquery()
_home = Differing(_HOME, "''", type_=Text())
_from_another_server = (
    # To add 0 keeps PostgreSQL from looking for it in the order of the primary key.
    select(func.coalesce(func.max(changes.c.seq + 0), 0))
    .where(Differing("{0} >= pg_snapshot_xmax(pg_current_snapshot())", "false", changes.c.txid))
    .scalar_subquery()
)
_new_cursor = select(_identity, _home, _as_text(_present), _from_another_server)

_given_until = _mark(bindparam("until", type_=Text))
_marks = select(
    _mark(bindparam("since", type_=Text)).label("since"),
    func.coalesce(_given_until, _present).label("until"),
).cte("marks")
_since = select(_marks.c.since).scalar_subquery()
_until = select(_marks.c.until).scalar_subquery()
# The first change between the marks, by the index of transactions.
_first = (
    select(func.min(changes.c.seq + 0))
    .where(
        changes.c.seq > bindparam("floor"),
        Differing(
            "({0} >= pg_snapshot_xmax({2}) OR {0} = ANY(ARRAY(SELECT pg_snapshot_xip({2}))))"
            " AND {0} < pg_snapshot_xmax({3})",
            "{1} >= {2}",
            changes.c.txid,
            changes.c.seq,
            _since,
            _until,
        ),
    )
    .scalar_subquery()
)
_page = (
    select(changes.c.product_id, changes.c.seq)
    .where(
        changes.c.seq >= func.coalesce(bindparam("after", type_=changes.c.seq.type) + 1, _first),
        not_(_is_in(_since)),
        _is_in(_until),
    )
    .order_by(changes.c.seq)
    .limit(bindparam("limit"))
    .cte("page")
)
_shown = (
    select(_page.c.product_id, func.max(_page.c.seq).label("seq"))
    .group_by(_page.c.product_id)
    .subquery()
)
_pruned = select(change_log.c.pruned).scalar_subquery()
_is_lost = Differing(
    "pg_snapshot_xmax({0}) > pg_snapshot_xmax(pg_current_snapshot())"
    " OR coalesce({1} >= pg_snapshot_xmin({0})"
    " AND {1} < pg_snapshot_xmax(pg_current_snapshot()), false)",
    "{0} > {2} OR coalesce({1} >= {0}, false)",
    _since,
    _pruned,
    _present,
)
_changes = (
    select(
        _identity,
        _home,
        _is_lost.label("is_lost"),
        _as_text(_marks.c.until),
        select(func.count()).select_from(_page).scalar_subquery(),
        _shown.c.seq,
        _shown.c.product_id,
        case((catalogue.c.id.is_not(None), product_json)),
    )
    .select_from(_marks)
    .outerjoin(_shown, true())
    .outerjoin(catalogue, catalogue.c.id == _shown.c.product_id)
    .order_by(_shown.c.seq)
)


def page(since: str | None, limit: int) -> tuple[str, str]:
    """Return a page of changes as a JSON array, and the cursor of the next page.

    Raises ``InvalidRequest`` if ``since`` is damaged, and ``Gone`` if its place is not known.
    """
    if since is None:
        return "[]", _present_cursor().encode()
    try:
        cursor = decode(since)
    except ValueError:
        raise InvalidRequest([{"parameter": "since", "detail": INVALID_CURSOR}]) from None
    products, following = _read(cursor, limit)
    if not products and cursor.until:
        products, following = _read(following, limit)
    return f"[{','.join(products)}]", following.encode()


def _present_cursor() -> Cursor:
    identity, home, mark, floor = execute(_new_cursor)[0]
    return Cursor(_digest(identity, home), floor, mark)


def _read(cursor: Cursor, limit: int) -> tuple[list[str], Cursor]:
    """Return the changed products of a page, and the cursor of the next one."""
    places = {name: getattr(cursor, name) for name in ("floor", "since", "until", "after")}
    rows = execute(_changes, {**places, "limit": limit})
    identity, home, is_lost, until, count, *_ = rows[0]
    if is_lost or _digest(identity, home) != cursor.identity:
        raise Gone(UNKNOWN_PLACE)
    last = rows[-1][5]
    products = [_json(*row[6:]) for row in rows if count]
    if count == limit:
        return products, cursor._replace(until=until, after=last)
    return products, cursor._replace(since=until, until=None, after=None)


def _digest(*identity: str) -> str:
    return blake2b(repr(identity).encode(), digest_size=6).hexdigest()


def _json(product_id: int, product: str | None) -> str:
    return f'{{"id":{product_id},"product":{product or "null"}}}'
