"""Exports: what is in a CSV or JSON Lines file, and how it is streamed."""

import csv
import io
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert

from service.database import transaction
from service.listing import PIECE_BYTES
from service.models import products
from tests.factories import product_body, product_row

# Texts that a spreadsheet, a CSV reader or a careless writer would change.
ODD_TEXTS = [
    'a "quoted" word', "two\nlines", "two\r\nlines", "old\rMac", "\ufeffwith a BOM", "a\ufeffb",
    "=1+1", "+49 30 123", "-5", "@home", "'x", "''", "'", "\ttab", "tab\t", "\n", " blank ",
    "a,b;c", "👩‍🚀 emoji", "שלום עולם", "e\u0301", "ﬁ", "NULL", "null", "0012", "1,5", "TRUE",
    "\u2028", "\x85", "\x1f", '"', '""', "x" * 10_000,
]  # fmt: skip


def stock(app: Flask, *rows: dict[str, Any]) -> None:
    """Insert products."""
    with app.app_context(), transaction() as connection:
        connection.execute(insert(products), [product_row(**row) for row in rows])


def stock_odd_texts(app: Flask) -> None:
    """Insert products with every odd text, null and nothing in them."""
    stock(
        app,
        *(
            {"name": f"{text}."[:255], "img_url": f"{text}."[:2048], "description": text}
            | {"category": text[:255], "price": Decimal(number) / 100, "rating": number}
            for number, text in enumerate(ODD_TEXTS)
        ),
        {"description": None, "category": None},
        {"description": "", "category": ""},
    )


def records(text: str, separator: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True))


def test_json_lines_are_the_products_with_their_etags(app: Flask, client: FlaskClient) -> None:
    stock_odd_texts(app)

    response = client.get("/products.jsonl")

    lines = response.data.decode().split("\n")
    assert lines.pop() == ""
    for line in lines:
        product_id = json.loads(line)["id"]
        product = client.get(f"/products/{product_id}")
        tag = product.headers["ETag"]
        assert line == f'{product.text[:-1]},"etag":{tag}}}'
    assert len(lines) == len(ODD_TEXTS) + 2


@pytest.mark.parametrize(
    ("dialect", "mark", "separator", "point"),
    [("rfc4180", "", ",", "."), ("excel", "\ufeff", ",", "."), ("excel-eu", "\ufeff", ";", ",")],
)
def test_a_csv_file_has_each_product_in_a_line(
    app: Flask, client: FlaskClient, dialect: str, mark: str, separator: str, point: str
) -> None:
    stock_odd_texts(app)

    response = client.get(f"/products.csv?dialect={dialect}")

    text = response.data.decode()
    heading = "id,name,img_url,description,price,rating,category,status,etag\r\n"
    assert text.startswith(mark + heading.replace(",", separator))
    found = records(text.removeprefix(mark), separator)
    expected = client.get("/products").get_json()
    assert [int(record["id"]) for record in found] == [product["id"] for product in expected]
    for record, product in zip(found, expected, strict=True):
        for name in ("name", "img_url", "description", "category"):
            assert unescaped(record[name]) == product[name]
        assert Decimal(record["price"].replace(point, ".")) == Decimal(str(product["price"]))
        assert re.fullmatch(rf"[0-9]+\{point}[0-9]{{2}}", record["price"])
        assert int(record["rating"]) == product["rating"]
        assert record["status"] == product["status"]
        tag = client.get(f"/products/{product['id']}").headers["ETag"]
        assert f'"{record["etag"]}"' == tag


def unescaped(cell: str) -> str | None:
    return cell.removeprefix("'") if cell else None


def test_no_cell_of_a_csv_file_begins_like_a_formula(app: Flask, client: FlaskClient) -> None:
    stock_odd_texts(app)

    for record in records(client.get("/products.csv").text):
        for name in ("name", "img_url", "description", "category"):
            assert not re.match(r"[=+\-@\t\r\n]", record[name])


@pytest.mark.parametrize(
    ("path", "content_type", "ending"),
    [
        ("/products.csv", "text/csv; charset=utf-8; header=present", "csv"),
        ("/products.jsonl", "application/jsonl", "jsonl"),
    ],
)
def test_an_export_is_a_download(
    client: FlaskClient, path: str, content_type: str, ending: str
) -> None:
    response = client.get(path)

    assert (response.status_code, response.headers["Content-Type"]) == (200, content_type)
    assert re.fullmatch(
        rf'attachment; filename="products-\d{{4}}-\d\d-\d\d\.{ending}"',
        response.headers["Content-Disposition"],
    )
    assert client.head(path).headers["Content-Type"] == content_type


def test_an_export_of_nothing_has_only_the_heading(client: FlaskClient) -> None:
    heading = "id,name,img_url,description,price,rating,category,status,etag\r\n"
    assert client.get("/products.csv").text == heading
    assert client.get("/products.jsonl").text == ""


def test_an_export_takes_the_filters_and_the_sort_of_a_list(client: FlaskClient) -> None:
    for price in (3, 1, 2):
        client.post("/products", json=product_body(name=f"No. {price}", price=price))

    query = "min_price=2&sort=price&name=no."
    lines = client.get(f"/products.jsonl?{query}").text.splitlines()
    found = records(client.get(f"/products.csv?{query}&dialect=excel-eu").text[1:], ";")

    assert [json.loads(line)["name"] for line in lines] == ["No. 2", "No. 3"]
    assert [record["name"] for record in found] == ["No. 2", "No. 3"]


@pytest.mark.parametrize(
    ("query", "faulty"),
    [
        ("limit=1", {"limit"}),
        ("count=true&cursor=x&limit=1&offset=2", {"count", "cursor", "limit", "offset"}),
        ("dialect=word", {"dialect"}),
        ("dialect=excel&dialect=excel", {"dialect"}),
        ("%64ialect=word&nosuch=1&price=x&limit=1", {"dialect", "nosuch", "price", "limit"}),
    ],
)
def test_all_faulty_parameters_are_400(sqlite_app: Flask, query: str, faulty: set[str]) -> None:
    response = sqlite_app.test_client().get(f"/products.csv?{query}")

    assert response.status_code == 400
    assert {error["parameter"] for error in response.get_json()["errors"]} == faulty


def test_of_many_faulty_parameters_a_hundred_are_listed(sqlite_app: Flask) -> None:
    names = "&".join(f"x{i}=1" for i in range(150))

    response = sqlite_app.test_client().get(f"/products.csv?limit=1&{names}")

    assert response.status_code == 400
    assert len(response.get_json()["errors"]) == 100
    assert response.get_json()["detail"].endswith("; and 51 more errors")


def test_a_query_string_that_is_too_long_is_414(sqlite_app: Flask) -> None:
    response = sqlite_app.test_client().get(f"/products.csv?dialect={'x' * 2**13}")

    assert response.status_code == 414


def test_json_lines_have_no_dialect(sqlite_app: Flask) -> None:
    assert sqlite_app.test_client().get("/products.jsonl?dialect=excel").status_code == 400


@pytest.mark.parametrize("path", ["/products.csv", "/products.jsonl"])
def test_an_export_is_streamed_in_pieces(app: Flask, client: FlaskClient, path: str) -> None:
    stock(app, *({"description": "x" * 10_000} for _ in range(200)))

    pieces = list(client.get(path).iter_encoded())

    assert len(pieces) >= 200 * 10_000 // PIECE_BYTES
    assert max(map(len, pieces)) < 1.1 * PIECE_BYTES
