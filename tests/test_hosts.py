"""By which names the service may be asked for."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service import create_app
from tests.factories import product_body


@pytest.fixture
def client(sqlite_app: Flask) -> FlaskClient:
    """Give a client of a service that goes by two names and all below a third."""
    hosts = "products, Shop.example.com,.example.org"
    uri = sqlite_app.config["DATABASE_URI"]
    return create_app({"DATABASE_URI": uri, "TRUSTED_HOSTS": hosts}).test_client()


@pytest.mark.parametrize(
    "host",
    ["products", "products:8080", "shop.example.com", "SHOP.EXAMPLE.COM:80", "a.b.example.org"],
)
def test_it_answers_for_its_names(client: FlaskClient, host: str) -> None:
    response = client.post("/products", json=product_body(), headers={"Host": host})

    assert response.status_code == 201
    assert client.get(response.headers["Location"]).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "10.0.0.7:8000",
        "[::1]:8000",
        "example.com",
        "a.shop.example.com",
        "shop.example.com.evil.example",
        "evilexample.org",
        "shop.example.com:x",
        "a b",
    ],
)
@pytest.mark.parametrize("path", ["/products", "/products/1", "/openapi.json", "/", "/nothing"])
def test_it_answers_for_no_other(client: FlaskClient, host: str, path: str) -> None:
    response = client.get(path, headers={"Host": host})

    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
    assert response.get_json()["detail"] == "The service does not go by the name in Host"


@pytest.mark.parametrize("host", ["10.0.0.7:8000", "localhost", "shop.example.com"])
def test_probes_come_by_any_name(client: FlaskClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["anything.example", "10.0.0.7"])
def test_without_names_it_answers_for_all(sqlite_app: Flask, host: str) -> None:
    response = sqlite_app.test_client().get("/products", headers={"Host": host})

    assert response.status_code == 200
