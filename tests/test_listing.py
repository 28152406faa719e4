"""Lists: what they hold, in which order, and that paging meets every product once."""

import json
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import cycle
from itertools import product as combinations
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, event, insert, update
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.test import TestResponse

from service import listing
from service.database import insert_rows, transaction
from service.database.text import search_key
from service.http.json_body import parse_number
from service.listing import cursor, snapshots, statements
from service.listing.query import parse
from service.models import MAX_ID, Status, products
from tests.factories import product_body, product_row
from tests.helpers import backend, empty, engine_of, execute

COLUMNS = ("id", "name", "price", "rating", "category", "status")
Product = dict[str, Any]

# Few values, so that there are many ties; with cases and letters that fold.
NAMES = ("Kettle", "kettle", "ÉTUI", "étui rouge", "100% wool", "a_b", "a\\b", "Straße", "Ζήτα")
CATEGORIES = (None, "", "Café", "CAFÉ", "Garden", "Kitchen tools")
rows = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "img_url": st.just("https://img.example.com/1.jpg"),
        "description": st.sampled_from((None, "", "Red wool", "whistles; ÉTÉ", "50_50")),
        "price": st.sampled_from((Decimal("0.00"), Decimal("9.99"), Decimal("10.00"))),
        "rating": st.integers(0, 2),
        "category": st.sampled_from(CATEGORIES),
        "status": st.sampled_from(tuple(Status)),
    }
)
sorts = st.lists(
    st.tuples(st.sampled_from(COLUMNS), st.booleans()), max_size=4, unique_by=lambda key: key[0]
)


def catalogue(app: Flask, *columns: Product) -> list[int]:
    """Empty the table, fill it with these products, and return their ids."""
    empty(app)
    with app.app_context(), transaction() as connection:
        return [
            connection.execute(insert(products).values(row).returning(products.c.id)).scalar_one()
            for row in columns
        ]


def listed(client: FlaskClient, **parameters: Any) -> list[Product]:
    return read(client.get("/products", query_string=urlencode(parameters, doseq=True)))


def read(response: TestResponse) -> list[Product]:
    assert response.status_code == 200, response.text
    found: list[Product] = json.loads(response.data, parse_float=Decimal)
    return found


def link(response: TestResponse, rel: str) -> str | None:
    for target in response.headers["Link"].split(", "):
        if target.endswith(f'; rel="{rel}"'):
            return target[1 : target.index(">")]
    return None


def in_order(found: list[Product], sort: list[tuple[str, bool]]) -> list[Product]:
    """Sort as the contract says: by code point, null beyond every value, ties by id."""
    for name, descends in reversed([*sort, ("id", False)]):
        found = sorted(
            found,
            key=lambda product: (
                product[name] is None,
                "" if product[name] is None else product[name],
            ),
            reverse=descends,
        )
    return found


def spelled(sort: list[tuple[str, bool]], *, repeated: bool = False) -> dict[str, Any]:
    keys = [f"{'-' if descends else ''}{name}" for name, descends in sort]
    return {"sort": keys if repeated else ",".join(keys)} if keys else {}


def ends(range_: str) -> list[Decimal]:
    """Return the first and the last of a range, or one number twice."""
    numbers = [parse_number(number) for number in range_.split("-")]
    return [numbers[0], numbers[-1]]


def is_in(number: Decimal | int, range_: str) -> bool:
    low, high = ends(range_)
    return low <= number <= high


def searched(product: Product) -> list[str]:
    texts = (product[name] for name in ("name", "description", "category"))
    return [search_key(text) for text in texts if text is not None]


