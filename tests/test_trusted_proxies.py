"""What is believed of the headers that trusted proxies set."""

import json

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from service import create_app
from tests.helpers import logged

LONG = 60_000
PEER = "127.0.0.1"


@pytest.fixture
def client(sqlite_app: Flask) -> FlaskClient:
    """Give a client of a service behind one proxy."""
    uri = sqlite_app.config["DATABASE_URI"]
    return create_app({"DATABASE_URI": uri, "TRUSTED_PROXIES": "1"}).test_client()


@pytest.mark.parametrize(
    ("reported", "scheme"),
    [
        ("http", "http"),
        ("HTTPS", "https"),
        ("ws", "http"),
        ("wss", "https"),
        ("https, ws", "http"),
        ("ws, https", "https"),
        ("", "http"),
        (",", "http"),
        ("ftp", "http"),
        ("javascript", "http"),
        ("https://", "http"),
        ("\xe9", "http"),
        ("s" * LONG, "http"),
    ],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("path", ["/products?limit=1", "/", "/nothing", "/health"])
def test_a_scheme_is_that_of_http_whatever_is_reported(
    client: FlaskClient, path: str, reported: str, scheme: str
) -> None:
    response = client.get(path, headers={"X-Forwarded-Proto": reported})

    assert response.status_code == (404 if path == "/nothing" else 200)
    link = response.headers.get("Link", f"<{scheme}://localhost/>")
    assert link.startswith(f"<{scheme}://localhost/")


def test_each_proxy_may_send_a_header_of_its_own(client: FlaskClient) -> None:
    headers = Headers([("X-Forwarded-Proto", "ftp"), ("X-Forwarded-Proto", "wss")])

    assert client.get("/products?limit=1", headers=headers).headers["Link"].startswith("<https:")


@pytest.mark.parametrize(
    ("reported", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ('"[2001:db8::7]:4711"', "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("", PEER),
        ("unknown", PEER),
        ("198.51.100.777", PEER),
        ("198.51.100.7:", PEER),
        ("198.51.100.7\n", PEER),
        ("\xe9", PEER),
        ("1" * LONG, PEER),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_client_has_an_address_whatever_is_reported(
    client: FlaskClient, reported: str, address: str
) -> None:
    with logged(client.application) as lines:
        response = client.get(
            "/health", environ_overrides={"HTTP_X_FORWARDED_FOR": reported}, buffered=True
        )
        (line,) = map(json.loads, lines.getvalue().splitlines())

    assert (response.status_code, line["client"]) == (200, address)


@pytest.mark.parametrize(
    "reported", ["a b", "a/b", "a:b", "a:123456", "[::1", "\xe9", ":80", "a" * LONG]
)
@pytest.mark.parametrize("path", ["/products", "/nothing", "/health"])
def test_a_host_that_is_none_is_refused(client: FlaskClient, path: str, reported: str) -> None:
    response = client.get(path, headers={"X-Forwarded-Host": reported})

    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
