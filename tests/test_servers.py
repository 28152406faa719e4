"""Every operation under every server that the app may run behind: the answers are the same."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from importlib.util import find_spec
from pathlib import Path

import pytest
import urllib3

from service.http.security_headers import DEFAULTS, POLICY
from tests.factories import product_body
from tests.helpers import app_with_tables, dispose, free_port, postgresql_database
from tests.server import ROOT, STOP_SECONDS, stop
from tests.test_examples import OTHER_CURSOR

GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}")
BEHIND_PGBOUNCER = "ours, behind PgBouncer"
SERVERS = {
    "ours": (*GUNICORN, "wsgi:app"),
    "gthread": (*GUNICORN, "--worker-class", "gthread", "--threads", "2", "wsgi:app"),
    "Granian": (
        *("granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}"),
        *("--blocking-threads", "2", "wsgi:app"),
    ),
    "flask run": ("flask", "run", "--port", "{port}"),
    BEHIND_PGBOUNCER: (*GUNICORN, "wsgi:app"),
}
NEEDS_GRANIAN = pytest.mark.skipif(not find_spec("granian"), reason="Granian is not installed")
MARKS = {"Granian": NEEDS_GRANIAN}
UNTIL_STARTED = urllib3.Retry(total=60, backoff_factor=0.05, backoff_max=0.5)
MOST_BYTES = 2_000
JSON = {"Content-Type": "application/json"}
PATCH = {"Content-Type": "application/merge-patch+json"}
JSON_LINES = {"Content-Type": "application/jsonl"}
MATCHING = {"If-Match": "{tag}"}
KETTLE = product_body(name="Copper kettle", price=49.95, status="active")
TEAPOT = product_body(name="Teapot", price=19.5)


@dataclass(frozen=True)
class Product:
    """A product that a test has made for itself."""

    id: int
    tag: str
    port: int

    def fill(self, template: str) -> str:
        """Return a text with the product's id, its entity tag and the server's port put in."""
        places = {"id": str(self.id), "tag": self.tag, "port": str(self.port)}
        return re.sub("{(id|tag|port)}", lambda place: places[place[1]], template)


@dataclass(frozen=True)
class Answer:
    """What every server must answer; ``headers`` are patterns of whole values."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    """Members of the document, or of one of the list's; None where it is no JSON."""
    text: str = ""
    """A pattern that occurs in the body."""


def is_problem(status: int, detail: str, **headers: str) -> Answer:
    """Return what is expected of a failure."""
    return Answer(
        status,
        {"Content-Type": "application/problem[+]json", **headers},
        {"type": "about:blank", "status": status},
        rf'"detail": "{detail}"',
    )


def is_json(status: int, members: object, **headers: str) -> Answer:
    return Answer(status, {"Content-Type": "application/json", **headers}, members)