MODEL: dict[str, Callable[[Product, Any], bool]] = {
    "q": lambda product, q: all(
        any(word in text for text in searched(product)) for word in search_key(q).split()
    ),
    "name": lambda product, part: search_key(part) in search_key(product["name"]),
    "category": lambda product, names: (
        "" in names
        if product["category"] is None
        else search_key(product["category"]) in [search_key(name) for name in names if name]
    ),
    "status": lambda product, names: product["status"] in [name.lower() for name in names],
    "price": lambda product, range_: is_in(product["price"], range_),
    "min_price": lambda product, price: product["price"] >= parse_number(price),
    "max_price": lambda product, price: product["price"] <= parse_number(price),
    "rating": lambda product, range_: is_in(product["rating"], range_),
    "min_rating": lambda product, rating: product["rating"] >= rating,
    "max_rating": lambda product, rating: product["rating"] <= rating,
    "id": lambda product, ids: str(product["id"]) in ",".join(ids).split(","),
}
VALUES: dict[str, tuple[Any, ...]] = {
    "q": ("", "É", "é kettle", "WOOL 100%", "0_", "strasse", "ζΉΤΑ", "x", "wool WOOL Wool"),
    "name": ("", "K", "É", "%", "_", "\\", "SS", "l_"),
    "category": ("", "café", "KITCHEN TOOLS", "%"),
    "status": ("active", "INACTIVE", "disabled"),
    "price": ("9.99", "0-9.99", "9.99-10", "10-10.00", "0.01-9.98"),
    "min_price": ("0", "9.99", "9.991", "1e1"),
    "max_price": ("0", "9.99", "9.999", "9999999999.99"),
    "rating": ("0", "1", "2.0", "0-1", "1-2", "2-2", "0-2147483647"),
    "min_rating": (0, 1, 2, 3),
    "max_rating": (0, 1, 2, 3),
    "id": ("1", "2", "7", "1,2", "2,9,12", "12,1,12"),
}
SEARCHES = ("é", "kettle", "wool 100%", "strasse", "e t", "zz")
REPEATABLE = ("category", "status", "id")
filters = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(st.sampled_from(values), max_size=3)
        if name in REPEATABLE
        else st.sampled_from(values)
        for name, values in VALUES.items()
    },
)


@pytest.mark.parametrize("name", VALUES)
def test_a_filter_is_what_it_says(app: Flask, name: str) -> None:
    columns = ("name", "category", "status", "rating", "price")
    prices = (Decimal("0.00"), Decimal("9.99"), Decimal("10.00"), Decimal("0.01"))
    endless: list[Iterable[Any]] = [CATEGORIES, Status, range(3), prices]
    values = zip(NAMES, *map(cycle, endless), strict=False)
    catalogue(app, *(product_row(**dict(zip(columns, row, strict=True))) for row in values))
    client = app.test_client()
    everything = listed(client)
    several = [[*some] for count in (1, 2) for some in combinations(VALUES[name], repeat=count)]

    for value in several if name in REPEATABLE else VALUES[name]:
        expected = [product for product in everything if MODEL[name](product, value)]
        assert listed(client, **{name: value}) == expected, value


@given(st.lists(rows, max_size=12), filters, sorts, st.booleans())
def test_a_list_is_what_its_parameters_say(
    app: Flask,
    catalog: list[Product],
    wanted: dict[str, Any],
    sort: list[tuple[str, bool]],
    repeated: bool,
) -> None:
    catalogue(app, *catalog)
    client = app.test_client()
    wanted = {name: value for name, value in wanted.items() if value != []}
    expected = in_order(
        [
            product
            for product in listed(client)
            if all(MODEL[name](product, value) for name, value in wanted.items())
        ],
        sort,
    )

    wanted |= spelled(sort, repeated=repeated)
    assert listed(client, **wanted) == expected
    assert listed(client, **wanted, limit=12) == expected

    counted = client.get(
        "/products", query_string=urlencode({**wanted, "count": "TRUE"}, doseq=True)
    )
    assert counted.headers["X-Total-Count"] == str(len(expected))


changes = st.one_of(
    st.tuples(st.just("insert"), rows),
    st.tuples(st.just("delete"), st.integers(0, 24)),
    st.tuples(st.just("update"), st.integers(0, 24), rows),
)


@given(st.lists(rows, max_size=20), sorts, st.integers(1, 6), st.lists(st.lists(changes)))
def test_following_next_meets_every_product_that_stayed_once_and_in_order(
    app: Flask,
    catalog: list[Product],
    sort: list[tuple[str, bool]],
    limit: int,
    between: list[list[tuple[Any, ...]]],
) -> None:
    catalogue(app, *catalog)
    client = app.test_client()
    stayed = {product["id"]: product for product in listed(client)}
    met: list[Product] = []
    url: str | None = "/products?" + urlencode({"limit": limit, **spelled(sort)})

    while url:
        response = client.get(url)
        met += read(response)
        url = link(response, "next")
        for change in between.pop() if between else []:
            stayed.pop(changed(app, *change), None)

    assert [product for product in met if product["id"] in stayed] == in_order(
        list(stayed.values()), sort
    )


