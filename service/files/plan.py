"""What an import would change, and changing it: one piece of SQL over a temporary table.

The rows of the file are loaded into the table ``import_rows`` and compared there with the
products. A dry run and an import make the same comparison; an import locks the products before.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from heapq import nsmallest
from itertools import islice
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from service.database import insert_rows
from service.database.locks import Lock
from service.files import ETAG
from service.files.reading import REQUIRED_MEMBERS, Fault, Options, Row, shown
from service.http.preconditions import entity_tag
from service.models import ProductJSON, catalogue, changes, products
from service.schemas import DEFAULTS

MEMBERS = ("name", "img_url", "description", "price", "rating", "category", "status")
# A bit for each member that a row has.
BITS = {name: 1 << place for place, name in enumerate(MEMBERS)}
REQUIRED_BITS = sum(BITS[name] for name in REQUIRED_MEMBERS)
MAX_LISTED = 200
IMPORT_LOCK = int.from_bytes(b"imports")
BATCH_SIZE = 500

rows = Table(
    "import_rows",
    MetaData(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", Integer),
    Column("etag", String),
    Column("members", Integer, nullable=False),
    Column("is_faulty", Boolean, nullable=False),
    *(Column(name, products.c[name].type) for name in MEMBERS if name != "status"),
    Column("status", String),
    # The product that the row changes; null if it creates one.
    Column("target", Integer),
    prefixes=["TEMPORARY"],
)

old = catalogue
_is_good = rows.c.is_faulty.is_(False)
_is_new = rows.c.target.is_(None)
_both = rows.join(old, old.c.id == rows.c.target)
_either = rows.outerjoin(old, old.c.id == rows.c.target)


def _has(name: str) -> ColumnElement[bool]:
    return rows.c.members.bitwise_and(BITS[name]) != 0


def _new(name: str) -> ColumnElement[Any]:
    """Return the new value of a member in the type of the products."""
    return cast(rows.c[name], products.c[name].type) if name == "status" else rows.c[name]


def _stored(name: str, product: Any) -> ColumnElement[Any]:
    """Return a column of a product in the type that the file's rows have."""
    column: ColumnElement[Any] = product.c[name]
    return cast(column, String) if name == "status" else column


def _changes(product: Any) -> ColumnElement[bool]:
    return or_(
        *(
            and_(_has(name), rows.c[name].is_distinct_from(_stored(name, product)))
            for name in MEMBERS
        )
    )


def _cents(price: ColumnElement[Any]) -> ColumnElement[int]:
    """Return a price as an integer, with which both databases compute alike."""
    return cast(func.round(price * 100), BigInteger)


_difference = func.abs(_cents(rows.c.price) - _cents(old.c.price))
# Largest where the price was 0. Only divisions of doubles are the same on both databases.
_relative_change = case(
    (_is_new | ~_has("price"), 0.0),
    (_difference == 0, 0.0),
    (_cents(old.c.price) == 0, 1e300),
    else_=cast(_difference, Double) / cast(_cents(old.c.price), Double),
)
_change_columns = (
    rows.c.number,
    rows.c.target,
    rows.c.members,
    *(rows.c[name].label(f"new_{name}") for name in MEMBERS),
    *(_stored(name, old).label(f"old_{name}") for name in MEMBERS),
)
_all_changes = (
    select(*_change_columns).select_from(_either).where(_is_good, _is_new | _changes(old))
)
_first_changes = _all_changes.order_by(_relative_change.desc(), rows.c.number).limit(MAX_LISTED)
_next_changes = (
    _all_changes.where(rows.c.number > bindparam("after")).order_by(rows.c.number).limit(BATCH_SIZE)
)
_next_tagged = (
    select(rows.c.number, rows.c.etag, ProductJSON(*old.c).label("product"))
    .select_from(_both)
    .where(rows.c.etag.is_not(None), rows.c.number > bindparam("after"))
    .order_by(rows.c.number)
    .limit(BATCH_SIZE)
)
_counts = select(
    func.count().filter(_is_good, _is_new),
    func.count().filter(_is_good, ~_is_new, _changes(old)),
    func.count().filter(_is_good),
    func.count().filter(rows.c.is_faulty),
).select_from(_either)
_highest_ids = select(
    select(func.max(products.c.id)).scalar_subquery(),
    select(func.max(changes.c.product_id)).scalar_subquery(),
)
_insert = insert(products).from_select(
    MEMBERS,
    select(*map(_new, MEMBERS)).where(_is_good, _is_new).order_by(rows.c.number),
)
_update = (
    update(products)
    .where(products.c.id == rows.c.target, _is_good, _changes(products))
    .values({name: case((_has(name), _new(name)), else_=products.c[name]) for name in MEMBERS})
)


