"""The table refuses by itself what no product may be, on both databases."""

import json
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, insert, inspect, select, text
from sqlalchemy.exc import DataError, IntegrityError

from service.database import db
from service.models import (
    CATEGORY_LENGTH,
    DESCRIPTION_LENGTH,
    IMG_URL_LENGTH,
    MAX_ID,
    MAX_PRICE,
    MAX_RATING,
    NAME_LENGTH,
    Status,
    member_columns,
    product_json,
    products,
)
from tests.factories import product_row
from tests.helpers import backend, execute

COLUMNS = ["id", "name", "img_url", "description", "price", "rating", "category", "status"]

BAD_VALUES: list[tuple[str, Any]] = [
    ("id", 0),
    ("id", -1),
    ("id", MAX_ID + 1),
    ("name", None),
    ("name", ""),
    ("name", " "),
    ("name", "\u200b\u2060 "),
    ("name", "x" * (NAME_LENGTH + 1)),
    ("img_url", None),
    ("img_url", ""),
    ("img_url", "\u2003\n\u00ad"),
    ("img_url", "x" * (IMG_URL_LENGTH + 1)),
    ("description", "x" * (DESCRIPTION_LENGTH + 1)),
    ("price", None),
    ("price", "-0.01"),
    ("price", "10000000000"),
    ("price", "NaN"),
    ("price", "Infinity"),
    ("price", "dear"),
    ("rating", None),
    ("rating", -1),
    ("rating", MAX_RATING + 1),
    ("category", "x" * (CATEGORY_LENGTH + 1)),
    ("status", None),
    ("status", ""),
    ("status", "ACTIVE"),
    ("status", "sold"),
]

GOOD_VALUES: list[tuple[str, Any]] = [
    ("id", 1),
    ("id", MAX_ID),
    ("name", "é" * NAME_LENGTH),
    ("name", "\u2003x\u200b"),
    ("img_url", "\U0001f3fa" * IMG_URL_LENGTH),
    ("description", None),
    ("description", ""),
    ("description", "\U0001f3fa" * DESCRIPTION_LENGTH),
    ("price", Decimal("0.00")),
    ("price", Decimal("0.01")),
    ("price", Decimal("0.29")),
    ("price", MAX_PRICE),
    ("rating", 0),
    ("rating", MAX_RATING),
    ("category", None),
    ("category", ""),
    ("category", "é" * CATEGORY_LENGTH),
    ("status", Status.ACTIVE),
    ("status", Status.INACTIVE),
    ("status", Status.DISABLED),
]


def insert_raw(app: Flask, columns: dict[str, Any]) -> None:
    """Insert past the types of SQLAlchemy, as any other program might."""
    names = ", ".join(columns)
    places = ", ".join(f":{name}" for name in columns)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO products ({names}) VALUES ({places})"), columns)


def rows(app: Flask) -> list[dict[str, Any]]:
    with app.app_context(), db.engine.connect() as connection:
        found = connection.execute(select(*member_columns).order_by(products.c.id)).mappings()
        return [dict(row) for row in found]


def raw_row(**columns: Any) -> dict[str, Any]:
    return {"name": "Kettle", "img_url": "https://img.example.com/1", "price": "1.00"} | columns


def short(value: object) -> str:
    return ascii(value)[:20]


@pytest.mark.parametrize(("column", "value"), BAD_VALUES, ids=short)
def test_a_bad_row_is_refused(app: Flask, column: str, value: object) -> None:
    with pytest.raises((IntegrityError, DataError)):
        insert_raw(app, raw_row(**{column: value}))

    assert rows(app) == []


@pytest.mark.parametrize(("column", "value"), GOOD_VALUES, ids=short)
def test_a_row_at_the_limits_comes_back_as_it_was(app: Flask, column: str, value: object) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(insert(products), product_row(**{column: value}))

    assert [row[column] for row in rows(app)] == [value]


def test_no_price_has_more_than_two_decimals(app: Flask) -> None:
    if backend(app) == "sqlite":
        with pytest.raises(IntegrityError, match="ck_products_price_decimals"):
            insert_raw(app, raw_row(price="9.999"))
        assert rows(app) == []
    else:
        insert_raw(app, raw_row(price="9.999"))
        assert [row["price"] for row in rows(app)] == [Decimal("10.00")]


def test_the_table_has_the_columns_of_the_contract_in_its_order_and_one_more(app: Flask) -> None:
    with app.app_context():
        inspector = inspect(db.engine)

        found = {column["name"]: column["nullable"] for column in inspector.get_columns("products")}

    assert list(found) == [*COLUMNS, "search_text"]
    assert [name for name in found if found[name]] == ["description", "category", "search_text"]


def test_a_price_is_exact_on_postgresql(postgresql_app: Flask) -> None:
    with postgresql_app.app_context():
        columns = inspect(db.engine).get_columns("products")

    assert [str(column["type"]) for column in columns if column["name"] == "price"] == [
        "NUMERIC(12, 2)"
    ]


def test_the_database_knows_the_defaults(app: Flask) -> None:
    insert_raw(app, raw_row())

    (row,) = rows(app)
    assert row == {
        "id": 1,
        "name": "Kettle",
        "img_url": "https://img.example.com/1",
        "description": None,
        "price": Decimal("1.00"),
        "rating": 0,
        "category": None,
        "status": Status.ACTIVE,
    }


def test_an_id_is_never_used_twice(app: Flask) -> None:
    for _ in range(3):
        insert_raw(app, raw_row())
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(delete(products).where(products.c.id >= 2))

    insert_raw(app, raw_row())

    assert [row["id"] for row in rows(app)] == [1, 4]


def test_statuses_sort_alike_on_every_database(app: Flask) -> None:
    for status in ("inactive", "active", "disabled"):
        insert_raw(app, raw_row(status=status))

    with app.app_context(), db.engine.connect() as connection:
        found = connection.execute(select(products.c.status).order_by(products.c.status)).scalars()
        assert list(found) == [Status.ACTIVE, Status.DISABLED, Status.INACTIVE]


def test_names_sort_by_code_point_on_every_database(app: Flask) -> None:
    for name in ("b", "É", "a", "B", "\U0001f3fa", "\uffee"):
        insert_raw(app, raw_row(name=name))

    with app.app_context(), db.engine.connect() as connection:
        found = connection.execute(select(products.c.name).order_by(products.c.name)).scalars()
        assert list(found) == ["B", "a", "b", "É", "\uffee", "\U0001f3fa"]


def test_the_database_writes_the_members_in_the_order_of_the_contract(app: Flask) -> None:
    insert_raw(app, raw_row(price="10"))

    with app.app_context(), db.engine.connect() as connection:
        written = connection.execute(select(product_json)).scalar_one()

    assert list(json.loads(written)) == COLUMNS
    assert '"price":10.00,' in written


def test_sqlite_waits_for_other_writers_and_does_not_block_readers(sqlite_app: Flask) -> None:
    with sqlite_app.app_context(), db.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 5000


def test_a_failed_transaction_leaves_nothing(app: Flask) -> None:
    with pytest.raises((IntegrityError, DataError)):
        execute(
            app,
            "INSERT INTO products (name, img_url, price) VALUES ('a', 'b', 1)",
            "INSERT INTO products (name, img_url, price) VALUES ('a', 'b', -1)",
        )

    assert rows(app) == []
