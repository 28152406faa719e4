"""Preconditions: nobody overwrites what they have not seen."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.factories import product_body
from tests.helpers import DATABASES, app_with_tables, on_sqlite_only, postgresql_database
from tests.server import Server, serving

WRITERS = 8
ROUNDS = 400


@pytest.fixture
def tag(client: FlaskClient) -> str:
    """Create product 1; give its ETag."""
    return client.post("/products", json=product_body(rating=0)).headers["ETag"]


@pytest.fixture(scope="module", params=DATABASES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Run two workers on either database."""
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        uri = f"sqlite:///{folder / 'products.db'}"
        if request.param == "postgresql":
            postgresql = request.getfixturevalue("postgresql_server")
            uri = stack.enter_context(postgresql_database(postgresql))
        stack.enter_context(app_with_tables(uri))
        yield stack.enter_context(
            serving(uri, folder / "log", WEB_CONCURRENCY="2", WEB_THREADS="4")
        )


@on_sqlite_only
@pytest.mark.parametrize(
    "known", ["{}", "W/{}", '"other", {}', "*", "{gzip}", "W/{gzip}", '"a,b" ,W/{}']
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_known_is_not_sent_again(
    client: FlaskClient, tag: str, known: str, method: str
) -> None:
    given = known.format(tag, gzip=tag[:-1] + '-gzip"')

    response = client.open("/products/1", method=method, headers={"If-None-Match": given})

    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == tag


@on_sqlite_only
@pytest.mark.parametrize("known", ['"other"', "", '"{unquoted}x"'])
def test_what_is_not_known_is_sent(client: FlaskClient, tag: str, known: str) -> None:
    given = known.format(unquoted=tag.strip('"'))

    response = client.get("/products/1", headers={"If-None-Match": given})

    assert (response.status_code, response.headers["ETag"]) == (200, tag)


@on_sqlite_only
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("meant", "known", "code"),
    [("{}", '"other"', 200), ("*", "{}", 304), ('"other"', "{}", 412), ("W/{}", '"other"', 412)],
)
def test_what_is_meant_is_read_or_nothing(
    client: FlaskClient, tag: str, method: str, meant: str, known: str, code: int
) -> None:
    headers = {"If-Match": meant.format(tag), "If-None-Match": known.format(tag)}

    assert client.open("/products/1", method=method, headers=headers).status_code == code


def test_the_tag_of_a_written_product_is_the_tag_it_is_read_with(client: FlaskClient) -> None:
    created = client.post("/products", json=product_body(rating=1))
    replaced = client.put("/products/1", json=product_body(rating=2))
    changed = client.patch("/products/1", json={"rating": 3})

    assert client.get("/products/1").headers["ETag"] == changed.headers["ETag"]
    assert len({answer.headers["ETag"] for answer in (created, replaced, changed)}) == 3


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("header", "value", "fits"),
    [
        ("If-Match", "{}", True),
        ("If-Match", "*", True),
        ("If-Match", '"other", {}', True),
        ("If-Match", '"other"', False),
        ("If-Match", "W/{}", False),
        ("If-Match", "", False),
        ("If-None-Match", '"other"', True),
        ("If-None-Match", "*", False),
        ("If-None-Match", "W/{}", False),
    ],
)
def test_a_write_is_carried_out_only_if_its_precondition_holds(
    client: FlaskClient, tag: str, method: str, header: str, value: str, fits: bool
) -> None:
    body = None if method == "DELETE" else product_body(name="new")
    before = client.get("/products/1").data

    response = client.open(
        "/products/1", method=method, json=body, headers={header: value.format(tag)}
    )

    after = client.get("/products/1")
    if fits:
        assert response.status_code in (200, 204)
        assert after.data != before
    else:
        assert (response.status_code, after.data) == (412, before)
        assert response.mimetype == "application/problem+json"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("value", ["*", '"any"'])
def test_a_match_with_a_product_that_is_gone_fails(
    client: FlaskClient, method: str, value: str
) -> None:
    body = None if method == "DELETE" else product_body()

    response = client.open("/products/9", method=method, json=body, headers={"If-Match": value})

    assert response.status_code == 412


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_write_without_a_match_is_refused_where_it_is_required(
    app: Flask, client: FlaskClient, tag: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setitem(app.config, "REQUIRE_IF_MATCH", value=True)
    body = None if method == "DELETE" else product_body(name="new")

    refused = client.open("/products/1", method=method, json=body)
    assert refused.status_code == 428
    assert client.get("/products/1").headers["ETag"] == tag

    matching = client.open("/products/1", method=method, json=body, headers={"If-Match": tag})
    assert matching.status_code in (200, 204)


def test_of_many_writers_with_one_tag_exactly_one_succeeds(server: Server) -> None:
    for _ in range(10):
        created, product = server.ask("POST", "/products", product_body(rating=0))
        tag = {"If-Match": created.headers["ETag"]}
        path = f"/products/{product['id']}"
        together = threading.Barrier(WRITERS)

        def write(
            writer: int,
            path: str = path,
            tag: dict[str, str] = tag,
            together: threading.Barrier = together,
        ) -> int:
            together.wait()
            return server.ask("PATCH", path, {"rating": writer + 1}, tag)[0].status

        with ThreadPoolExecutor(WRITERS) as writers:
            answers = sorted(writers.map(write, range(WRITERS)))

        assert answers == [200] + [412] * (WRITERS - 1)


def test_no_update_is_lost(server: Server) -> None:
    path = server.ask("POST", "/products", product_body(rating=0))[0].headers["Location"]

    def increment(_: int) -> int:
        response, product = server.ask("GET", path)
        tag = {"If-Match": response.headers["ETag"]}
        product["rating"] += 1
        status = server.ask("PUT", path, product, tag)[0].status
        assert status in (200, 412)
        return int(status == 200)

    with ThreadPoolExecutor(WRITERS) as clients:
        acknowledged = sum(clients.map(increment, range(ROUNDS)))

    assert 0 < acknowledged < ROUNDS
    assert server.ask("GET", path)[1]["rating"] == acknowledged
