"""The feed of changes: which products have changed since a cursor, and how they are now.

The sequence `seq` does not follow the order of commits. A reader of all with a greater `seq` than
the last one would miss transactions that commit late: with eight writers, 3,543 of 12,463 changes.
The feed reads what is in one snapshot of the database and was not in an earlier one. SQLite has one
writer at a time, so `seq` is enough there.
"""

from hashlib import blake2b

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Text,
    bindparam,
    case,
    func,
    not_,
    select,
    true,
)
from werkzeug.exceptions import Gone

from service.changes.cursor import Cursor, Mark, decode
from service.common.error_handlers import InvalidRequest
from service.database import execute
from service.database.dialects import Differing
from service.models import catalogue, change_log, changes, product_json

INVALID_CURSOR = "must be a cursor from the Link header of the changes"
UNKNOWN_CURSOR = (
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


def _snapshot(name: str) -> Differing:
    return Differing("CAST({0} AS pg_snapshot)", "{0}", bindparam(name, type_=Text))


def _as_text(snapshot: ColumnElement[str]) -> Differing:
    return Differing("CAST({0} AS text)", "{0}", snapshot, type_=Text())


def _is_in(snapshot: ColumnElement[str], seq: ColumnElement[int]) -> Differing:
    """Return the condition that a change had been committed at a mark.

    After a crash, PostgreSQL gives the ids of transactions that had not been committed once more,
    but no number of a change that had been.
    """
    template = "({2} <= {3} AND pg_visible_in_snapshot({0}, {1}))"
    return Differing(template, "{2} <= {3}", changes.c.txid, snapshot, changes.c.seq, seq)


_present = Differing("pg_current_snapshot()", "'1:1:'")
_last = select(func.coalesce(func.max(changes.c.seq), 0)).scalar_subquery()
_identity = select(change_log.c.identity).scalar_subquery()
_home = Differing(_HOME, "''", type_=Text())
# To add 0 keeps PostgreSQL from looking for it in the order of the primary key.
_from_another_server = (
    select(func.coalesce(func.max(changes.c.seq + 0), 0))
    .where(Differing("{0} >= pg_snapshot_xmax(pg_current_snapshot())", "false", changes.c.txid))
    .scalar_subquery()
)
_new_cursor = select(_identity, _home, _as_text(_present), _last, _from_another_server)

_marks = select(
    _snapshot("since").label("since"),
    bindparam("since_seq", type_=BigInteger).label("since_seq"),
    func.coalesce(_snapshot("until"), _present).label("until"),
    func.coalesce(bindparam("until_seq", type_=BigInteger), _last).label("until_seq"),
).cte("marks")
_since, _since_seq, _until, _until_seq = (select(column).scalar_subquery() for column in _marks.c)


def _first(transactions: str) -> ScalarSelect[int]:
    """Return the first change of some transactions on PostgreSQL, by their index."""
    is_one = Differing(transactions, "false", changes.c.txid, _since, _until)
    first = select(func.min(changes.c.seq + 0))
    return first.where(changes.c.seq > bindparam("floor"), is_one).scalar_subquery()


# Transactions that were running at a mark may have changes with a smaller `seq` than those before
# the mark. A snapshot lists the running ones, but only up to its xmax: later ones have begun since.
_running = _first("{0} = ANY(ARRAY(SELECT pg_snapshot_xip({1})))")
_begun = _first("{0} >= pg_snapshot_xmax({1}) AND {0} < pg_snapshot_xmax({2})")
_begin = func.coalesce(
    bindparam("after", type_=BigInteger),
    Differing("least({0}, {1} - 1, {2} - 1)", "{0}", _since_seq, _running, _begun),
)
_page = (
    select(changes.c.product_id, changes.c.seq)
    .where(
        changes.c.seq > _begin,
        not_(_is_in(_since, _since_seq)),
        _is_in(_until, _until_seq),
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
    "{2} > {3} OR coalesce({1} >= pg_snapshot_xmin({0})"
    " AND {1} < pg_snapshot_xmax(pg_current_snapshot()), false)",
    "{2} > {3} OR coalesce({1} > {2}, false)",
    _since,
    _pruned,
    _since_seq,
    _last,
)
_changes = (
    select(
        _identity,
        _home,
        _is_lost.label("is_lost"),
        _as_text(_marks.c.until),
        _marks.c.until_seq,
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

    Raises ``InvalidRequest`` if ``since`` is damaged, and ``Gone`` if it is no longer valid.
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
    identity, home, snapshot, seq, floor = execute(_new_cursor)[0]
    return Cursor(_digest(identity, home), floor, Mark(snapshot, seq))


def _read(cursor: Cursor, limit: int) -> tuple[list[str], Cursor]:
    """Return the changed products of a page, and the cursor of the next one."""
    rows = execute(_changes, {**_parameters(cursor), "limit": limit})
    identity, home, is_lost, snapshot, seq, count, last, *_ = rows[-1]
    if is_lost or _digest(identity, home) != cursor.identity:
        raise Gone(UNKNOWN_CURSOR)
    until = Mark(snapshot, seq)
    products = [_json(*row[7:]) for row in rows if count]
    if count == limit:
        return products, cursor._replace(until=until, after=last)
    return products, cursor._replace(since=until, until=None, after=None)


def _parameters(cursor: Cursor) -> dict[str, object]:
    until = cursor.until or (None, None)
    names = ("floor", "after", "since", "since_seq", "until", "until_seq")
    return dict(zip(names, (cursor.floor, cursor.after, *cursor.since, *until), strict=True))


def _digest(*identity: str) -> str:
    return blake2b(repr(identity).encode(), digest_size=6).hexdigest()


def _json(product_id: int, product: str | None) -> str:
    return f'{{"id":{product_id},"product":{product or "null"}}}'
