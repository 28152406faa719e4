"""Facets: the counts of statuses and categories, and the range of prices, of a filter."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from service.database import transaction
from service.models import Status, products
from tests.factories import product_row
from tests.helpers import empty

FACETS = "/products/facets"
SHOES = (
    {"name": "Red boot", "category": "Shoes", "price": 49.5, "status": "active", "rating": 5},
    {"name": "Red clog", "category": "Shoes", "price": 0.99, "status": "inactive", "rating": 3},
    {"name": "Blue clog", "category": "shoes", "price": 20, "status": "active", "rating": 1},
    {"name": "Red scarf", "category": "Scarves", "price": 499, "status": "active", "rating": 4},
    {"name": "Red lace", "category": None, "price": 1, "status": "disabled", "rating": 0},
    {"name": "Blue lace", "category": "", "price": 2, "status": "active", "rating": 0},
)


def fill(app: Flask, *rows: dict[str, Any]) -> FlaskClient:
    """Leave these products in the table alone."""
    empty(app)
    with app.app_context(), transaction() as connection:
        connection.execute(insert(products), [product_row(description=None) | row for row in rows])
    return app.test_client()


@pytest.fixture
def shoes(app: Flask) -> FlaskClient:
    return fill(app, *({**row, "status": Status(str(row["status"]))} for row in SHOES))


def read(client: FlaskClient, query: str = "") -> dict[str, Any]:
    response = client.get(f"{FACETS}?{query}")
    assert response.status_code == 200, response.text
    facets: dict[str, Any] = response.get_json()
    return facets


def test_without_a_filter_all_products_are_counted(shoes: FlaskClient) -> None:
    assert read(shoes) == {
        "total": 6,
        "status": {"active": 4, "inactive": 1, "disabled": 1},
        "category": [
            {"value": "Shoes", "count": 2},
            {"value": "", "count": 1},
            {"value": "Scarves", "count": 1},
            {"value": "shoes", "count": 1},
            {"value": None, "count": 1},
        ],
        "price": {"min": 0.99, "max": 499.0},
    }


def test_a_price_is_written_with_a_decimal_point(shoes: FlaskClient) -> None:
    assert '"price": {"min": 0.99, "max": 499.0}' in shoes.get(FACETS).text


@pytest.mark.parametrize(
    ("query", "total", "statuses", "categories", "price"),
    [
        ("q=red", 4, (2, 1, 1), {"Shoes": 2, "Scarves": 1, None: 1}, (0.99, 499)),
        ("q=red&status=active", 2, (2, 1, 1), {"Shoes": 1, "Scarves": 1}, (49.5, 499)),
        (
            "q=red&status=active&status=disabled",
            3,
            (2, 1, 1),
            {"Shoes": 1, "Scarves": 1, None: 1},
            (1, 499),
        ),
        (
            "q=red&category=SHOES",
            2,
            (1, 1, 0),
            {"Shoes": 2, "Scarves": 1, None: 1},
            (0.99, 49.5),
        ),
        ("q=red&min_price=40", 2, (2, 0, 0), {"Shoes": 1, "Scarves": 1}, (0.99, 499)),
        ("q=red&price=0.99-49.5", 3, (1, 1, 1), {"Shoes": 2, None: 1}, (0.99, 499)),
        ("q=red&min_rating=4", 2, (2, 0, 0), {"Shoes": 1, "Scarves": 1}, (49.5, 499)),
        ("category=shoes&status=inactive&max_price=1", 1, (0, 1, 0), {"Shoes": 1}, (0.99, 0.99)),
        ("name=boot&status=disabled", 0, (1, 0, 0), {}, None),
        ("q=nothing", 0, (0, 0, 0), {}, None),
    ],
)
def test_each_facet_counts_as_if_its_own_filter_were_not_set(
    shoes: FlaskClient,
    query: str,
    total: int,
    statuses: tuple[int, int, int],
    categories: dict[str | None, int],
    price: tuple[float, float] | None,
) -> None:
    facets = read(shoes, query)

    assert facets["total"] == total
    assert tuple(map(facets["status"].get, ("active", "inactive", "disabled"))) == statuses
    assert {each["value"]: each["count"] for each in facets["category"]} == categories
    assert facets["price"] == (price and {"min": price[0], "max": price[1]})


def test_free_products_have_a_price(app: Flask) -> None:
    assert read(fill(app, {"price": 0}))["price"] == {"min": 0.0, "max": 0.0}


def test_up_to_100_categories_are_listed(app: Flask) -> None:
    rare = [{"category": f"Rare {number:03}"} for number in range(100)]
    client = fill(app, *rare, {"category": "zz"}, {"category": "zz"}, {"category": None})

    listed = [each["value"] for each in read(client)["category"]]

    assert listed == ["zz", *(row["category"] for row in rare[:99])]


rows = st.fixed_dictionaries(
    {
        "price": st.sampled_from((0, 5, 9.99)),
        "category": st.sampled_from((None, "", "Café", "CAFÉ", "Garden")),
        "status": st.sampled_from(tuple(Status)),
    }
)


@given(
    catalogue=st.lists(rows, min_size=1, max_size=12),
    status=st.sampled_from((None, "active", "disabled")),
    lowest=st.sampled_from((None, "5")),
    category=st.sampled_from((None, "café")),
)
def test_a_facet_counts_what_the_list_finds_when_it_is_chosen(
    app: Flask,
    catalogue: list[dict[str, Any]],
    status: str | None,
    lowest: str | None,
    category: str | None,
) -> None:
    client = fill(app, *catalogue)
    chosen = {"status": status, "min_price": lowest, "category": category}
    chosen = {name: value for name, value in chosen.items() if value is not None}

    def found(**changed: str) -> list[dict[str, Any]]:
        products: list[dict[str, Any]] = client.get(
            "/products", query_string={**chosen, **changed}
        ).get_json()
        return products

    facets = client.get(FACETS, query_string=chosen).get_json()

    assert facets["total"] == len(found())
    for value, count in facets["status"].items():
        assert count == len(found(status=value))
    for facet in facets["category"]:
        if facet["value"]:
            same = [
                each
                for each in found(category=facet["value"])
                if each["category"] == facet["value"]
            ]
            assert facet["count"] == len(same)


@pytest.mark.parametrize(
    "parameter", ["sort=name", "limit=5", "offset=1", "cursor=x", "count=true"]
)
def test_what_is_no_filter_is_refused(sqlite_app: Flask, parameter: str) -> None:
    response = sqlite_app.test_client().get(f"{FACETS}?{parameter}")

    assert response.status_code == 400
    assert response.get_json()["errors"] == [
        {"parameter": parameter.partition("=")[0], "detail": "is not a filter"}
    ]


def test_a_faulty_filter_is_refused_by_name(sqlite_app: Flask) -> None:
    response = sqlite_app.test_client().get(f"{FACETS}?min_price=cheap")

    assert response.get_json()["errors"] == [
        {"parameter": "min_price", "detail": "must be a number"}
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_facets_cannot_be_written(sqlite_app: Flask, method: str) -> None:
    response = sqlite_app.test_client().open(FACETS, method=method, json={})

    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
