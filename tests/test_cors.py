"""What pages of other origins are told: nothing, until their origin is named."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service import create_app
from tests.factories import product_body

SHOP = "https://shop.example.com"
OFFICE = "http://localhost:3000"
TOKEN = "x" * 43
EXPOSED = {
    "Content-Disposition",
    "ETag",
    "Idempotent-Replayed",
    "Link",
    "Location",
    "Retry-After",
    "X-Data-Age",
    "X-Request-ID",
    "X-Total-Count",
    "X-Total-Count-Precision",
}


@pytest.fixture
def client(sqlite_app: Flask) -> FlaskClient:
    """Give a client of a service with one product, two origins and a token."""
    assert sqlite_app.test_client().post("/products", json=product_body()).status_code == 201
    settings = {
        "DATABASE_URI": sqlite_app.config["DATABASE_URI"],
        "CORS_ORIGINS": f"{SHOP.upper()},{OFFICE}",
        "API_TOKENS": f"shop={TOKEN}",
    }
    return create_app(settings).test_client()


def cors_headers(response: TestResponse) -> set[str]:
    return {name for name, _ in response.headers if name.startswith("Access-Control-")}


def members(response: TestResponse, header: str) -> set[str]:
    return {member.strip() for member in response.headers[header].split(",")}


@pytest.mark.parametrize("origin", [SHOP, OFFICE])
@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/products", 200),
        ("GET", "/products/1", 200),
        ("GET", "/products/2", 404),
        ("GET", "/products?nonsense=1", 400),
        ("POST", "/products", 401),
        ("GET", "/nothing", 404),
    ],
)
def test_a_page_of_a_named_origin_may_read_every_answer(
    client: FlaskClient, origin: str, method: str, path: str, code: int
) -> None:
    response = client.open(path, method=method, headers={"Origin": origin})

    assert response.status_code == code
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert members(response, "Access-Control-Expose-Headers") == EXPOSED
    assert "Origin" in response.vary
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "*"},
        {"Origin": "http://shop.example.com"},
        {"Origin": "https://shop.example.com.evil.example"},
        {"Origin": "https://shop.example.com:8443"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_no_other_page_may(client: FlaskClient, headers: dict[str, str], method: str) -> None:
    asked = {"Access-Control-Request-Method": "PUT"} if method == "OPTIONS" else {}

    response = client.open("/products/1", method=method, headers={**headers, **asked})

    assert response.status_code == 200
    assert cors_headers(response) == set()
    assert "Origin" in response.vary  # or a cache would give it to the pages that may


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/products"),
        ("PUT", "/products/1"),
        ("PATCH", "/products/1"),
        ("DELETE", "/products/1"),
    ],
)
def test_a_preflight_allows_a_write_with_its_headers(
    client: FlaskClient, method: str, path: str
) -> None:
    asked = {
        "Origin": SHOP,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,if-match",
    }

    preflight = client.options(path, headers=asked)
    write = client.open(
        path,
        method=method,
        json=product_body(),
        headers={"Origin": SHOP, "Authorization": f"Bearer {TOKEN}", "If-Match": "*"},
    )

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == SHOP
    assert method in members(preflight, "Access-Control-Allow-Methods")
    allowed = {name.lower() for name in members(preflight, "Access-Control-Allow-Headers")}
    assert allowed >= {"authorization", "content-type", "if-match", "if-none-match"}
    assert preflight.headers["Allow"]
    assert write.status_code in (200, 201, 204)
    assert write.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_without_origins_nothing_is_said_of_them(sqlite_app: Flask, method: str) -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "PUT"}

    response = sqlite_app.test_client().open("/products", method=method, headers=asked)

    assert response.status_code == 200
    assert cors_headers(response) == set()
    assert "Vary" not in response.headers
