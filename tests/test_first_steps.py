"""What a newcomer runs first: `make run` in a fresh checkout, and `flask run`."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.helpers import free_port, wait_for
from tests.server import ROOT, STOP_SECONDS

START_SECONDS = 60
FILES = (
    "Makefile",
    "requirements.txt",
    "dot-env-example",
    ".flaskenv",
    "gunicorn.conf.py",
    "wsgi.py",
)
# A Python that makes a virtual environment of itself, and installs nothing, or fails to.
PYTHON = """\
#!/bin/sh
echo "$*" >> "$RECORD"
case "$*" in
  "-m venv"*)
    for place; do :; done
    test "$3" != --clear || rm -rf "$place"
    mkdir -p "$place/bin"
    cp "$0" "$place/bin/python"
    echo "#!$PWD/$place/bin/python" > "$place/bin/flask" ;;
  "-m pip"*) exit "${PIP_FAILS:-0}" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a checkout with all that `make run` takes; it may be moved."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "service", folder / "service")
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


@contextmanager
def running(
    command: list[str], folder: Path, env_file: str | None = None, **settings: str
) -> Iterator[tuple[int, Path]]:
    """Run a command that serves on a free port; give the port and the log once it answers.

    The port is in the environment or, where there is one, in the file `.env`.
    """
    port = free_port()
    if env_file is None:
        settings["PORT"] = str(port)
    else:
        (folder / ".env").write_text(f"{env_file}PORT={port}\n")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | settings, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: is_up(port), START_SECONDS)
        yield port, log
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)


def is_up(port: int) -> bool:
    try:
        return ask(port, "/health")[0] == 200
    except ConnectionRefusedError:
        return False


def with_installed_packages(checkout: Path) -> Path:
    """Make what looks like a virtual environment, and has the packages of the tests."""
    place = checkout / ".venv" / "bin"
    place.mkdir(parents=True)
    for name, module in (("python", ""), ("flask", "-m flask")):
        script = f'#!/bin/sh\n# {place}/python\nexec {sys.executable} {module} "$@"\n'
        (place / name).write_text(script)
        (place / name).chmod(0o755)
    os.utime(checkout / "requirements.txt", (0, 0))
    (checkout / ".venv" / "run.stamp").touch()
    return checkout


def ask(port: int, path: str, address: str = "127.0.0.1") -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(address, port, timeout=20)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


@pytest.mark.parametrize("changed", ["", "DATABASE_URI='sqlite:///products.db' \n"])
def test_make_run_serves_the_demo_catalogue(checkout: Path, changed: str) -> None:
    env_file = (checkout / "dot-env-example").read_text() + changed

    with running(["make", "run"], with_installed_packages(checkout), env_file) as (port, _):
        status, body = ask(port, "/products")

    assert status == 200
    assert len(json.loads(body)) == 100


def test_make_run_fills_no_database_that_has_been_chosen(checkout: Path) -> None:
    env_file = "DATABASE_URI=sqlite:///shop.db\n"

    with running(["make", "run"], with_installed_packages(checkout), env_file) as (port, _):
        status, body = ask(port, "/products")

    assert status == 503
    assert "run `flask db upgrade`" in json.loads(body)["detail"]
    assert list((checkout / "instance").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "result"),
    [({}, pytest.raises(ConnectionRefusedError)), ({"HOST": "*"}, nullcontext())],
)
def test_only_this_machine_reaches_the_service_unless_host_says_otherwise(
    checkout: Path, settings: dict[str, str], result: AbstractContextManager[object]
) -> None:
    # Another address of the machine: it stands for those that others can reach.
    command = [sys.executable, "-m", "service.server"]
    with running(command, checkout, **settings) as (port, _), result:
        assert ask(port, "/health", "127.0.0.2")[0] == 200


@pytest.mark.parametrize("env_file", ["HOST=127.0.0.1\n", None])
def test_flask_run_takes_port_and_logs_a_request_once(checkout: Path, env_file: str | None) -> None:
    with running([sys.executable, "-m", "flask", "run"], checkout, env_file) as (port, log):
        ask(port, "/nowhere")
        wait_for(lambda: '"status": 404' in log.read_text())

    lines = [line for line in log.read_text().splitlines() if "/nowhere" in line]
    assert [json.loads(line)["status"] for line in lines] == [404]


class Installing:
    """`make` in a checkout, with a Python that only records what it is told."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.record = checkout.parent / "record"
        self.python = checkout.parent / "python3"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)

    def make(self, **variables: str) -> tuple[int, str, list[str]]:
        """Install; return the exit code, what is shown, and what Python was told."""
        self.record.write_text("")
        ran = subprocess.run(
            ["make", f"PYTHON={self.python}", ".venv/run.stamp"],  # noqa: S607  # as a person calls it
            cwd=self.checkout, env=os.environ | {"RECORD": str(self.record)} | variables,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        told = [line for line in self.record.read_text().splitlines() if line.startswith("-m")]
        return ran.returncode, ran.stdout, told


@pytest.fixture
def installing(checkout: Path) -> Installing:
    return Installing(checkout)


ANEW = "it is made anew"
INSTALLED = ["-m venv .venv", "-m pip install"]


def begun(told: list[str]) -> list[str]:
    """Return the first words of each line."""
    return [" ".join(line.split()[:3]).replace("venv --clear", "venv .venv") for line in told]


def test_a_fresh_checkout_gets_its_environment_once(installing: Installing) -> None:
    code, shown, told = installing.make()

    assert (code, begun(told)) == (0, INSTALLED)
    assert ANEW not in shown
    assert installing.make() == (0, "make: '.venv/run.stamp' is up to date.\n", [])


def test_an_interrupted_install_is_made_anew(installing: Installing) -> None:
    assert installing.make(PIP_FAILS="1")[0] != 0

    code, shown, told = installing.make()

    assert (code, told[0]) == (0, "-m venv --clear .venv")
    assert ANEW in shown


def test_the_environment_of_a_moved_checkout_is_made_anew(installing: Installing) -> None:
    installing.make()
    installing.checkout = installing.checkout.rename(installing.checkout.parent / "moved")

    code, shown, told = installing.make()

    assert (code, told[0]) == (0, "-m venv --clear .venv")
    assert ANEW in shown
    assert installing.make()[2] == []


def test_an_environment_whose_python_is_gone_is_made_anew(installing: Installing) -> None:
    installing.make()
    (installing.checkout / ".venv" / "bin" / "python").unlink()

    _, shown, told = installing.make()

    assert told[0] == "-m venv --clear .venv"
    assert ANEW in shown


def test_newer_requirements_are_installed_into_the_environment(installing: Installing) -> None:
    installing.make()
    os.utime(installing.checkout / "requirements.txt", (time.time() + 60,) * 2)

    _, shown, told = installing.make()

    assert told[0] == "-m venv .venv"
    assert ANEW not in shown


@pytest.mark.parametrize(
    ("path", "is_ignored"),
    [
        ("products.db", True),
        ("shop/products.db-wal", True),
        ("products.db-shm", True),
        ("instance/notes", True),
        (".venv/bin/python", True),
        ("venv/bin/python", True),
        (".env", True),
        ("dot-env-example", False),
        (".flaskenv", False),
        ("service/database/engine.py", False),
    ],
)
def test_git_takes_no_database_and_no_environment(
    tmp_path: Path, path: str, is_ignored: bool
) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)  # noqa: S607

    asked = subprocess.run(
        ["git", "check-ignore", "--quiet", path],  # noqa: S607  # wherever it is installed
        cwd=tmp_path, check=False,
    )  # fmt: skip

    assert (asked.returncode == 0) is is_ignored
