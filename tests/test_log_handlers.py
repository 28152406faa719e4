"""What the log says, line by line, in the form for machines and in the one for people."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from service import create_app
from service.common.log_handlers import JSONFormatter, TerminalFormatter
from tests.factories import product_body
from tests.helpers import app_with_tables, dispose, execute, logged

MEMBERS = [
    *("time", "level", "request_id", "method", "route", "path"),
    *("status", "duration", "bytes", "client"),
]
HOSTILE = 'a"b\n2026-11-24 ERROR forged \x1b[31m\x7f\x9b\r\u2028\\'


class Terminal(io.StringIO):
    """A standard error that someone looks at."""

    def isatty(self) -> bool:
        return True


def request_lines(log: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines of requests in a log."""
    lines = map(json.loads, log.getvalue().splitlines())
    return [line for line in lines if "method" in line]


def line_of(app: Flask, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Send one request; return its one line."""
    with logged(app) as log:
        app.test_client().open(*arguments, buffered=True, **options)
        (line,) = request_lines(log)
    return line


@pytest.fixture(autouse=True)
def logger_left_as_it_was() -> Iterator[None]:
    """Give back the logger, which all apps of one process share."""
    logger = logging.getLogger("service")
    handlers, level = logger.handlers, logger.level
    yield
    logger.handlers = handlers
    logger.setLevel(level)


@pytest.fixture
def quiet_app(tmp_path: Path) -> Flask:
    """Make an app without tables, with a path that fails."""
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'none.db'}"})

    @app.get("/broken")
    def broken() -> str:
        raise LookupError(HOSTILE)

    return app


@pytest.fixture
def hostile_record() -> logging.LogRecord:
    """Make the record of an exception, both with a text that means harm."""
    with pytest.raises(LookupError) as raised:
        raise LookupError(HOSTILE)
    failure = (raised.type, raised.value, raised.tb)
    return logging.LogRecord("shop", logging.ERROR, "", 0, HOSTILE, (), failure)


def test_the_line_of_a_request_has_all_that_was_asked_for_and_answered(quiet_app: Flask) -> None:
    before = datetime.now(UTC)

    line = line_of(quiet_app, "/health?token=hush", headers={"X-Request-ID": "seen-1"})

    assert list(line) == MEMBERS
    assert 0 <= (datetime.fromisoformat(line.pop("time")) - before).total_seconds() + 0.001 < 60
    assert 0 < line.pop("duration") < 60
    assert line == {
        "level": "INFO",
        "request_id": "seen-1",
        "method": "GET",
        "route": "/health",
        "path": "/health",
        "status": 200,
        "bytes": len('{"status": "OK"}'),
        "client": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("HEAD", "/health", {"route": "/health", "status": 200, "bytes": 0}),
        ("GET", "/products/x", {"route": "none", "status": 404, "level": "INFO"}),
        ("GET", "/products/7", {"route": "/products/{product_id}", "status": 503}),
        ("DELETE", "/products/7", {"route": "/products/{product_id}", "level": "WARNING"}),
        ("FOO", "/health", {"route": "none", "status": 405, "method": "FOO"}),
        ("GET", "/%1B%5B31m%0A%7F%FF", {"path": "/\x1b[31m\n\x7f\ufffd", "status": 404}),
        ("GET", "/" + "x" * 600, {"path": "/" + "x" * 499}),
        ("GET", "/broken", {"route": "/broken", "status": 500, "level": "WARNING"}),
    ],
)
def test_every_kind_of_request_has_its_line(
    quiet_app: Flask, method: str, path: str, expected: dict[str, object]
) -> None:
    line = line_of(quiet_app, path, method=method)

    assert {name: line[name] for name in expected} == expected


def test_an_answer_that_nobody_takes_has_begun_and_has_its_line(quiet_app: Flask) -> None:
    begun: list[str] = []
    with logged(quiet_app) as log:
        environ = EnvironBuilder("/health").get_environ()
        answer: Any = quiet_app.wsgi_app(environ, lambda status, *_: begun.append(status))  # type: ignore[arg-type]  # collects
        assert begun == ["200 OK"]
        answer.close()
        (line,) = request_lines(log)

    assert (line["status"], line["bytes"], line["aborted"]) == (200, 0, True)


def test_no_secret_of_a_request_is_in_the_log(app: Flask) -> None:
    secrets = {"Authorization": "Bearer hush", "Cookie": "session=hush", "Referer": "/hush"}
    with logged(app) as log:
        for path in ("/products?hush=hush", "/products?q=hush", "/products/1"):
            for method in ("GET", "POST", "PUT", "FOO"):
                body = product_body(name="hush", colour="hush")
                app.test_client().open(
                    path, method=method, json=body, headers=secrets, buffered=True
                )
        written, lines = log.getvalue(), request_lines(log)

    assert len(lines) == 12
    assert "hush" not in written


@pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}])
def test_no_body_is_in_the_log_even_if_the_sql_is_wrong(
    empty_database: str, headers: dict[str, str]
) -> None:
    with app_with_tables(empty_database) as app:
        client = app.test_client()
        client.post("/products", json=product_body())
        execute(app, "ALTER TABLE products RENAME COLUMN category TO kind")
        app.config["PROPAGATE_EXCEPTIONS"] = False
        with logged(app) as events:
            body = product_body(name="hush")
            response = client.put("/products/1", json=body, headers=headers)
            written = events.getvalue()

    assert response.status_code >= 500
    assert written
    assert "hush" not in written


@pytest.mark.parametrize(
    ("level", "path", "lines"),
    [("DEBUG", "/health", 1), ("WARNING", "/health", 0), ("WARNING", "/products/1", 1),
     ("ERROR", "/products/1", 0)],
)  # fmt: skip
def test_the_level_decides_which_requests_have_a_line(
    tmp_path: Path, level: str, path: str, lines: int
) -> None:
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'none.db'}", "LOG_LEVEL": level})
    with logged(app) as log:
        app.test_client().get(path, buffered=True)

        assert len(request_lines(log)) == lines


KUBELET = {"User-Agent": "kube-probe/1.34"}


@pytest.mark.parametrize(
    ("level", "path", "headers", "lines"),
    [
        ("INFO", "/health", KUBELET, []),
        ("DEBUG", "/health", KUBELET, ["DEBUG"]),
        ("INFO", "/health", {"User-Agent": "curl/8.5"}, ["INFO"]),
        ("INFO", "/openapi.json", KUBELET, ["INFO"]),
        ("INFO", "/readyz", KUBELET, ["WARNING"]),  # there are no tables
    ],
)
def test_a_probe_of_the_kubelet_has_a_line_only_if_it_fails(
    tmp_path: Path, level: str, path: str, headers: dict[str, str], lines: list[str]
) -> None:
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'none.db'}", "LOG_LEVEL": level})
    with logged(app) as log:
        app.test_client().get(path, headers=headers, buffered=True)

        assert [line["level"] for line in request_lines(log)] == lines


def test_a_log_that_cannot_be_written_breaks_no_answer(quiet_app: Flask) -> None:
    with logged(quiet_app) as log:
        log.close()

        assert quiet_app.test_client().get("/health").status_code == 200


@pytest.mark.parametrize(
    ("proxies", "client", "location"),
    [
        (0, "127.0.0.1", "http://localhost/products/1"),
        (1, "203.0.113.9", "https://shop.example.com/products/1"),
        (2, "198.51.100.7", "http://localhost/products/1"),
    ],
)
def test_proxies_are_believed_only_when_told(
    tmp_path: Path, proxies: int, client: str, location: str
) -> None:
    uri = f"sqlite:///{tmp_path / 'products.db'}"
    hosts = "localhost,shop.example.com"
    app = create_app({"DATABASE_URI": uri, "TRUSTED_PROXIES": proxies, "TRUSTED_HOSTS": hosts})
    app.test_cli_runner().invoke(args=["db-create"])
    headers = {
        "X-Forwarded-For": "198.51.100.7, 203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example.com",
    }
    with logged(app) as log:
        created = app.test_client().post(
            "/products", json=product_body(), headers=headers, buffered=True
        )
        line = request_lines(log)[-1]
    dispose(app)

    assert created.headers["Location"] == location
    assert line["client"] == client


def test_an_event_is_one_line_of_json_whatever_it_says(hostile_record: logging.LogRecord) -> None:
    line = JSONFormatter().format(hostile_record)

    assert line.isascii()
    assert line.isprintable()
    event = json.loads(line)
    assert (event["level"], event["logger"], event["message"]) == ("ERROR", "shop", HOSTILE)
    assert event["traceback"].startswith("Traceback")
    assert HOSTILE in event["traceback"]


def test_on_a_terminal_no_text_passes_for_a_line_or_moves_the_cursor(
    hostile_record: logging.LogRecord,
) -> None:
    first, *others = TerminalFormatter().format(hostile_record).splitlines()

    assert first.startswith('a"b')
    assert len(others) > 2
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_on_a_terminal_the_log_is_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'none.db'}"})

    app.test_client().get("/products/7", headers={"X-Request-ID": "seen-2"}, buffered=True)
    app.test_client().get("/%1B%0A", buffered=True)

    _, event, request, hostile = terminal.getvalue().splitlines()
    assert "ERROR service [seen-2] The database file of DATABASE_URI is missing" in event
    assert (
        "WARNING service.requests [seen-2] GET /products/{product_id} /products/7: 503 in "
        in request
    )
    assert hostile.isprintable()
    assert r"/\x1b\n: 404 in " in hostile