def changed(app: Flask, kind: str, *what: Any) -> int:
    """Change the table past the pages; return the id of the product it was about."""
    with app.app_context(), transaction() as connection:
        if kind == "insert":
            connection.execute(insert(products).values(what[0]))
            return MAX_ID
        if kind == "delete":
            connection.execute(delete(products).where(products.c.id == what[0]))
        else:
            connection.execute(update(products).where(products.c.id == what[0]).values(what[1]))
        return int(what[0])


def test_a_page_says_where_the_next_and_the_first_are(app: Flask) -> None:
    catalogue(app, *(product_row() for _ in range(5)))
    client = app.test_client()

    first = client.get("/products?limit=2&category=caf%C3%A9&category=garden&category=kitchen")
    second = client.get(link(first, "next") or "")
    third = client.get(link(second, "next") or "")

    assert [p["id"] for page in (first, second, third) for p in read(page)] == [1, 2, 3, 4, 5]
    assert link(third, "next") is None
    assert read(client.get(link(third, "first") or "")) == read(first)
    assert link(first, "prev") is None


def test_a_page_that_is_just_full_has_no_next(app: Flask) -> None:
    catalogue(app, product_row(), product_row())

    assert link(app.test_client().get("/products?limit=2"), "next") is None


def test_an_offset_skips_and_leads_back_and_on(app: Flask) -> None:
    catalogue(app, *(product_row() for _ in range(7)))
    client = app.test_client()

    page = client.get("/products?limit=2&offset=3&sort=-id")

    assert [product["id"] for product in read(page)] == [4, 3]
    assert [p["id"] for p in read(client.get(link(page, "next") or ""))] == [2, 1]
    assert [p["id"] for p in read(client.get(link(page, "prev") or ""))] == [6, 5]
    assert [p["id"] for p in read(client.get(link(page, "first") or ""))] == [7, 6]
    assert link(client.get(link(page, "first") or ""), "prev") is None


def test_a_list_may_be_of_many_categories_and_of_many_ids(client: FlaskClient) -> None:
    client.post("/products", json=product_body(category="Kitchen"))
    categories = "&".join(f"category={number}" for number in range(99))
    ids = ",".join(str(number) for number in range(1, 101))

    assert client.get(f"/products?{categories}&category=&id={ids}&limit=9").get_json() == []
    found = client.get(f"/products?{categories}&category=kitchen&id={ids}&limit=9").get_json()
    assert [product["category"] for product in found] == ["Kitchen"]


@pytest.mark.parametrize(
    ("name", "separator"),
    [
        ("category", "&category="),
        ("status", "&status="),
        ("id", "&id="),
        ("id", ","),
        ("sort", "&sort="),
        ("sort", ","),
    ],
)
def test_a_parameter_has_at_most_a_hundred_values(
    sqlite_app: Flask, name: str, separator: str
) -> None:
    values = separator.join(["1"] * 101)

    response = sqlite_app.test_client().get(f"/products?limit=1&{name}={values}")

    assert faults(response) == [(name, "must have at most 100 values")]


