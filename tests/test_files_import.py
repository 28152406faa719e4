"""Imports: what files are read, what their plan says, and that exactly the plan is carried out."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from time import process_time
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from service import create_app
from service.database import transaction
from service.files.importing import MAX_FILE_BYTES
from tests.factories import product_body
from tests.helpers import dispose, is_waiting, wait_for
from tests.test_files_export import stock, stock_odd_texts

CSV, JSON_LINES = "text/csv", "application/jsonl"
HEADING = "id,name,img_url,description,price,rating,category,status\n"
EXCEL_CODE_PAGE = "windows-1252"


def send(
    client: FlaskClient,
    file: str | bytes,
    query: str = "",
    content_type: str = CSV,
    **headers: str,
) -> TestResponse:
    """Post a file; headers are given with underscores."""
    return client.post(
        f"/products/import?{query}",
        data=file,
        content_type=content_type,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def planned(client: FlaskClient, file: str | bytes, query: str = "", **more: str) -> dict[str, Any]:
    """Return the plan of a file."""
    response = send(client, file, f"dry_run=true&{query}", **more)
    assert response.status_code == 200, response.text
    plan: dict[str, Any] = response.get_json()
    return plan


def counts(plan: dict[str, Any]) -> tuple[int, int, int, int]:
    return plan["create"], plan["update"], plan["unchanged"], plan["faulty"]


def faults(plan: dict[str, Any]) -> list[tuple[int, str | None, str]]:
    return [(fault["row"], fault["column"], fault["detail"]) for fault in plan["faults"]]


def imported(client: FlaskClient, file: str | bytes, query: str = "", **more: str) -> Any:
    """Plan a file and carry it out; return the answer."""
    tag = send(client, file, f"dry_run=true&{query}", **more).headers["ETag"]
    response = send(client, file, query, If_Match=tag, **more)
    assert response.status_code == 200, response.text
    return response.get_json()


def listed(client: FlaskClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/products").get_json()
    return found


@pytest.fixture
def stocked(client: FlaskClient) -> FlaskClient:
    """Give a client that has created products 1 to 3, called P1 to P3, at 10.00."""
    for number in (1, 2, 3):
        client.post("/products", json=product_body(name=f"P{number}", price=10))
    return client


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/products.csv", CSV),
        ("/products.csv?dialect=excel", CSV),
        ("/products.csv?dialect=excel-eu", CSV),
        ("/products.jsonl", JSON_LINES),
    ],
)
def test_an_export_that_is_imported_changes_nothing(
    app: Flask, client: FlaskClient, path: str, content_type: str
) -> None:
    stock_odd_texts(app)
    file = client.get(path).data
    count = len(listed(client))

    assert counts(planned(client, file, content_type=content_type)) == (0, 0, count, 0)
    assert imported(client, file, content_type=content_type) == {
        "created": [],
        "updated": 0,
        "unchanged": count,
    }


def test_an_export_without_its_ids_creates_the_same_products(
    app: Flask, client: FlaskClient
) -> None:
    stock_odd_texts(app)
    before = listed(client)
    file = client.get("/products.csv").data

    answer = imported(client, file, "column=id:&column=etag:")

    copies = [product for product in listed(client) if product["id"] in answer["created"]]
    assert [copy | {"id": 0} for copy in copies] == [product | {"id": 0} for product in before]


def table(separator: str = ",", end: str = "\n", price: str = "12.50") -> str:
    rows = [
        ["ID", " Name", "IMG URL", "price", "Cate_gory", "", ""],
        ["1", "Käse", "https://img/1", price, "", "", ""],
        ["", "Brötchen", "https://img/2", price, "Bäckerei", "", ""],
        [""] * 7,
    ]
    return end.join(separator.join(row) for row in rows) + end


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(table().encode(), id="UTF-8"),
        pytest.param(table().encode("utf-8-sig"), id="UTF-8 with BOM"),
        pytest.param(table("\t", "\r\n").encode("utf-16"), id="Unicode text"),
        pytest.param(b"\xfe\xff" + table("\t").encode("utf-16-be"), id="UTF-16, big endian"),
        pytest.param(("sep=;\r\n" + table(";", "\r\n")).encode(), id="sep=;"),
        pytest.param(("\ufeffsep=\t\r\n" + table("\t")).encode(), id="BOM and sep="),
        pytest.param(table(";", price="12,50").encode(), id="semicolons, decimal commas"),
        pytest.param(table(end="\r").encode(), id="CR alone"),
        pytest.param(("\n\n" + table(";", "\r\n") + "\n" * 50).encode(), id="empty lines"),
    ],
)
def test_what_a_spreadsheet_writes_is_read(stocked: FlaskClient, file: bytes) -> None:
    answer = imported(stocked, file)

    assert (len(answer["created"]), answer["updated"]) == (1, 1)
    first, *_, new = listed(stocked)
    assert (first["name"], first["price"], first["category"]) == ("Käse", 12.5, None)
    assert (new["name"], new["price"], new["category"]) == ("Brötchen", 12.5, "Bäckerei")
    assert (new["description"], new["rating"], new["status"]) == (None, 0, "active")


def test_an_unnamed_encoding_is_a_fault_with_row_and_byte(stocked: FlaskClient) -> None:
    file = table().encode(EXCEL_CODE_PAGE)

    plan = planned(stocked, file)

    detail = "has the byte 0x{}, which is not UTF-8: save the file as UTF-8, or name its charset"
    assert faults(plan) == [
        (2, " Name", detail.format("E4")),
        (3, " Name", detail.format("F6")),
        (3, "Cate_gory", detail.format("E4")),
    ]
    assert [fault["value"] for fault in plan["faults"]] == [
        r"K\xe4se",
        r"Br\xf6tchen",
        r"B\xe4ckerei",
    ]


@pytest.mark.parametrize(
    ("query", "content_type"),
    [
        (f"charset={EXCEL_CODE_PAGE}", CSV),
        ("", f"{CSV}; charset={EXCEL_CODE_PAGE}"),
        (f"charset={EXCEL_CODE_PAGE}", f"{CSV}; charset=utf-8"),
    ],
)
def test_a_named_encoding_is_read(stocked: FlaskClient, query: str, content_type: str) -> None:
    file = table().encode(EXCEL_CODE_PAGE)

    imported(stocked, file, query, content_type=content_type)

    assert listed(stocked)[0]["name"] == "Käse"


@pytest.mark.parametrize(
    ("encoding", "charset", "detail"),
    [
        ("utf-8-sig", EXCEL_CODE_PAGE, "has the byte order mark of UTF-8"),
        ("utf-16", "utf-8", "has the byte order mark of UTF-16"),
        ("utf-16-le", "utf-16", "has no byte order mark: name utf-16le or utf-16be"),
    ],
)
def test_a_byte_order_mark_that_contradicts_the_charset_is_a_fault(
    sqlite_app: Flask, encoding: str, charset: str, detail: str
) -> None:
    plan = planned(sqlite_app.test_client(), table().encode(encoding), f"charset={charset}")

    assert faults(plan) == [(1, None, f"The file {detail}, but charset is {charset}")]


def test_utf_16_without_a_mark_is_read_if_its_byte_order_is_named(stocked: FlaskClient) -> None:
    imported(stocked, table().encode("utf-16-be"), "charset=utf-16be")

    assert listed(stocked)[0]["name"] == "Käse"


@pytest.mark.parametrize(
    ("cell", "price"),
    [
        ("9.99", "9.99"),
        ("9,99", "9.99"),
        ("1.234,56", "1234.56"),
        ("1,234.56", "1234.56"),
        ("1,234,567", "1234567.00"),
        ("1.234.567", "1234567.00"),
        ("1.234.567,8", "1234567.80"),
        ("1\u202f234,56", "1234.56"),
        ("1'234.50", "1234.50"),
        ("€ 9,99", "9.99"),
        ("9.99\xa0$", "9.99"),
        ("EUR 5", "5.00"),
        ("5,-", None),
        (".5", "0.50"),
        ("0,5", "0.50"),
        ("0", "0.00"),
        ("9999999999.99", "9999999999.99"),
        ("1,800", "may mean 1800 or 1.8: write 1800.00"),
        ("9.999", "may mean 9999 or 9.999: write 9999.00"),
        ("1e3", None),
        ("-1", None),
        ("0,500", None),
        ("1234,567", None),
        ("1.234.56", None),
        ("1,23,456", None),
        ("free", None),
        ("٣", None),
        ("10000000000", "must be at most 9999999999.99"),
        ("", "is required"),
        ("  ", "is required"),
    ],
)
def test_a_price_has_one_meaning_or_is_a_fault(
    sqlite_app: Flask, cell: str, price: str | None
) -> None:
    client = sqlite_app.test_client()
    plan = planned(client, f'name,img_url,price\nA,b,"{cell}"\n')

    if price and price[0].isdecimal():
        assert faults(plan) == []
        assert f"{plan['changes'][0]['after']['price']:.2f}" == price
    else:
        detail = price or "must be a price of at least 0 with at most two decimals, such as 1800.00"
        assert faults(plan) == [(2, "price", detail)]


def test_an_absent_column_changes_nothing_and_an_empty_cell_resets(stocked: FlaskClient) -> None:
    before = listed(stocked)[0]

    imported(stocked, "id,category,rating,status\n1,,,\n")

    assert listed(stocked)[0] == before | {"category": None, "rating": 0, "status": "active"}


def test_short_rows_are_filled_with_empty_cells(stocked: FlaskClient) -> None:
    imported(stocked, "id,rating,category\n1,3\n")

    product = listed(stocked)[0]
    assert (product["rating"], product["category"]) == (3, None)


def test_note_lines_become_no_products(stocked: FlaskClient) -> None:
    plan = planned(stocked, HEADING + "Prices of May\n,,,,,,,\n,Total,,,30,,,\n")

    assert counts(plan) == (0, 0, 0, 2)
    assert {row for row, *_ in faults(plan)} == {2, 4}


REPEATED = "is in several rows"
STALE = "is not the present ETag: the product was changed"
UNKNOWN = "is not a column of a product; map it, or ignore it"
UNQUOTED = "has a quote inside a cell that is not doubled, or text after a closing quote"
FAULTY_FILES: dict[str, list[tuple[int, str | None, str]]] = {
    "id,price\n1,5\n2,6\n1,5\n": [(2, "id", REPEATED), (4, "id", REPEATED)],
    "id,price\n1,free\n1,5\n": [
        (2, "price", "must be a price of at least 0 with at most two decimals, such as 1800.00"),
        (2, "id", REPEATED),
        (3, "id", REPEATED),
    ],
    "id,price\n9,5\n": [(2, "id", "no product has this id")],
    "id,price\nx,5\n0,5\n1.5,5\n": [
        (2, "id", "must be an integer"),
        (3, "id", "must be at least 1"),
        (4, "id", "must be an integer"),
    ],
    "id,etag,price\n1,abc,5\n": [(2, "etag", STALE)],
    "etag,name,img_url,price\nabc,A,b,5\n": [(2, "etag", "needs an id")],
    "id,Price,PRICE\n1,5,6\n": [(1, "PRICE", "is a second column for price")],
    "id,colour,price\n1,red,5\n": [(1, "colour", UNKNOWN)],
    "colour\nred\n": [(1, "colour", UNKNOWN)],
    "": [(1, None, "The file is empty")],
    "\n\n": [(1, None, "The file is empty")],
    "id,price\n1,5,6\n": [(2, None, "has more cells than headings")],
    "id,price,\n1,5,x\n": [(2, None, "has a cell without a heading")],
    "id,name\n1,\n": [(2, "name", "is required")],
    "id,name\n1,\u2028 \n": [(2, "name", "must have a visible character")],
    "id,rating,status\n1,4.5,sold\n": [
        (2, "rating", "must be an integer"),
        (2, "status", "must be 'active', 'disabled' or 'inactive'"),
    ],
    "id,name\n1,a\0b\n": [(2, "name", "must not contain U+0000")],
    'id,name\n1,"a"b\n2,c\n': [(2, None, UNQUOTED)],
}


@pytest.mark.parametrize("file", FAULTY_FILES)
def test_a_faulty_file_says_what_is_wrong_and_where(stocked: FlaskClient, file: str) -> None:
    assert faults(planned(stocked, file)) == FAULTY_FILES[file]


@pytest.mark.parametrize("rest", ["2,Two\n3,Three\n", '2,"Two"\n3,Three\n', '2,Two\n3,"Three"\n'])
def test_an_unclosed_quote_is_a_fault_of_its_row_and_swallows_no_other(
    stocked: FlaskClient, rest: str
) -> None:
    plan = planned(stocked, f'id,name\n1,"One\n{rest}')

    assert counts(plan) == (0, 2, 0, 1)
    ((row, column, _),) = faults(plan)
    assert (row, column) == (2, None)
    assert {change["after"]["name"] for change in plan["changes"]} == {"Two", "Three"}


def test_rows_after_a_quote_that_is_never_closed_are_read(client: FlaskClient) -> None:
    rows = "".join(f"N{n},{'a' * 800},1\n" for n in range(2_000))

    plan = planned(client, f'name,img_url,price\n"N,a,1\n{rows}')

    assert counts(plan) == (2_000, 0, 0, 1)
    assert faults(plan)[0][0] == 2


def test_a_creation_without_a_required_column_is_a_fault_of_the_heading(
    stocked: FlaskClient,
) -> None:
    file = "id,name,price\n1,Tea,5\n,Coffee,6\n"
    detail = "is required to create a product"

    assert faults(planned(stocked, file)) == [(1, "img_url", detail)]
    response = send(stocked, file, "skip_faulty=true", If_Match="*")
    assert (response.status_code, response.get_json()["errors"][0]["row"]) == (400, 1)
    assert listed(stocked)[0]["name"] == "P1"


@pytest.mark.parametrize("heading", ["id,colour,price", "id,price,Price"])
def test_a_faulty_heading_cannot_be_skipped(stocked: FlaskClient, heading: str) -> None:
    response = send(stocked, f"{heading}\n1,5,6\n", "skip_faulty=true", If_Match="*")

    assert response.status_code == 400
    assert listed(stocked)[0]["price"] == 10


def test_json_lines_are_merge_patches(stocked: FlaskClient) -> None:
    lines: list[dict[str, Any]] = [
        {"id": 1, "price": 12.5, "category": None},
        {"name": "New", "img_url": "https://img/4", "price": 3, "status": "INACTIVE"},
    ]

    answer = imported(stocked, "\n\n".join(map(json.dumps, lines)), content_type=JSON_LINES)

    assert answer == {"created": [4], "updated": 1, "unchanged": 0}
    first, *_, new = listed(stocked)
    assert (first["name"], first["price"], first["category"]) == ("P1", 12.5, None)
    assert (new["name"], new["status"]) == ("New", "inactive")


def test_faulty_json_lines_say_what_is_wrong_and_where(stocked: FlaskClient) -> None:
    lines = [
        '{"id": 1, "price": "9.99"}',
        '{"id": 1, "colour": "red", "rating": 4.5}',
        "",
        '{"id": 2, "price": 9.99',
        "[]",
        '{"price": 1, "etag": 5}',
        '{"id": 3, "price": 1, "price": 2}',
    ]

    assert faults(planned(stocked, "\n".join(lines), content_type=JSON_LINES)) == [
        (1, "price", "must be a number"),
        (1, "id", "is in several rows"),
        (2, "colour", "is not a member of a product"),
        (2, "rating", "must be an integer"),
        (2, "id", "is in several rows"),
        (4, None, "is not JSON: Expecting ',' delimiter: line 1 column 24 (char 23)"),
        (5, None, "must be a JSON object"),
        (6, "etag", "must be a string"),
        (7, "price", "must be given only once"),
    ]


@pytest.mark.parametrize(
    ("line", "query", "value"),
    [
        ('{"etag": "abc"}', "", "abc"),
        ('{"id": 1, "etag": 5}', "", "5"),
        ('{"id": 1, "price": null}', "", "null"),
        ('{"price": 1}', "match=name", None),
    ],
)
def test_a_fault_of_a_json_line_shows_what_the_line_has(
    stocked: FlaskClient, line: str, query: str, value: str | None
) -> None:
    (fault,) = planned(stocked, line, query, content_type=JSON_LINES)["faults"]

    assert fault["value"] == value


def test_a_fault_shows_the_beginning_of_a_long_heading(stocked: FlaskClient) -> None:
    long = "Price" + "_" * 100_000
    file = f"id,{long}\n1,cheap\n2,1\n2,1\n"

    plan = planned(stocked, file, "max_price_change=50")

    assert {fault["column"] for fault in plan["faults"]} == {"id", long[:100] + "…"}


def test_rows_can_find_their_products_by_name(stocked: FlaskClient) -> None:
    file = "name,price,img_url\nP2,5,https://img/2\nP4,6,https://img/4\n"

    assert imported(stocked, file, "match=name") == {"created": [4], "updated": 1, "unchanged": 0}
    assert imported(stocked, file, "match=name") == {"created": [], "updated": 0, "unchanged": 2}
    assert [product["price"] for product in listed(stocked)] == [10, 5, 10, 6]


def test_the_faults_of_matching_by_name(stocked: FlaskClient) -> None:
    stocked.post("/products", json=product_body(name="P3"))
    file = "name,price,img_url,etag\nP3,5,a,\nP1,5,a,old\nX,5,a,\nX,5,a,\nY,5,a,old\n,5,a,\n"

    plan = planned(stocked, file, "match=name")

    assert faults(plan) == [
        (2, "name", "several products have this name"),
        (3, "etag", "is not the present ETag: the product was changed"),
        (4, "name", "is in several rows"),
        (5, "name", "is in several rows"),
        (6, "etag", "no product has this name"),
        (7, "name", "is required"),
    ]
    plan = planned(stocked, HEADING + "1,P1,a,,1,,,\n", "match=name")
    assert faults(plan) == [(1, "id", "must not be given with match=name; ignore it")]


def test_an_etag_is_checked_with_and_without_its_quotes(stocked: FlaskClient) -> None:
    quoted = stocked.get("/products/1").headers["ETag"]
    file = "id,price,etag\n1,5," + quoted.strip('"')

    assert counts(planned(stocked, file)) == (0, 1, 0, 0)
    in_csv = quoted.replace('"', '""')
    assert counts(planned(stocked, f'id,price,etag\n1,5,"{in_csv}"')) == (0, 1, 0, 0)
    stocked.patch("/products/1", json={"rating": 77})
    assert counts(planned(stocked, file)) == (0, 0, 0, 1)


def test_a_large_change_of_price_is_a_fault_if_a_limit_is_set(stocked: FlaskClient) -> None:
    stocked.patch("/products/3", json={"price": 0})
    file = "id,price\n1,15.00\n2,15.01\n3,0.01\n"

    assert counts(planned(stocked, file)) == (0, 3, 0, 0)
    assert faults(planned(stocked, file, "max_price_change=50")) == [
        (3, "price", "changes the price from 10.00 to 15.01, by more than 50 %"),
        (4, "price", "changes the price from 0.00 to 0.01, by more than 50 %"),
    ]


def test_changes_begin_with_the_largest_one_of_price(stocked: FlaskClient) -> None:
    stocked.patch("/products/2", json={"price": 0})
    file = "id,price,rating\n1,11,5\n2,1,5\n3,2,5\n"

    plan = planned(stocked, file + "".join("\n" for _ in range(3)))

    assert [change["row"] for change in plan["changes"]] == [3, 4, 2]
    assert plan["changes"][1]["before"]["price"] == 10
    assert plan["changes"][1]["after"]["price"] == 2


def test_a_plan_lists_two_hundred_faults_and_changes(app: Flask, client: FlaskClient) -> None:
    new = "".join(f",N{n},a,,{n},,,\n" for n in range(300))
    bad = "".join(",,a,,1,,,\n" for _ in range(300))

    plan = planned(client, HEADING + new + bad)

    assert counts(plan) == (300, 0, 0, 300)
    assert [change["row"] for change in plan["changes"]] == list(range(2, 202))
    assert [fault["row"] for fault in plan["faults"]] == list(range(302, 502))


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("match=ean", "match"),
        ("dry_run=yes", "dry_run"),
        ("skip_faulty=1", "skip_faulty"),
        ("max_price_change=-1", "max_price_change"),
        ("max_price_change=1e9", "max_price_change"),
        ("max_price_change=.", "max_price_change"),
        ("charset=rot13", "charset"),
        ("charset=nosuch", "charset"),
        ("charset=%00", "charset"),
        ("column=Preis", "column"),
        ("column=Preis:cost", "column"),
        ("column=:price", "column"),
        ("column=Preis:price&column=PREIS:rating", "column"),
        ("match=id&match=id", "match"),
        ("matsch=id", "matsch"),
    ],
)
def test_a_faulty_parameter_is_400(sqlite_app: Flask, query: str, parameter: str) -> None:
    response = send(sqlite_app.test_client(), "", query)

    assert response.status_code == 400
    assert [error["parameter"] for error in response.get_json()["errors"]] == [parameter]


SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Type,Published,Option1 Value,Variant SKU,Variant Price,"
    "Variant Compare At Price,Image Src,Image Position,Status\r\n"
    'kettle,Kettle,"<p>Whistles, ""loudly"".</p>\n<p>2 l</p>",Alder,Kitchen,TRUE,Default Title,K-1,'
    "49.95,,https://cdn.example.com/kettle.jpg,1,active\r\n"
    "rake,Rake,,Brück,,TRUE,Default Title,R-1,12.00,15.00,https://cdn.example.com/rake.jpg,1,draft\r\n"
)
SHOPIFY_COLUMNS = {
    "Handle": "", "Title": "name", "Body (HTML)": "description", "Vendor": "", "Type": "category",
    "Published": "", "Option1 Value": "", "Variant SKU": "", "Variant Price": "price",
    "Variant Compare At Price": "", "Image Src": "img_url", "Image Position": "", "Status": "",
}  # fmt: skip
WOOCOMMERCE = (
    "\ufeffID,Type,SKU,Name,Published,Is featured?,Short description,Description,In stock?,"
    "Sale price,Regular price,Categories,Images,Meta: _wpcom_is_markdown\n"
    '17,simple,K-1,Kettle,1,0,"Whistles\\nloudly","<b>2 l</b>",1,,"49,95",Kitchen > Kettles,'
    "https://shop.example.com/kettle.jpg,1\n"
    "18,simple,R-1,Rake,1,0,,,1,,12,Garden,https://shop.example.com/rake.jpg,\n"
)
WOOCOMMERCE_COLUMNS = {
    "ID": "", "Type": "", "SKU": "", "Published": "", "Is featured?": "", "Short description": "",
    "In stock?": "", "Sale price": "", "Regular price": "price", "Categories": "category",
    "Images": "img_url", "Meta: _wpcom_is_markdown": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "columns", "description"),
    [
        (SHOPIFY, SHOPIFY_COLUMNS, '<p>Whistles, "loudly".</p>\n<p>2 l</p>'),
        (WOOCOMMERCE, WOOCOMMERCE_COLUMNS, "<b>2 l</b>"),
    ],
    ids=["Shopify", "WooCommerce"],
)
def test_the_file_of_another_shop_is_read_with_a_mapping_of_its_columns(
    client: FlaskClient, file: str, columns: dict[str, str], description: str
) -> None:
    assert planned(client, file)["faults"][0]["row"] == 1
    query = urlencode([("column", f"{heading}:{name}") for heading, name in columns.items()])
    imported(client, file, query)

    kettle, rake = listed(client)
    assert (kettle["name"], kettle["description"], kettle["price"]) == (
        "Kettle",
        description,
        49.95,
    )
    assert kettle["category"].startswith("Kitchen")
    assert kettle["img_url"].endswith("/kettle.jpg")
    assert (rake["name"], rake["description"], rake["price"]) == ("Rake", None, 12)


CHANGES: dict[str, Callable[[FlaskClient], object]] = {
    "changed": lambda client: client.patch("/products/1", json={"price": 11}),
    "deleted": lambda client: client.delete("/products/1"),
    "created": lambda client: client.post("/products", json=product_body()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_plan_that_has_become_another_one_is_412(stocked: FlaskClient, change: str) -> None:
    file = "id,price\n1,5\n2,6\n"
    tag = send(stocked, file, "dry_run=true").headers["ETag"]
    CHANGES[change](stocked)
    before = listed(stocked)

    response = send(stocked, file, If_Match=tag)

    assert response.status_code == 412
    assert listed(stocked) == before


def test_a_plan_that_only_creates_cannot_be_applied_twice(client: FlaskClient) -> None:
    file = "name,img_url,price\nA,a,1\n"
    tag = send(client, file, "dry_run=true").headers["ETag"]

    assert send(client, file, If_Match=tag).status_code == 200
    assert send(client, file, If_Match=tag).status_code == 412
    assert len(listed(client)) == 1
    client.delete("/products/1")
    assert send(client, file, If_Match=tag).status_code == 412
    assert listed(client) == []


def test_an_import_can_be_repeated_by_its_key(client: FlaskClient) -> None:
    file = "name,img_url,price\nA,a,1\n"
    tag = send(client, file, "dry_run=true", Idempotency_Key="one").headers["ETag"]

    first = send(client, file, If_Match=tag, Idempotency_Key="one")
    again = send(client, file, If_Match=tag, Idempotency_Key="one")
    other = send(client, file, If_Match="*", Idempotency_Key="one")

    assert (first.status_code, "Idempotent-Replayed" in first.headers) == (200, False)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.data == first.data
    assert other.status_code == 422
    assert len(listed(client)) == 1


def test_a_dry_run_stores_nothing(stocked: FlaskClient) -> None:
    before = listed(stocked)

    for _ in range(2):
        assert counts(planned(stocked, HEADING + ",A,a,,1,,,\n1,B,b,,2,,,\n")) == (1, 1, 0, 0)

    assert listed(stocked) == before


def test_a_dry_run_does_not_wait_for_a_write(app: Flask) -> None:
    with app.app_context(), transaction() as connection:
        connection.execute(text("UPDATE products SET price = 1"))
        assert counts(planned(app.test_client(), HEADING + ",A,a,,1,,,\n")) == (1, 0, 0, 0)


def test_a_file_with_faults_is_imported_only_without_them(stocked: FlaskClient) -> None:
    file = "id,price\n1,5\n2,free\n"
    tag = send(stocked, file, "dry_run=true").headers["ETag"]

    refused = send(stocked, file, If_Match=tag)
    assert refused.status_code == 400
    assert refused.get_json()["errors"] == planned(stocked, file)["faults"]
    assert [product["price"] for product in listed(stocked)] == [10, 10, 10]

    answer = send(stocked, file, "skip_faulty=true", If_Match=tag)
    assert answer.get_json() == {"created": [], "updated": 1, "unchanged": 0}
    assert [product["price"] for product in listed(stocked)] == [5, 10, 10]


def test_a_stale_plan_is_412_before_its_faults_are_400(stocked: FlaskClient) -> None:
    assert send(stocked, "id,price\n1,free\n", If_Match='"0"').status_code == 412


def test_an_import_without_a_plan_is_428(stocked: FlaskClient) -> None:
    assert send(stocked, "id,price\n1,5\n").status_code == 428
    assert send(stocked, "id,price\n1,5\n", If_Match="*").status_code == 200


def test_created_ids_are_in_the_order_of_rows(stocked: FlaskClient) -> None:
    rows = "".join(f",N{n},a,,{n},,,\n" for n in range(50, 0, -1))

    answer = imported(stocked, HEADING + rows)

    assert answer["created"] == list(range(4, 54))
    assert [product["name"] for product in listed(stocked)[3:]] == [
        f"N{n}" for n in range(50, 0, -1)
    ]


CHANGING = "id,price\n" + "".join(f"{n},12\n" for n in range(300, 0, -1))
CREATING = "name,img_url,price\n" + "".join(f"N{n},n,12\n" for n in range(300))


@pytest.mark.parametrize("file", [CHANGING, CREATING], ids=["changing", "creating"])
def test_of_imports_of_the_same_plan_at_once_one_is_carried_out(app: Flask, file: str) -> None:
    other = create_app({"DATABASE_URI": app.config["DATABASE_URI"], "WEB_THREADS": 6})
    stock(app, *({"price": Decimal(10)} for _ in range(300)))
    tag = send(other.test_client(), file, "dry_run=true").headers["ETag"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: send(other.test_client(), file, If_Match=tag), range(4)))
    dispose(other)

    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]


def test_a_product_that_changes_while_an_import_waits_for_it_is_412(postgresql_app: Flask) -> None:
    stock(postgresql_app, {"price": Decimal(10)}, {"price": Decimal(10)})
    uri = postgresql_app.config["DATABASE_URI"]
    other = create_app({"DATABASE_URI": uri, "WEB_THREADS": 2})
    file = "id,price\n1,12\n2,12\n"
    tag = send(other.test_client(), file, "dry_run=true").headers["ETag"]
    with ThreadPoolExecutor(1) as pool:
        with postgresql_app.app_context(), transaction() as connection:
            connection.execute(text("UPDATE products SET price = 11 WHERE id = 2"))
            answer = pool.submit(send, other.test_client(), file, If_Match=tag)
            wait_for(lambda: is_waiting(connection))
        assert answer.result().status_code == 412
    dispose(other)

    assert [product["price"] for product in listed(postgresql_app.test_client())] == [10, 11]


def test_imports_leave_a_thread_to_others(postgresql_app: Flask) -> None:
    stock(postgresql_app, {})
    uri = postgresql_app.config["DATABASE_URI"]
    other = create_app({"DATABASE_URI": uri, "WEB_THREADS": 2})
    client = other.test_client()
    file = "id,price\n1,12\n"
    with ThreadPoolExecutor(1) as pool:
        with postgresql_app.app_context(), transaction() as connection:
            connection.execute(text("UPDATE products SET price = 11 WHERE id = 1"))
            first = pool.submit(send, other.test_client(), file, If_Match="*")
            wait_for(lambda: is_waiting(connection))

            refused = send(client, file, "dry_run=true")
            assert client.get("/products/1").status_code == 200
        assert first.result().status_code == 200
    assert send(client, file, "dry_run=true").status_code == 200
    dispose(other)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")


def test_ten_thousand_rows_are_taken_and_more_are_413(client: FlaskClient) -> None:
    rows = "".join(f"{n},img,5\n" for n in range(10_000))

    created = imported(client, f"name,img_url,price\n{rows}")["created"]
    rows = "".join(f"{each},6\n" for each in created)
    assert imported(client, f"id,price\n{rows}")["updated"] == 10_000
    response = send(client, f"id,price\n{rows}1,5\n", "dry_run=true")

    assert response.status_code == 413
    assert response.get_json()["detail"] == "The file has more than 10,000 rows"


def test_a_file_may_be_larger_than_another_body(sqlite_app: Flask) -> None:
    client = sqlite_app.test_client()
    row = ",A,a,,1,,,\n"
    file = HEADING + row + " " * (MAX_FILE_BYTES - len(HEADING + row))

    assert send(client, file, "dry_run=true").status_code == 200
    response = send(client, file + " ", "dry_run=true")
    assert response.status_code == 413
    assert response.get_json()["detail"] == f"The body is larger than {MAX_FILE_BYTES} bytes"
    assert client.post("/products", data=file, content_type="application/json").status_code == 413


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/json", None),
        ("text/plain", None),
        ("text/csv; charset=rot13", None),
        ("text/csv", "gzip"),
    ],
)
def test_another_type_is_415(sqlite_app: Flask, content_type: str, encoding: str | None) -> None:
    headers = {"Content_Encoding": encoding} if encoding else {}

    response = send(sqlite_app.test_client(), "", content_type=content_type, **headers)

    assert response.status_code == 415


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_the_path_of_imports_is_no_product(sqlite_app: Flask, method: str) -> None:
    response = sqlite_app.test_client().open("/products/import", method=method)

    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]


HOSTILE = {
    "quotes": b'"' * MAX_FILE_BYTES,
    "lines of quotes": b'"\n' * (MAX_FILE_BYTES // 2),
    "one line": b"a" * MAX_FILE_BYTES,
    "columns": b"," * 1_000_000,
    "named columns": b"id" + b",a" * 400_000,
    "cells": b"id,name\n" + b"x," * 400_000,
    "an unclosed quote": b'id,name\n1,"\n' + (b"2," + b"a" * 800 + b"\n") * 9_000,
    "nul": b"\0" * MAX_FILE_BYTES,
    "nul in a cell": b"id,name\n1,a\0b\n",
    "zip": b"PK\x03\x04\x14\x00\x08\x00\x08\x00" + bytes(range(256)) * 1000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_a_fault_at_once(sqlite_app: Flask, kind: str) -> None:
    client = sqlite_app.test_client()
    started = process_time()

    plan = planned(client, HOSTILE[kind])

    assert process_time() - started < 2
    assert plan["faulty"] > 0
    assert plan["faults"]


@pytest.mark.parametrize("member", ['"m{0}":1', '"m{0}":1,"m{0}":2'])
def test_a_line_of_many_members_is_a_fault_at_once(sqlite_app: Flask, member: str) -> None:
    line = "{" + ",".join(map(member.format, range(40_000))) + "}"
    started = process_time()

    plan = planned(sqlite_app.test_client(), line, content_type=JSON_LINES)

    assert process_time() - started < 2
    assert plan["faulty"] == 1
    assert [fault["column"] for fault in plan["faults"]] == [f"m{n}" for n in range(100)]


@pytest.mark.parametrize("line", [b"\n", b",\n", b"\r"])
def test_a_million_empty_lines_are_413(sqlite_app: Flask, line: bytes) -> None:
    file = b"id,name\n" + line * 1_000_000
    started = process_time()

    response = send(sqlite_app.test_client(), file, "dry_run=true")

    assert process_time() - started < 2
    assert response.status_code == 413