@dataclass
class Plan:
    """What an import would do."""

    create: int
    update: int
    unchanged: int
    faulty: int
    faults: list[Fault]
    """The first ones, in the order of rows."""
    may_skip_faulty: bool
    """Whether none of the faults is one of the heading line or the file."""


@dataclass
class Import:
    """The import of a file in a transaction."""

    connection: Connection
    options: Options
    _faults: list[Fault] = field(default_factory=list)
    _heading: Row = field(default_factory=lambda: Row(1, is_heading=True))
    _has_heading_fault: bool = False

    def load(self, file_rows: Iterable[Row]) -> None:
        """Load the rows of a file into the temporary table."""
        rows.create(self.connection)
        read = iter(file_rows)
        while batch := list(islice(read, BATCH_SIZE)):
            if values := [self._values(row) for row in batch if not self._is_of_heading(row)]:
                insert_rows(self.connection, rows, values)

    def _is_of_heading(self, row: Row) -> bool:
        self._add(row.faults)
        if row.is_heading:
            self._has_heading_fault |= bool(row.faults)
            self._heading = row
        return row.is_heading

    def _values(self, row: Row) -> dict[str, Any]:
        columns = row.columns
        return {
            "number": row.number,
            "id": columns.get("id"),
            "etag": row.etag,
            "members": sum(BITS.get(name, 0) for name in row.members),
            "is_faulty": bool(row.faults),
            **{name: columns.get(name, DEFAULTS.get(name)) for name in MEMBERS},
            "target": columns.get("id"),
        }

    def plan(self, *, lock: bool) -> Plan:
        """Find the remaining faults, and return the plan; ``lock`` locks what it would change."""
        self._find_targets(lock=lock)
        self._find_faults()
        create, changed, good, faulty = self.connection.execute(_counts).one()
        return Plan(
            create,
            changed,
            good - create - changed,
            faulty + self._has_heading_fault,
            sorted(self._faults, key=lambda fault: fault.row)[:MAX_LISTED],
            not self._has_heading_fault,
        )

    def _find_targets(self, *, lock: bool) -> None:
        if lock:  # of two imports that create the same, the second one sees what the first did
            self.connection.execute(select(Lock(IMPORT_LOCK)))
        if self.options.match == "name":
            if lock:
                self._lock(products.c.name.in_(select(rows.c.name)))
            named = select(func.min(products.c.id)).where(products.c.name == rows.c.name)
            self.connection.execute(update(rows).values(target=named.scalar_subquery()))
        if lock:
            self._lock(products.c.id.in_(select(rows.c.target)))

    def _lock(self, condition: ColumnElement[bool]) -> None:
        """Lock products in the order of their ids, so that two imports cannot deadlock."""
        locked = select(products.c.id).where(condition).order_by(products.c.id).with_for_update()
        self.connection.execute(select(func.count()).select_from(locked.subquery()))

    def _find_faults(self) -> None:
        key = rows.c[self.options.match]
        repeated = select(key).where(key.is_not(None)).group_by(key).having(func.count() > 1)
        repeated = repeated.correlate(None)
        self._check(key.in_(repeated), self.options.match, "is in several rows")
        if self.options.match == "id":
            unknown = ~exists().where(products.c.id == rows.c.id)
            self._check(key.is_not(None) & unknown, "id", "no product has this id")
        else:
            same = select(func.count()).where(products.c.name == rows.c.name).scalar_subquery()
            self._check(same > 1, "name", "several products have this name")
            self._check(rows.c.etag.is_not(None) & _is_new, ETAG, "no product has this name")
        self._find_stale()
        self._find_price_changes()
        self._find_incomplete()

    def _check(self, condition: ColumnElement[bool], column: str, detail: str) -> None:
        """Add a fault to each row that meets a condition."""
        found = select(rows.c.number, rows.c[column]).where(condition).order_by(rows.c.number)
        for number, value in self.connection.execute(found.limit(MAX_LISTED)):
            self._add([self._fault(number, column, str(value), detail)])
        self.connection.execute(update(rows).where(condition).values(is_faulty=True))

    def _fault(self, number: int, column: str, value: str | None, detail: str) -> Fault:
        heading = self._heading.headings.get(column, column)
        return Fault(number, shown(heading), shown(value), detail)

    def _add(self, faults: list[Fault]) -> None:
        """Keep the faults of the first rows."""
        self._faults += faults
        if len(self._faults) > 2 * MAX_LISTED:
            self._faults = nsmallest(MAX_LISTED, self._faults, key=lambda fault: fault.row)

    def _find_stale(self) -> None:
        for batch in self._batches(_next_tagged):
            stale = [row for row in batch if entity_tag(row.product) != row.etag]
            detail = "is not the present ETag: the product was changed"
            self._add([self._fault(row.number, ETAG, row.etag, detail) for row in stale])
            numbers = [row.number for row in stale]
            if numbers:
                self.connection.execute(
                    update(rows).where(rows.c.number.in_(numbers)).values(is_faulty=True)
                )

    def _batches(self, statement: Select[Any]) -> Iterator[list[Any]]:
        """Yield the rows of a statement that gives those after a number."""
        after = 0
        while batch := self.connection.execute(statement, {"after": after}).all():
            yield list(batch)
            after = batch[-1].number

    def _find_price_changes(self) -> None:
        percent = self.options.max_price_change
        if percent is None:
            return
        is_over = _difference * 10_000 > literal(int(percent * 100), BigInteger) * _cents(
            old.c.price
        )
        found = select(rows.c.number).select_from(_both).where(_has("price"), is_over)
        listed = found.add_columns(old.c.price.label("before"), rows.c.price)
        for row in self.connection.execute(listed.order_by(rows.c.number).limit(MAX_LISTED)):
            change = f"changes the price from {row.before:.2f} to {row.price:.2f}"
            detail = f"{change}, by more than {percent:f} %"
            self._add([self._fault(row.number, "price", f"{row.price:.2f}", detail)])
        self.connection.execute(
            update(rows).where(rows.c.number.in_(found.correlate(None))).values(is_faulty=True)
        )

    def _find_incomplete(self) -> None:
        """Add a fault if a row would create a product without a required member.

        In CSV the members are those of the heading line, so that the fault is there.
        """
        is_complete = rows.c.members.bitwise_and(REQUIRED_BITS) == REQUIRED_BITS
        condition = and_(_is_good, _is_new, rows.c.id.is_(None), ~is_complete)
        found = select(rows.c.number, rows.c.members).where(condition).order_by(rows.c.number)
        incomplete = self.connection.execute(found.limit(MAX_LISTED)).all()
        if not incomplete:
            return
        if self._heading.members:
            self._has_heading_fault = True
            incomplete = [(self._heading.number, incomplete[0].members)]  # type: ignore[list-item]
        detail = "is required to create a product"
        self._add(
            [
                self._fault(number, name, None, detail)
                for number, members in incomplete
                for name in REQUIRED_MEMBERS
                if not members & BITS[name]
            ]
        )
        self.connection.execute(update(rows).where(condition).values(is_faulty=True))

    def tag(self, plan: Plan) -> str:
        """Return the entity tag of the plan: a hash of all that would be written.

        It includes the highest id of a product that is or was there, so that a plan that only
        creates differs after it was carried out.
        """
        highest = max(filter(None, self.connection.execute(_highest_ids).one()), default=None)
        digest = blake2b(digest_size=16)
        digest.update(repr((plan.create, plan.update, plan.unchanged, highest)).encode())
        for batch in self._batches(_next_changes):
            for row in batch:
                digest.update(json.dumps(_change(row)).encode())
        return digest.hexdigest()

    def changes(self) -> list[dict[str, Any]]:
        """Return the changes with the largest relative change of price, then by row."""
        return list(map(_change, self.connection.execute(_first_changes)))

    def apply(self, *, list_ids: bool) -> list[int]:
        """Write; return the ids of the created products in the order of rows, or no list."""
        self.connection.execute(_update)
        if not list_ids:
            self.connection.execute(_insert)
            return []
        return sorted(self.connection.execute(_insert.returning(products.c.id)).scalars())

    def close(self) -> None:
        """Drop the temporary table."""
        rows.drop(self.connection)


def _change(row: Any) -> dict[str, Any]:
    """Return a change as JSON has it: the new values, and the old ones that are different."""
    values: Mapping[str, Any] = row._mapping  # noqa: SLF001  # public in spite of its name
    after = {name: _json_value(values[f"new_{name}"]) for name in MEMBERS}
    if row.target is None:
        return {"row": row.number, "id": None, "after": after}
    before = {name: _json_value(values[f"old_{name}"]) for name in MEMBERS}
    changed = [n for n in MEMBERS if row.members & BITS[n] and before[n] != after[n]]
    return {
        "row": row.number,
        "id": row.target,
        "before": {name: before[name] for name in changed},
        "after": {name: after[name] for name in changed},
    }


def _json_value(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value
