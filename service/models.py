"""The tables: columns, constraints, indexes, triggers; and the JSON of a product in SQL."""

import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    CheckConstraint,
    ColumnElement,
    Connection,
    Enum,
    Index,
    Integer,
    Numeric,
    String,
    Table,
    Text,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from service.database import Base
from service.database.dialects import Differing
from service.database.engine import SIGNED_TABLE
from service.database.postgresql import XID8
from service.database.text import INVISIBLE

MAX_ID = 2**31 - 1
NAME_LENGTH = 255
IMG_URL_LENGTH = 2048
DESCRIPTION_LENGTH = 10_000
CATEGORY_LENGTH = 255
PRICE_DECIMALS = 2
MAX_PRICE = Decimal("9999999999.99")
MAX_RATING = 2**31 - 1


class Status(enum.StrEnum):
    """On sale (active), off sale for now (inactive) or withdrawn for good (disabled)."""

    # In alphabetical order, in which every database sorts them.
    ACTIVE = "active"
    DISABLED = "disabled"
    INACTIVE = "inactive"


def _sortable_string(length: int) -> String:
    """Return a string type that PostgreSQL sorts by code point, as SQLite does."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _length(column: str, maximum: int) -> CheckConstraint:
    return CheckConstraint(f"length({column}) <= {maximum}", name=f"{column}_length")


def _visible(column: str) -> CheckConstraint:
    """Return the constraint that a column has at least one visible character."""
    # GLOB takes U+FFFE and U+FFFF for U+FFFD, which is visible.
    rest = "replace(replace({0}, '\ufffe', ''), '\uffff', '')"
    invisible = INVISIBLE.replace("\ufffe-\uffff", "")
    condition = Differing(
        "{0} ~ '[!-~]' OR is_visible({0})",
        f"{{0}} GLOB '*[!-~]*' OR {rest} GLOB '*[^{invisible}]*'",
        literal_column(column),
    )
    return CheckConstraint(condition, name=f"{column}_visible")


def _range(column: str, minimum: int, maximum: int | Decimal) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN {minimum} AND {maximum}", name=f"{column}_range")


class Product(Base):
    """A product of the catalogue."""

    __tablename__ = "products"
    __table_args__ = (
        _range("id", 1, MAX_ID),
        _length("name", NAME_LENGTH),
        _visible("name"),
        _length("img_url", IMG_URL_LENGTH),
        _visible("img_url"),
        _length("description", DESCRIPTION_LENGTH),
        _range("price", 0, MAX_PRICE),
        CheckConstraint(f"price = round(price, {PRICE_DECIMALS})", name="price_decimals"),
        _range("rating", 0, MAX_RATING),
        _length("category", CATEGORY_LENGTH),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(_sortable_string(NAME_LENGTH))
    img_url: Mapped[str] = mapped_column(String(IMG_URL_LENGTH))
    description: Mapped[str | None] = mapped_column(Text)
    price: Mapped[Decimal] = mapped_column(
        Numeric(12, PRICE_DECIMALS).with_variant(
            sqlite.REAL(asdecimal=True, decimal_return_scale=PRICE_DECIMALS), "sqlite"
        )
    )
    rating: Mapped[int] = mapped_column(server_default=text("0"))
    category: Mapped[str | None] = mapped_column(_sortable_string(CATEGORY_LENGTH))
    status: Mapped[Status] = mapped_column(
        Enum(
            Status,
            name="status",
            create_constraint=True,
            values_callable=lambda statuses: [status.value for status in statuses],
        ),
        server_default=Status.ACTIVE.value,
    )
    search_text: Mapped[str | None] = mapped_column(Text)
    """The key of what a search looks at, which a trigger sets; null on SQLite."""


class IdempotencyKey(Base):
    """A key of a POST, and the answer that is kept for it; null while the POST is running."""

    __tablename__ = "idempotency_keys"

    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    """The name of the token, or an empty string for those who need none."""
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(32))
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    """In seconds since 1970."""
    status: Mapped[int | None]
    headers: Mapped[str | None] = mapped_column(Text)
    body: Mapped[str | None] = mapped_column(Text)


class Op(enum.StrEnum):
    """What a change did to its product."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


