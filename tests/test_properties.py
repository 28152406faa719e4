"""Whatever is acceptable comes back exactly; whatever is not changes nothing."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from service.database.text import is_visible
from tests.factories import product_body
from tests.helpers import on_sqlite_only

MEMBERS = {"id", "name", "img_url", "description", "price", "rating", "category", "status"}
STATUSES = ("active", "inactive", "disabled")
DEFAULTS = {"description": None, "rating": 0, "category": None, "status": "active"}
NULL_IS_DEFAULT_IN_PATCH = {"rating", "status"}
MAX_CENTS = 999_999_999_999
MAX_RATING = 2**31 - 1
JSON = "application/json"


def text(most: int, least: int = 0) -> st.SearchStrategy[str]:
    """Any Unicode that can be stored."""
    storable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(storable, min_size=least, max_size=most)


def visible(most: int) -> st.SearchStrategy[str]:
    return text(most, least=1).filter(is_visible)


def in_any_case(word: str) -> st.SearchStrategy[str]:
    letters = [st.sampled_from([letter, letter.upper()]) for letter in word]
    return st.tuples(*letters).map("".join)


BODIES = st.fixed_dictionaries(
    {
        "name": visible(255),
        "img_url": visible(2048),
        "price": st.integers(0, MAX_CENTS).map(lambda cents: cents / 100),
    },
    optional={
        "description": st.none() | text(10_000),
        "rating": st.integers(0, MAX_RATING),
        "category": st.none() | text(255),
        "status": st.sampled_from(STATUSES).flatmap(in_any_case),
    },
)


def unstorable(most: int) -> st.SearchStrategy[str]:
    """Text that is too long, or has a NUL or half of a surrogate pair in it."""
    spoilt = st.tuples(text(100), st.sampled_from("\0\ud800\udfff"), text(100)).map("".join)
    letters = st.characters(exclude_categories=["Cs", "Zs"], exclude_characters="\0")
    too_long = st.tuples(letters, st.integers(most + 1, 2 * most))
    return spoilt | too_long.map(lambda case: case[0] * case[1])


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NO_SCALARS = st.lists(NUMBERS) | st.dictionaries(text(9), NUMBERS)
NO_STRINGS = NUMBERS | st.booleans() | NO_SCALARS
NO_NUMBERS = st.booleans() | text(20) | st.integers().map(str) | NO_SCALARS
BLANK = st.text(" \t\n\u00a0\u2003\u3000\u200b\u2060\u0378", max_size=20)

BAD_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.none() | NO_STRINGS | BLANK | unstorable(255),
    "img_url": st.none() | NO_STRINGS | BLANK | unstorable(2048),
    "description": NO_STRINGS | unstorable(10_000),
    "price": st.none()
    | NO_NUMBERS
    | st.integers(max_value=-1)
    | st.floats(max_value=-1e-9, allow_infinity=False)
    | st.integers(min_value=MAX_CENTS // 100 + 1)
    | st.integers(0, 10**9).map(lambda n: (10 * n + 5) / 1000),
    "rating": st.none()
    | NO_NUMBERS
    | st.integers(max_value=-1)
    | st.integers(min_value=MAX_RATING + 1)
    | st.integers(0, MAX_RATING).map(lambda n: n + 0.5),
    "category": NO_STRINGS | unstorable(255),
    "status": st.none() | NO_STRINGS | text(20).filter(lambda word: word.lower() not in STATUSES),
}


@st.composite
def bad_bodies(draw: st.DrawFn, method: str) -> tuple[str, str]:
    """One member that is bad, unknown or there twice, and a body that is good but for it."""
    good = draw(BODIES)
    kind = draw(st.sampled_from(["bad", "unknown", "twice"]))
    if kind == "bad":
        member = draw(st.sampled_from(sorted(BAD_VALUES)))
        value = draw(BAD_VALUES[member])
        if method == "PATCH" and member in NULL_IS_DEFAULT_IN_PATCH and value is None:
            value = "null"
        return member, json.dumps(good | {member: value})
    if kind == "unknown":
        member = draw(text(20).filter(lambda name: name not in MEMBERS))
        return member, json.dumps(good | {member: draw(NO_STRINGS | text(9))})
    member = draw(st.sampled_from(sorted(good)))
    return member, json.dumps(good)[:-1] + f", {json.dumps(member)}: {json.dumps(good[member])}}}"


def created(app: Flask, body: dict[str, Any]) -> bytes:
    """Create a product; return it as it is read, without its id."""
    client = app.test_client()
    response = client.post("/products", json=body)
    assert response.status_code == 201, response.text
    product_id = response.get_json()["id"]
    product: bytes = client.get(f"/products/{product_id}").data
    assert product == response.data

    expected = {"id": product_id, **DEFAULTS, **body}
    expected["status"] = expected["status"].lower()
    assert json.loads(product) == expected
    return product.split(str(product_id).encode(), 1)[1]


@given(body=BODIES)
def test_any_acceptable_product_comes_back_exactly_and_alike_on_both_databases(
    sqlite_app: Flask, postgresql_app: Flask, body: dict[str, Any]
) -> None:
    assert created(sqlite_app, body) == created(postgresql_app, body)


@pytest.fixture
def stocked(client: FlaskClient) -> FlaskClient:
    """Create product 1."""
    assert client.post("/products", json=product_body()).get_json()["id"] == 1
    return client


@on_sqlite_only
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/products"), ("PUT", "/products/1"), ("PATCH", "/products/1")]
)
@given(data=st.data())
def test_any_bad_member_is_refused_by_name_and_changes_nothing(
    stocked: FlaskClient, method: str, path: str, data: st.DataObject
) -> None:
    member, body = data.draw(bad_bodies(method))
    before = stocked.get("/products").data

    response = stocked.open(path, method=method, data=body, content_type=JSON)

    assert response.status_code == 400, response.text
    pointer = "/" + member.replace("~", "~0").replace("/", "~1")
    assert {fault["pointer"] for fault in response.get_json()["errors"]} == {pointer}
    assert stocked.get("/products").data == before