def test_a_query_string_has_at_most_eight_kibibytes(sqlite_app: Flask) -> None:
    client = sqlite_app.test_client()
    longest = "q=%20" + "%20" * ((8192 - 5) // 3)

    assert client.get(f"/products?{longest.ljust(8192, '+')}").status_code == 400
    response = client.get(f"/products?{longest.ljust(8193, '+')}")
    assert response.status_code == 414
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["detail"] == "The query string is longer than 8192 bytes"


@pytest.mark.parametrize("count", [2, 3, 100])
def test_all_lists_of_one_filter_share_a_statement(count: int) -> None:
    def filter_of(numbers: int) -> tuple[str, ...]:
        values = [f"id={n + 1}&category={n}&status={tuple(Status)[n % 3]}" for n in range(numbers)]
        return parse("&".join(values).encode()).filter

    assert filter_of(count) == filter_of(2) != filter_of(1)


def plan_of(app: Flask, query: bytes) -> str:
    """Return how the database reads a page where it must not read the whole table or sort it."""
    listing = parse(query)
    page = statements.rows(listing.filter, listing.sort, None, skip=False)
    is_sqlite = backend(app) == "sqlite"
    with engine_of(app).connect() as connection:
        if not is_sqlite:
            for method in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
                connection.exec_driver_sql(f"SET enable_{method} = off")

        @event.listens_for(connection, "before_cursor_execute", retval=True)
        def explain(_: object, __: object, sql: str, values: object, *___: object) -> Any:
            return f"EXPLAIN {'QUERY PLAN' if is_sqlite else ''} {sql}", values

        plan = connection.execute(page, {**listing.values, "limit": 20}).all()
        connection.invalidate()
    return "\n".join(str(row[-1]) for row in plan)


@pytest.mark.parametrize("query", [b"category=x&sort=price", b"category=x&sort=-price&limit=9"])
def test_a_category_by_price_is_read_in_the_order_of_an_index(
    postgresql_app: Flask, query: bytes
) -> None:
    plan = plan_of(postgresql_app, query)

    assert re.search(r"Index Cond: .* = 'x'::", plan)
    assert "Sort" not in plan


@pytest.mark.parametrize(
    "query", [b"category=x&category=y&sort=price,name", b"id=1,2,3&sort=price"]
)
def test_one_of_several_values_is_found_by_an_index(postgresql_app: Flask, query: bytes) -> None:
    catalogue(postgresql_app, *(product_row(category=f"{number}") for number in range(1_000)))
    execute(postgresql_app, "ANALYZE products")

    assert re.search(r"Index Cond: .* = ANY", plan_of(postgresql_app, query))


def test_one_of_several_ids_is_found_by_its_key_on_sqlite(sqlite_app: Flask) -> None:
    assert "USING INTEGER PRIMARY KEY" in plan_of(sqlite_app, b"id=1,2,3&sort=price")


def test_variants_of_a_word_are_one_word(client: FlaskClient) -> None:
    client.post("/products", json=product_body(name="Étui"))
    variants = ["".join(letters) for letters in combinations(*("éÉ", "tT", "uU", "iI"))]

    assert len(client.get("/products", query_string={"q": " ".join(variants)}).get_json()) == 1
    assert parse(f"q={'+'.join(variants)}".encode()).filter == parse(b"q=x").filter


def test_a_search_has_at_most_ten_words(client: FlaskClient) -> None:
    words = [f"w{number}" for number in range(11)]
    client.post("/products", json=product_body(description=" ".join(words)))

    assert len(client.get(f"/products?q={'+'.join(words[:10])}").get_json()) == 1
    response = client.get(f"/products?q={'+'.join(words)}")
    assert faults(response) == [("q", "must have at most 10 different words")]


LONG_LINK = "must be shorter: with limit, the links to other pages exceed 3072 bytes"


def test_links_are_no_longer_than_proxies_take(app: Flask) -> None:
    longest = "\U0001f600" * 255
    catalogue(app, product_row(name=longest, category=longest), product_row())
    client = app.test_client()

    first = client.get("/products?limit=1&sort=-category,name")
    assert 2_800 < len(first.headers["Link"]) <= 3_072
    assert len(read(client.get(link(first, "next") or ""))) == 1
    ids = ",".join(str(MAX_ID - number) for number in range(98))
    refused = client.get(f"/products?limit=1&sort=-category,name&id=1,2,{ids}")
    assert faults(refused) == [("query", LONG_LINK)]


def test_an_offset_beyond_the_end_is_an_empty_page(client: FlaskClient) -> None:
    page = client.get("/products?limit=1&offset=2147483647&count=true")

    assert page.get_json() == []
    assert page.headers["X-Total-Count"] == "0"


def test_a_list_without_limit_has_no_link(client: FlaskClient) -> None:
    assert "Link" not in client.get("/products").headers


PIECE_PRODUCTS = 300


def test_a_stream_by_several_columns_sorts_once(app: Flask) -> None:
    """Products that are changed while it is read are neither missing nor there twice."""
    catalogue(app, *(product_row(rating=n % 3, status="active") for n in range(PIECE_PRODUCTS)))
    before = in_order(listed(app.test_client()), [("rating", True), ("name", False)])
    response = app.test_client().get("/products?status=active&sort=-rating,name", buffered=False)
    pieces = response.iter_encoded()
    first = next(pieces)
    moved, deleted, withdrawn = (before[place]["id"] for place in (-1, -2, -3))

    changed(app, "update", moved, {"rating": 3})
    changed(app, "delete", deleted)
    changed(app, "update", withdrawn, {"status": Status.DISABLED})
    changed(app, "insert", product_row(rating=3, status="active"))
    found = json.loads(b"".join([first, *pieces]))

    met = [product["id"] for product in found]
    assert met == [each["id"] for each in before if each["id"] not in {deleted, withdrawn}]
    assert (found[-1]["id"], found[-1]["rating"]) == (moved, 3)


def test_a_stream_by_several_columns_of_which_the_rest_is_deleted_ends(app: Flask) -> None:
    catalogue(app, *(product_row() for _ in range(PIECE_PRODUCTS)))
    pieces = app.test_client().get("/products?sort=name,price", buffered=False).iter_encoded()
    first = next(pieces)

    empty(app)

    found = json.loads(b"".join([first, *pieces]))
    assert 0 < len(found) < PIECE_PRODUCTS


def test_streams_by_several_columns_hold_bounded_memory(
    sqlite_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue(sqlite_app, *(product_row() for _ in range(PIECE_PRODUCTS)))
    monkeypatch.setattr(snapshots, "MAX_BYTES", 2 * 4 * PIECE_PRODUCTS)
    several = parse(b"sort=name,price")

    with sqlite_app.app_context():
        first, second = several.stream(), several.stream()
        with pytest.raises(ServiceUnavailable) as refused:
            several.stream()
        assert len(json.loads(b"".join(parse(b"sort=-name,id").stream()))) == PIECE_PRODUCTS
        assert len(json.loads(b"".join(first))) == PIECE_PRODUCTS
        third = several.stream()
        del second
        assert len(json.loads(b"".join(several.stream()))) == PIECE_PRODUCTS
        assert len(json.loads(b"".join(third))) == PIECE_PRODUCTS
    assert refused.value.retry_after


SORT_KEYS = (
    "must be id, name, price, rating, category or status, with a - prefix for descending order"
)
TWICE = "must have each column only once"
NO_PRICE = "must be a price such as 9.99, or a range such as 5-10"
NO_RATING = "must be a rating such as 4, or a range such as 2-4"
REVERSED = "must have the lower end of the range first"
DAMAGED = "must be a cursor from the Link header of a list with the same sort"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limt=5", [("limt", "is not a parameter; did you mean limit?")]),
        ("Sort=id", [("Sort", "is not a parameter; did you mean sort?")]),
        ("colour=red", [("colour", "is not a parameter")]),
        ("limit=0", [("limit", "must be at least 1")]),
        ("limit=1001", [("limit", "must be at most 1000")]),
        ("limit=ten", [("limit", "must be an integer")]),
        ("limit=", [("limit", "must be an integer")]),
        ("limit=1.5", [("limit", "must be an integer")]),
        ("limit=%D9%A3", [("limit", "must be an integer")]),
        ("limit=1_0", [("limit", "must be an integer")]),
        ("limit=1&limit=2", [("limit", "must be given only once")]),
        ("q=a&q=b", [("q", "must be given only once")]),
        ("offset=1", [("offset", "requires limit")]),
        ("cursor=x", [("cursor", "requires limit"), ("cursor", DAMAGED)]),
        ("limit=1&offset=-1", [("offset", "must be at least 0")]),
        ("limit=1&offset=2147483648", [("offset", "must be at most 2147483647")]),
        (
            "limit=1&offset=0&cursor=x",
            [("cursor", "must not be combined with offset"), ("cursor", DAMAGED)],
        ),
        ("price=cheap", [("price", NO_PRICE)]),
        ("price=-5", [("price", NO_PRICE)]),
        ("price=5-", [("price", NO_PRICE)]),
        ("price=1-2-3", [("price", NO_PRICE)]),
        ("price=1.999", [("price", NO_PRICE)]),
        ("price=10-5", [("price", REVERSED)]),
        ("price=10-9.99", [("price", REVERSED)]),
        ("min_price=-1", [("min_price", "must be at least 0")]),
        ("max_price=1e400", [("max_price", "must be at most 9999999999.99")]),
        ("max_price=NaN", [("max_price", "must be a number")]),
        ("rating=4.5", [("rating", NO_RATING)]),
        ("rating=", [("rating", NO_RATING)]),
        ("rating=-1", [("rating", NO_RATING)]),
        ("rating=%D9%A3", [("rating", NO_RATING)]),
        ("rating=4-2", [("rating", REVERSED)]),
        ("rating=0-2147483648", [("rating", "must be at most 2147483647")]),
        ("rating=2147483648", [("rating", "must be at most 2147483647")]),
        ("max_rating=-1", [("max_rating", "must be at least 0")]),
        ("max_rating=1&max_rating=1", [("max_rating", "must be given only once")]),
        ("min_rating=2147483648", [("min_rating", "must be at most 2147483647")]),
        ("id=1&id=0", [("id", "must be at least 1")]),
        ("id=a", [("id", "must be an integer")]),
        ("id=", [("id", "must be an integer")]),
        ("id=1,,2", [("id", "must be an integer")]),
        ("id=1,2&id=3,x", [("id", "must be an integer")]),
        ("status=gone", [("status", "must be 'active', 'disabled' or 'inactive'")]),
        ("sort=colour", [("sort", SORT_KEYS)]),
        ("sort=", [("sort", SORT_KEYS)]),
        ("sort=name&sort=", [("sort", SORT_KEYS)]),
        ("sort=name,price,-name", [("sort", TWICE)]),
        ("sort=price&sort=price", [("sort", TWICE)]),
        ("sort=id,-id", [("sort", TWICE)]),
        ("count=yes", [("count", "must be true, false or estimated")]),
        ("q=%00", [("q", "must not contain U+0000")]),
        ("name=%FF", [("name", "must be Unicode, without unpaired surrogates")]),
        ("category=" + "x" * 256, [("category", "must have at most 255 characters")]),
        (
            "limit=0&rating=x&colour=red",
            [
                ("colour", "is not a parameter"),
                ("rating", NO_RATING),
                ("limit", "must be at least 1"),
            ],
        ),
        (
            "limit=0&sort=price&cursor=x&foo=1",
            [
                ("foo", "is not a parameter"),
                ("limit", "must be at least 1"),
                ("cursor", DAMAGED),
            ],
        ),
        ("limit=1&sort=prices&cursor=x", [("sort", SORT_KEYS)]),
        ("id=1&id=0&id=-1", [("id", "must be at least 1"), ("id", "must be at least 1")]),
    ],
)
def test_a_bad_parameter_is_refused_by_name(
    sqlite_app: Flask, query: str, expected: list[tuple[str, str]]
) -> None:
    assert faults(sqlite_app.test_client().get(f"/products?{query}")) == expected


