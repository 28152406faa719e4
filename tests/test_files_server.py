"""Files through the server as it runs: their size, and the memory that they take."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from service.files.importing import MAX_FILE_BYTES
from tests.server import Server, serving

MEBIBYTE = 1024 * 1024


@pytest.fixture
def server(sqlite_app: Flask, tmp_path: Path) -> Iterator[Server]:
    uri = sqlite_app.config["DATABASE_URI"]
    with serving(uri, tmp_path / "log", WEB_CONCURRENCY="1") as server:
        yield server


def post(server: Server, path: str, size: int, content_type: str) -> tuple[int, Any]:
    """Post a CSV file of this size, with one product and blank lines; return status and answer."""
    body = b"name,img_url,price\nA,a,1\n".ljust(size % 1000 + 1000) + b"\n"
    body += (b" " * 999 + b"\n") * ((size - len(body)) // 1000)
    body = body.ljust(size)
    with closing(server.connect()) as connection:
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.mark.parametrize("path", ["/products/import", "/products/import/"])
def test_a_file_may_have_eight_mebibytes_and_another_body_one(server: Server, path: str) -> None:
    plan = f"{path}?dry_run=true"

    status, answer = post(server, plan, MAX_FILE_BYTES, "text/csv")
    assert (status, answer["create"], answer["faulty"]) == (200, 1, 0)
    assert post(server, plan, MAX_FILE_BYTES + 1, "text/csv")[0] == 413
    assert post(server, "/products", MEBIBYTE + 1, "application/json")[0] == 413


def test_a_file_is_held_in_memory_twice_at_most(server: Server) -> None:
    post(server, "/products/import?dry_run=true", 1000, "text/csv")
    before = peak_memory(server)

    post(server, "/products/import?dry_run=true", MAX_FILE_BYTES, "text/csv")

    assert peak_memory(server) - before < 2.5 * MAX_FILE_BYTES


def peak_memory(server: Server) -> int:
    """Return the most memory that the worker has had, in bytes."""
    status = Path(f"/proc/{server.workers()[0]}/status").read_text()
    found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
    assert found
    return int(found[1]) * 1024
