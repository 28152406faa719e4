"""Whatever keeps a command or the server from starting is one line on standard error."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from service import create_app
from tests.helpers import dispose
from tests.server import ROOT

SECONDS = 30
GUNICORN = ["gunicorn", "wsgi:app"]
SERVER = ["service.server"]
SERVERS = [["flask", "run"], GUNICORN, SERVER]
COMMANDS = [
    ["flask", "--help"],
    ["flask", "routes"],
    ["flask", "db", "upgrade"],
    ["flask", "db-seed"],
    *SERVERS,
]
FAULTS = {
    "DATABASE_URI=postgres://127.0.0.1/shop": "DATABASE_URI .*postgresql[+]psycopg://",
    "DATABASE_URI=postgresql+psycopg:///shop?host=a,b&port=1,2,3": "DATABASE_URI .*one port, or as",
    "DATABASE_URI=postgresql+psycopg://db:99999/shop": "DATABASE_URI .*from 1 to 65535",
    "DATABASE_URL=sqlite:///shop.db": "DATABASE_URL .*DATABASE_URI",
    "API_TOKENS=shop": "API_TOKENS .*NAME=TOKEN",
}


def complaint(command: list[str], folder: Path = ROOT, /, **settings: str) -> str:
    """Run a command that must fail; return the only line that it writes to standard error."""
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | settings, cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert ran.returncode > 0
    assert ran.stderr.startswith("Error: ")
    (line,) = ran.stderr.splitlines()
    return line


def words(command: list[str]) -> str:
    return " ".join(command)


@pytest.mark.parametrize("command", COMMANDS, ids=words)
def test_an_invalid_setting_is_one_line_of_every_command(command: list[str]) -> None:
    line = complaint(command, PORT="http")

    assert line.startswith("Error: The environment variable PORT is invalid: ")


@pytest.mark.parametrize("fault", FAULTS)
def test_every_invalid_setting_is_one_line(fault: str) -> None:
    name, _, value = fault.partition("=")

    assert re.search(FAULTS[fault], complaint(GUNICORN, **{name: value}))


def test_an_invalid_number_of_workers_is_one_line() -> None:
    assert "WEB_CONCURRENCY is invalid" in complaint(SERVER, WEB_CONCURRENCY="many")


@pytest.mark.parametrize("command", SERVERS, ids=words)
def test_a_port_that_is_taken_is_one_line(command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        line = complaint(command, PORT=port)

    assert f"port {port} of 127.0.0.1 (Address already in use)" in line
    assert "another PORT" in line


def test_an_address_of_another_machine_is_one_line() -> None:
    line = complaint(GUNICORN, HOST="192.0.2.1")  # RFC 5737: of no machine

    assert re.search("of 192.0.2.1 .*HOST", line)


@pytest.mark.parametrize("content", ["a file", "of no one"])
def test_a_directory_of_metrics_that_cannot_be_written_is_one_line(
    tmp_path: Path, content: str
) -> None:
    directory = tmp_path / "file"
    directory.touch()
    if content == "of no one":
        directory = Path("/sys/kernel")  # not even root may make a file there

    line = complaint(SERVER, PROMETHEUS_MULTIPROC_DIR=str(directory), PORT=str(free_port()))

    assert line.startswith("Error: PROMETHEUS_MULTIPROC_DIR cannot be used")


@pytest.mark.parametrize("content", [b"PORT=\xff\n", b"PORT=8\x000\n"])
def test_a_damaged_env_file_is_one_line(checkout: Path, content: bytes) -> None:
    (checkout / ".env").write_bytes(content)

    assert complaint(SERVER, checkout).startswith("Error: The file .env cannot be read: ")


@pytest.mark.parametrize("command", [["flask", "db-create"], GUNICORN], ids=words)
def test_a_directory_that_cannot_be_created_is_one_line(checkout: Path, command: list[str]) -> None:
    (checkout / "instance").touch()

    line = complaint(command, checkout, PORT=str(free_port()))

    assert str(checkout / "instance") in line


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a copy of what the service needs to start."""
    for name in ("service", "wsgi.py", "gunicorn.conf.py", ".flaskenv"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(params=["refused", "host", "database", "role", "folder", "directory", "damaged"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URI of a database that no command can use."""
    file = tmp_path / "file"
    file.write_bytes(b"no database" * 100)
    server = make_url(request.getfixturevalue("postgresql_server"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"127.0.0.1:{closed.getsockname()[1]}"
        yield {
            "refused": f"postgresql+psycopg://{refused}/shop",
            "host": "postgresql+psycopg://nowhere.invalid/shop",
            "database": server.set(database="nosuch").render_as_string(hide_password=False),
            "role": server.set(username="nosuch").render_as_string(hide_password=False),
            "folder": f"sqlite:///{file}/shop.db",
            "directory": f"sqlite:///{tmp_path}",
            "damaged": f"sqlite:///{file}",
        }[request.param]


@pytest.mark.parametrize(
    "command",
    ["db-create", "db-seed", "db upgrade", "db current", "db downgrade base", "db stamp 0001"],
)
def test_a_database_that_cannot_be_used_is_one_line(unusable: str, command: str) -> None:
    app = create_app({"DATABASE_URI": unusable})

    result = app.test_cli_runner().invoke(args=command.split())
    dispose(app)

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: The database ")