def faults(response: TestResponse) -> list[tuple[str, str]]:
    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    errors = response.get_json()["errors"]
    return [(fault["parameter"], fault["detail"]) for fault in errors]


@pytest.mark.parametrize("count", ["true", "True", "TRUE", "tRuE", "false", "False", "FALSE"])
def test_a_boolean_is_read_in_any_case(sqlite_app: Flask, count: str) -> None:
    response = sqlite_app.test_client().get(f"/products?count={count}")

    assert ("X-Total-Count" in response.headers) == (count.lower() == "true")


@given(st.lists(rows, max_size=24), st.sampled_from(SEARCHES), sorts, st.integers(2, 6))
def test_a_search_meets_every_match_in_order_however_far_it_looks(
    app: Flask, catalog: list[Product], q: str, sort: list[tuple[str, bool]], limit: int
) -> None:
    catalogue(app, *catalog)
    client = app.test_client()
    expected = in_order([p for p in listed(client) if MODEL["q"](p, q)], sort)
    met: list[Product] = []
    url: str | None = "/products?" + urlencode({"q": q, "limit": limit, **spelled(sort)})

    with pytest.MonkeyPatch.context() as near:
        near.setattr(listing, "FIRST_NEAR", 3)
        near.setattr(listing, "MAX_NEAR", 12)
        near.setattr(listing, "NEAR_PER_ROW", 1)
        while url:
            response = client.get(url)
            met += read(response)
            url = link(response, "next")

    assert met == expected