TAG = '"[0-9a-f]{32}"'
LOCATION = "http://127[.]0[.]0[.]1:{port}/products/[0-9]+"
NEXT = r'<http://127[.]0[.]0[.]1:{port}/products[?]limit=1&cursor=[^>]+>; rel="next", .*'
CHANGES = r'<http://127[.]0[.]0[.]1:{port}/products/changes[?]since=[^>]+>; rel="next"'
Sent = tuple[str, Mapping[str, str], object]
OPERATIONS: dict[str, tuple[Sent, Answer]] = {
    "create": (
        ("POST /products", JSON, KETTLE),
        is_json(201, KETTLE, ETag=TAG, Location=LOCATION),
    ),
    "create, chunked": (
        ("POST /products", JSON, [json.dumps(KETTLE).encode()]),
        is_json(201, KETTLE, ETag=TAG, Location=LOCATION),
    ),
    "create once": (
        ("POST /products", JSON | {"Idempotency-Key": "{tag}"}, KETTLE),
        is_json(201, KETTLE, ETag=TAG, Location=LOCATION),
    ),
    "export as CSV": (
        ("GET /products.csv", {}, None),
        Answer(
            200,
            {
                "Content-Type": "text/csv; charset=utf-8; header=present",
                "Content-Disposition": 'attachment; filename="products-.+[.]csv"',
            },
            text="(?m)^id,name,.*\n[0-9]+,Copper kettle,",
        ),
    ),
    "export as JSON Lines": (
        ("GET /products.jsonl", {}, None),
        Answer(200, JSON_LINES, text='"name":"Copper kettle".*"etag":"[0-9a-f]{32}"}\n'),
    ),
    "plan of an import": (
        ("POST /products/import?dry_run=true", JSON_LINES, TEAPOT),
        is_json(200, {"create": 1, "faulty": 0}, ETag=TAG),
    ),
    "import": (
        ("POST /products/import", JSON_LINES | {"If-Match": "*"}, TEAPOT),
        is_json(200, {"updated": 0, "unchanged": 0}),
    ),
    "list": (("GET /products", {}, None), is_json(200, [KETTLE])),
    "page": (("GET /products?limit=1", {}, None), is_json(200, [KETTLE], Link=NEXT)),
    "facets": (("GET /products/facets?id={id}", {}, None), is_json(200, {"total": 1})),
    "read": (("GET /products/{id}", {}, None), is_json(200, KETTLE, ETag="{tag}")),
    "replace": (
        ("PUT /products/{id}", JSON | MATCHING, TEAPOT),
        is_json(200, TEAPOT, ETag=TAG),
    ),
    "change": (
        ("PATCH /products/{id}", PATCH | MATCHING, {"rating": 5}),
        is_json(200, {**KETTLE, "rating": 5}, ETag=TAG),
    ),
    "delete": (("DELETE /products/{id}", MATCHING, None), Answer(204, text="^$")),
    "changes": (
        ("GET /products/changes", {}, None),
        is_json(200, None, Link=CHANGES),
    ),
    "history": (
        ("GET /products/history?id={id}", {}, None),
        is_json(200, [{"op": "create", "before": None}]),
    ),
    "lowest price": (
        ("GET /products/{id}/lowest-price", {}, None),
        is_json(200, {"price": 49.95, "complete": True}),
    ),
    "bring back": (
        ("PUT /products/{id}", JSON | {"If-None-Match": "*"}, KETTLE),
        is_problem(412, "If-None-Match matches .+"),
    ),
    "head": (
        ("HEAD /products/{id}", {}, None),
        Answer(200, {"ETag": "{tag}", "Content-Type": "application/json"}, text="^$"),
    ),
    "head of the list": (("HEAD /products", {}, None), Answer(200, text="^$")),
    "options of products": (
        ("OPTIONS /products", {}, None),
        Answer(200, {"Allow": "GET, HEAD, OPTIONS, POST"}, text="^$"),
    ),
    "options of a product": (
        ("OPTIONS /products/{id}", {}, None),
        Answer(
            200,
            {
                "Allow": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
                "Accept-Patch": "application/merge-patch[+]json, application/json",
            },
            text="^$",
        ),
    ),
    "known": (
        ("GET /products/{id}", {"If-None-Match": "{tag}"}, None),
        Answer(304, {"ETag": "{tag}"}, text="^$"),
    ),
    "health": (("GET /health", {}, None), is_json(200, {"status": "OK"})),
    "readiness": (("GET /readyz", {}, None), is_json(200, {"status": "OK"})),
    "metrics": (
        ("GET /metrics", {}, None),
        Answer(200, {"Content-Type": "text/plain.*"}, text="http_requests_total{"),
    ),
    "document": (("GET /openapi.json", {}, None), is_json(200, {"openapi": "3.1.0"})),
    "documentation": (
        ("GET /apidocs", {}, None),
        Answer(200, {"Content-Type": "text/html.*"}, text="swagger-ui"),
    ),
    "service": (("GET /", {}, None), is_json(200, {"name": "products"}, Vary="Accept")),
    "back-office page": (
        ("GET /", {"Accept": "text/html"}, None),
        Answer(200, {"Content-Type": "text/html.*"}, text="(?s)<!doctype html>.*</html>"),
    ),
    "file": (
        ("GET /static/demo/kettle.svg", {}, None),
        Answer(200, {"Content-Type": "image/svg.*", "ETag": '".+"'}, text="(?s)<svg.*</svg>"),
    ),
    "no JSON": (("POST /products", JSON, [b"{"]), is_problem(400, ".*JSON.*")),
    "no such parameter": (
        ("GET /products?colour=red", {}, None),
        is_problem(400, "colour is not a parameter.*"),
    ),
    "no such place": (
        (f"GET /products/changes?since={OTHER_CURSOR}", {}, None),
        is_problem(410, "The changes since this cursor are no longer known.*"),
    ),
    "no such product": (
        ("GET /products/2147483647", {}, None),
        is_problem(404, "Product 2147483647 was not found"),
    ),
    "no such path": (("GET /nowhere", {}, None), is_problem(404, "/nowhere was not found")),
    "no such method": (
        ("DELETE /products", {}, None),
        is_problem(405, "DELETE is not allowed on /products", Allow="GET, HEAD, OPTIONS, POST"),
    ),
    "changed meanwhile": (
        ("PATCH /products/{id}", PATCH | {"If-Match": '"another"'}, {"rating": 5}),
        is_problem(412, ".+"),
    ),
    "no method of an import": (
        ("GET /products/import", {}, None),
        is_problem(405, "GET is not allowed on /products/import", Allow="OPTIONS, POST"),
    ),
    "no plan": (("POST /products/import", JSON_LINES, TEAPOT), is_problem(428, ".+dry run.+")),
    "too large": (
        ("POST /products", JSON, {"name": "x" * MOST_BYTES}),
        is_problem(413, f"The body is larger than {MOST_BYTES} bytes"),
    ),
    "no type": (("POST /products", {}, KETTLE), is_problem(415, ".+")),
    "no precondition": (("DELETE /products/{id}", {}, None), is_problem(428, ".+")),
}


