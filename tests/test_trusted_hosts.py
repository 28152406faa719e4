"""Which hosts the service answers for."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service import create_app
from tests.factories import product_body

paths = pytest.mark.parametrize(
    "path", ["/products", "/products/1", "/openapi.json", "/", "/nothing"]
)
MALFORMED = [
    "",
    "web_1:8000",
    "a b",
    "shop.example.com:x",
    "<b>",
    "a/b",
    "a,b",
    "[::1",
    "a:123456",
    "é",
]


@pytest.fixture
def client(sqlite_app: Flask) -> FlaskClient:
    """Give a client of a service with two trusted hosts and all below a third."""
    hosts = "products, Shop.example.com,.example.org"
    uri = sqlite_app.config["DATABASE_URI"]
    return create_app({"DATABASE_URI": uri, "TRUSTED_HOSTS": hosts}).test_client()


@pytest.mark.parametrize(
    "host",
    [
        "products",
        "products:8080",
        "example.org",
        "shop.example.com",
        "SHOP.EXAMPLE.COM:80",
        "a.b.example.org",
    ],
)
def test_it_answers_for_its_names(client: FlaskClient, host: str) -> None:
    response = client.post("/products", json=product_body(), headers={"Host": host})

    assert response.status_code == 201
    assert client.get(response.headers["Location"]).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "10.0.0.7:8000",
        "[::1]:8000",
        "example.com",
        "a.shop.example.com",
        "shop.example.com.evil.example",
        "evilexample.org",
    ],
)
@paths
def test_it_answers_for_no_other(client: FlaskClient, host: str, path: str) -> None:
    response = client.get(path, headers={"Host": host})

    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
    assert response.get_json()["detail"] == "Host is not one of TRUSTED_HOSTS"


@pytest.mark.parametrize("host", MALFORMED)
@paths
def test_it_answers_for_no_nameless_one(client: FlaskClient, host: str, path: str) -> None:
    response = client.get(path, environ_overrides={"HTTP_HOST": host})

    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
    assert response.get_json()["detail"] == "Host is missing or malformed"


@pytest.mark.parametrize(
    ("scheme", "host", "link"),
    [
        ("http", "shop:8000", "http://shop:8000/products"),
        ("http", "shop:80", "http://shop/products"),
        ("https", "[::1]:443", "https://[::1]/products"),
        ("https", "shop.example.com:80", "https://shop.example.com:80/products"),
    ],
)
def test_addresses_have_the_host_that_was_asked_for(
    sqlite_app: Flask, scheme: str, host: str, link: str
) -> None:
    response = sqlite_app.test_client().get(
        "/products?limit=1", headers={"Host": host}, environ_overrides={"wsgi.url_scheme": scheme}
    )

    assert response.headers["Link"].startswith(f"<{link}?limit=1")


@pytest.mark.parametrize("host", ["10.0.0.7:8000", "localhost", "shop.example.com"])
def test_probes_come_by_any_name(client: FlaskClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["anything.example", "10.0.0.7"])
def test_without_names_it_answers_for_all(sqlite_app: Flask, host: str) -> None:
    response = sqlite_app.test_client().get("/products", headers={"Host": host})

    assert response.status_code == 200


WRITES = [("POST", "/products"), *((m, "/products/1") for m in ("PUT", "PATCH", "DELETE"))]
PUBLIC = [
    "shop.example.com",
    "SHOP.EXAMPLE.COM:8000",
    "shop.example.com.",
    "10.0.0.7.nip.example",
    "localhost.example.com",
    "svc.example.com",
    "localhost.com:8000",
]
LOCAL = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.",
    "app.localhost:8000",
    "127.0.0.1",
    "10.0.0.7:8000",
    "127.1",
    "[::1]",
    "[2001:db8::7]:8000",
    "products",
    "products-svc:8000",
    "products.default.svc",
    "products.default.svc.cluster.local:80",
]
TOKEN = "t" * 43


def own_client(app: Flask, **settings: str) -> FlaskClient:
    return create_app({"DATABASE_URI": app.config["DATABASE_URI"], **settings}).test_client()


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_name_that_anybody_may_own_is_not_written_to_without_tokens(
    sqlite_app: Flask, method: str, path: str, host: str
) -> None:
    client = own_client(sqlite_app)

    response = client.open(path, method=method, json=product_body(), headers={"Host": host})

    assert (response.status_code, response.mimetype) == (403, "application/problem+json")
    assert "set API_TOKENS, or add the host to TRUSTED_HOSTS" in response.get_json()["detail"]
    assert client.get("/products", headers={"Host": host}).get_json() == []


@pytest.mark.parametrize("host", LOCAL)
def test_a_name_that_nobody_can_own_is_written_to(sqlite_app: Flask, host: str) -> None:
    response = own_client(sqlite_app).post("/products", json=product_body(), headers={"Host": host})

    assert response.status_code == 201


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"TRUSTED_HOSTS": ".example.com"}, {}),
        ({"API_TOKENS": f"shop={TOKEN}"}, {"Authorization": f"Bearer {TOKEN}"}),
    ],
    ids=["trusted", "token"],
)
def test_a_public_name_is_written_to_with_either_setting(
    sqlite_app: Flask, settings: dict[str, str], headers: dict[str, str]
) -> None:
    response = own_client(sqlite_app, **settings).post(
        "/products", json=product_body(), headers={"Host": "shop.example.com", **headers}
    )

    assert response.status_code == 201


def test_the_name_that_counts_is_the_one_that_a_proxy_was_asked_for(sqlite_app: Flask) -> None:
    client = own_client(sqlite_app, TRUSTED_PROXIES="1")

    response = client.post(
        "/products", json=product_body(), headers={"X-Forwarded-Host": "shop.example.com"}
    )

    assert response.status_code == 403