@pytest.mark.parametrize(
    ("matching", "count", "precision"),
    [(0, "0", "exact"), (60, "60", "exact"), (61, "61", "estimated"), (300, "300", "estimated")],
)
def test_an_estimated_count_is_exact_up_to_a_number(
    app: Flask, monkeypatch: pytest.MonkeyPatch, matching: int, count: str, precision: str
) -> None:
    monkeypatch.setattr(listing, "MAX_COUNTED", 60)
    others = [product_row(name="Lamp", description=None, category=None)] * (400 - matching)
    catalogue(app, *others, *[product_row(name="Kettle")] * matching)
    client = app.test_client()

    for query in ("q=kettle&limit=10", "name=ettl", "q=kettle&limit=10&offset=10"):
        headers = client.get(f"/products?{query}&count=estimated").headers
        assert (headers["X-Total-Count"], headers["X-Total-Count-Precision"]) == (count, precision)
        exact = client.get(f"/products?{query}&count=true").headers
        assert exact["X-Total-Count"] == str(matching)
        assert "X-Total-Count-Precision" not in exact


@pytest.mark.parametrize("every", [2, 4, 10])
def test_an_estimate_of_a_part_of_the_products_is_right_within_a_fifth(
    app: Flask, every: int
) -> None:
    count = 12_000
    with app.app_context(), transaction() as connection:
        plain = product_row(name="Lamp", description=None, category=None)
        red = plain | {"name": "Red lamp"}
        insert_rows(connection, products, [plain if n % every else red for n in range(count)])

    headers = app.test_client().get("/products?q=red&limit=1&count=Estimated").headers

    assert headers["X-Total-Count-Precision"] == "estimated"
    assert abs(int(headers["X-Total-Count"]) - count / every) < count / every / 5