# RFC 3339 in UTC on SQLite, where text sorts by time.
_time = String(24).with_variant(postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql")
_txid = XID8().with_variant(Integer(), "sqlite")


class ProductChange(Base):
    """A change of a product; triggers insert it in the transaction that makes the change."""

    __tablename__ = "product_changes"
    __table_args__ = (
        CheckConstraint("op IN ('create', 'update', 'delete')", name="op"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True
    )
    """Changes of one product are in this order, but transactions do not commit in it."""
    txid: Mapped[int | None] = mapped_column(_txid)
    """The transaction; null on SQLite."""
    product_id: Mapped[int]
    op: Mapped[str] = mapped_column(String(6))
    at: Mapped[str] = mapped_column(_time)
    writer: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    before: Mapped[str | None] = mapped_column(Text)
    """The product that GET returned before the change; null for a creation."""


class ProductChangeLog(Base):
    """What is known of the record of changes itself: one row."""

    __tablename__ = "product_change_log"
    __table_args__ = ({"info": {"is_internal": True}},)

    identity: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Random; another one since the triggers were created again."""
    complete_since: Mapped[str] = mapped_column(_time)
    """Since when no change is missing."""
    pruned: Mapped[int | None] = mapped_column(_txid)
    """The latest transaction of which a change was pruned; on SQLite, the latest change."""


changes: Table = Product.metadata.tables[ProductChange.__tablename__]
change_log: Table = Product.metadata.tables[ProductChangeLog.__tablename__]
products: Table = Product.metadata.tables[Product.__tablename__]
idempotency_keys: Table = Product.metadata.tables[IdempotencyKey.__tablename__]

# The columns that clients see, in their order.
member_columns = [column for column in products.c if column.key != "search_text"]
# The source of a SELECT: only the columns of the model, also if a later version adds some.
catalogue = select(*member_columns).subquery(products.name)


def search_text(columns: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[str]:
    """Return the key of the text that a search looks at, in the columns of ``products``.

    A search term has no white space, so that it cannot match across two columns.
    """
    return Differing(
        "{0}",
        "search_key({1} || coalesce(' ' || {2}, '') || coalesce(' ' || {3}, ''))",
        *(columns[name] for name in ("search_text", "name", "description", "category")),
        type_=Text(),
    )


def like(key: ColumnElement[str], pattern: BindParameter[Any]) -> ColumnElement[bool]:
    """Return the condition that a search key matches a LIKE pattern made from a search key."""
    return key.like(pattern, escape="\\")


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _has_trigrams(connection: Connection) -> bool:
    found = text("SELECT FROM pg_extension WHERE extname = 'pg_trgm'")
    return _is_postgresql(connection) and connection.execute(found).first() is not None


def _create_only_if(condition: Callable[[Connection], bool], *indexes: Index) -> None:
    """Make `flask db check` expect the indexes only on databases that meet the condition."""
    for index in indexes:
        index.info["condition"] = condition


for _name in ("name", "price", "rating", "category", "status"):
    Index(f"ix_products_{_name}", products.c[_name], products.c.id)
    Index(f"ix_products_{_name}_desc", products.c[_name].desc(), products.c.id)
_price = products.c.price
_category = func.search_key(products.c.category)
_create_only_if(
    _is_postgresql,
    Index("ix_products_category_key", _category, products.c.id),
    # For a category sorted by price: with an index of one column, most rows would be read.
    Index("ix_products_category_key_price", _category, _price, products.c.id),
    Index("ix_products_category_key_price_desc", _category, _price.desc(), products.c.id),
)
_create_only_if(
    _has_trigrams,
    Index(
        "ix_products_search_text",
        products.c.search_text,
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    ),
)
_change_order = changes.c.seq
_has_request = changes.c.request_id.is_not(None)
Index("ix_product_changes_product_id", changes.c.product_id, _change_order)
Index("ix_product_changes_op", changes.c.op, _change_order)
Index(
    "ix_product_changes_request_id",
    changes.c.request_id,
    _change_order,
    postgresql_where=_has_request,
    sqlite_where=_has_request,
)
_create_only_if(_is_postgresql, Index("ix_product_changes_txid", changes.c.txid))
Base.metadata.info[SIGNED_TABLE] = changes.name
# By database and table; `flask db upgrade` creates those that are missing.
_triggers = ("record_product_insert", "record_product_update", "record_product_delete")
_postgresql_triggers = (
    "record_product_truncate",
    "fill_product_search_text_insert",
    "fill_product_search_text_update",
)
Base.metadata.info["triggers"] = {
    "postgresql": {products.name: {*_triggers, *_postgresql_triggers}},
    "sqlite": {products.name: {*_triggers}},
}
# What the role of the service needs on each table, on PostgreSQL.
_rows = ("SELECT", "INSERT", "UPDATE", "DELETE")
Base.metadata.info["privileges"] = {
    products.name: _rows,
    idempotency_keys.name: _rows,
    changes.name: ("SELECT",),
    change_log.name: ("SELECT",),
}
# Of revision 0002: its version of the service searches with it during a rollout.
Base.metadata.info["retired_indexes"] = {"ix_products_search_key"}


class ProductJSON(FunctionElement[str]):
    """The JSON object of a product as text, which the database renders.

    This is the only place that defines the JSON of a product. Its columns are those of
    ``catalogue`` in a SELECT, and those of ``products`` in RETURNING.
    """

    name = "product_json"
    type = Text()
    inherit_cache = True


@compiles(ProductJSON, "postgresql")
def _row_to_json(element: ProductJSON, compiler: SQLCompiler, **kw: Any) -> str:
    row: str = products.name
    columns = list(element.clauses)
    if columns[0] is products.c.id:
        listed = ", ".join(compiler.process(column, **kw) for column in columns)
        row = f"(SELECT {row} FROM (SELECT {listed}) AS {row})"  # noqa: S608  # constant names
    return f"row_to_json({row})::text"


@compiles(ProductJSON, "sqlite")
def _json_object(element: ProductJSON, compiler: SQLCompiler, **kw: Any) -> str:
    members = []
    for column in element.clauses:
        value = compiler.process(column, **kw)
        if column.key == "price":
            value = f"json(printf('%.{PRICE_DECIMALS}f', {value}))"
        members.append(f"'{column.key}', {value}")
    return f"json_object({', '.join(members)})"


product_json = ProductJSON(*catalogue.columns)
returning_json = ProductJSON(*member_columns)