@contextmanager
def running(command: tuple[str, ...], log: Path, **settings: str) -> Iterator[int]:
    """Run a server on a free port; give the port once it answers there."""
    port = free_port()
    arguments = [part.format(port=port) for part in command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=output,
            stderr=output,
        )
    try:
        response = urllib3.request("GET", f"http://127.0.0.1:{port}/health", retries=UNTIL_STARTED)
        assert response.status == 200
        yield port
    finally:
        stop(process)
    assert "Traceback" not in log.read_text()


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in SERVERS]
)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run the app under one server after the other, on a database with two products.

    The database is an SQLite file, or PostgreSQL if the app is behind PgBouncer.
    """
    folder = tmp_path_factory.mktemp("servers")
    settings = {
        "DATABASE_URI": f"sqlite:///{folder / 'products.db'}",
        "WEB_CONCURRENCY": "1",
        "REQUIRE_IF_MATCH": "true",
        "MAX_CONTENT_LENGTH": str(MOST_BYTES),
    }
    with ExitStack() as stack:
        uri = settings["DATABASE_URI"]
        if request.param == BEHIND_PGBOUNCER:
            bouncer = request.getfixturevalue("bouncer")
            server = request.getfixturevalue("postgresql_server")
            uri = stack.enter_context(postgresql_database(server))
            settings |= {"DATABASE_URI": bouncer.uri(uri), "DATABASE_PGBOUNCER": "true"}
        app = stack.enter_context(app_with_tables(uri))
        for _ in range(2):
            assert app.test_client().post("/products", json=KETTLE).status_code == 201
        dispose(app)
        yield stack.enter_context(running(SERVERS[request.param], folder / "log", **settings))


def ask(
    port: int, request: str, headers: Mapping[str, str], body: object
) -> tuple[HTTPResponse, bytes]:
    """Send a request; a body that is a list of bytes is sent in chunks."""
    method, path = request.split()
    content = body if isinstance(body, list | None) else json.dumps(body)
    with closing(HTTPConnection("127.0.0.1", port, timeout=STOP_SECONDS)) as connection:
        connection.request(method, path, content, dict(headers))
        response = connection.getresponse()
        return response, response.read()


@pytest.fixture
def product(port: int) -> Product:
    response, body = ask(port, "POST /products", JSON, KETTLE)
    return Product(json.loads(body)["id"], response.headers["ETag"], port)


def occurs_in(members: object, document: object) -> bool:
    """Say whether a document has these members, or one of a list of documents."""
    if isinstance(members, dict) and isinstance(document, dict):
        return members.items() <= document.items()
    if isinstance(members, list) and isinstance(document, list):
        return any(occurs_in(members[0], each) for each in document)
    return False


@pytest.mark.parametrize(("sent", "expected"), OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_is_answered_alike_under_every_server(
    product: Product, sent: Sent, expected: Answer
) -> None:
    request, headers, content = sent
    given = {name: product.fill(value) for name, value in headers.items()}

    response, body = ask(
        product.port, product.fill(request), given | {"X-Request-ID": "seen.1"}, content
    )

    assert response.status == expected.status, body
    for name, pattern in expected.headers.items():
        assert re.fullmatch(product.fill(pattern), response.headers[name] or ""), name
    always = {name: value for name, value in DEFAULTS.items() if name != POLICY}
    for name, value in {**always, "X-Request-ID": "seen.1"}.items():
        assert response.headers.get_all(name) == [value]
    assert re.search(expected.text, body.decode())
    if expected.json is not None:
        document = json.loads(body)
        assert occurs_in(expected.json, document), document
    if expected.status >= 400:
        assert json.loads(body)["request_id"] == "seen.1"