def test_at_most_a_hundred_faults_of_a_query_are_named(sqlite_app: Flask) -> None:
    names = ["limti", "x" * 101, *(f"p{number}" for number in range(998))]

    response = sqlite_app.test_client().get(f"/products?{'&'.join(names)}")

    named = faults(response)
    assert len(named) == 100
    assert named[:2] == [
        ("limti", "is not a parameter; did you mean limit?"),
        ("x" * 99 + "…", "is not a parameter"),
    ]
    assert response.get_json()["detail"].endswith("p97 is not a parameter; and 900 more errors")


BY_NAME = (("name", False), ("id", False))
CURSOR = cursor.encode(("Kettle", 7), BY_NAME)


def test_a_cursor_is_short_and_gives_its_place_back() -> None:
    assert len(CURSOR) < 32
    assert cursor.decode(CURSOR, BY_NAME) == ("Kettle", 7)


@pytest.mark.parametrize(
    "cursor",
    [
        *(CURSOR[:i] + ("A" if CURSOR[i] != "A" else "B") + CURSOR[i + 1 :] for i in range(9)),
        CURSOR[:-1],
        CURSOR + "A",
        CURSOR + "=",
        "",
        "é",
        cursor.encode(("Kettle", 7), (("name", True), ("id", False))),
        cursor.encode((7,), (("id", False),)),
        cursor.encode((7, 7), BY_NAME),
        cursor.encode(("Kettle", 0), BY_NAME),
        cursor.encode(("a\0b", 7), BY_NAME),
        cursor.encode(([[]] * 3, 7), BY_NAME),
    ],
)
def test_a_damaged_or_foreign_cursor_is_refused(sqlite_app: Flask, cursor: str) -> None:
    query = f"limit=1&sort=name&cursor={quote(cursor)}"

    assert faults(sqlite_app.test_client().get(f"/products?{query}")) == [("cursor", DAMAGED)]
