"""The documentation: every console block with an answer is run, and every link has a target."""

import json
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from service.changes.cursor import Cursor, Mark
from service.config import Settings
from tests.helpers import app_with_tables, wait_for
from tests.server import ROOT, Server, serving

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = Path(sys.executable).parent
BLOCK = re.compile(r"^( *)```console\n( *\$ .*?)^\1```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)
SETTING = re.compile(r"`([A-Z_]+)=([^`]+)`")
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> list[tuple[dict[str, str], list[str]]]:
    """Return the settings and the alternating commands and answers of each block.

    The paragraph before a block names its settings: "With `NAME=VALUE`:".
    """
    text = document.read_text()
    found = []
    for block in BLOCK.finditer(text):
        paragraph = text[: block.start()].rstrip().rpartition("\n\n")[2]
        commands = COMMAND.split(dedent(block[2]))[1:]
        found.append((dict(SETTING.findall(paragraph)), commands))
    return found


def pattern(answer: str) -> str:
    """Return the regular expression of an answer: `…` stands for what is left out."""
    lines = answer.rstrip("\n").split("\n")
    return "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n"
        for line in lines
    )


def on_terminal(command: str, folder: Path, environ: dict[str, str]) -> str:
    """Run a command on a terminal of its own; return what it shows, without empty lines.

    Standard output is a pipe, as curl adds colours for a terminal.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["/bin/sh", "-c", f"({command}) | cat"],
        cwd=folder, env=environ, stdout=theirs, stderr=theirs,
    ):  # fmt: skip
        os.close(theirs)
        shown = "".join(iter(lambda: _read(ours), ""))
    os.close(ours)
    return re.sub(r"\n+", "\n", shown.replace("\r", "") + "\n")


def _read(descriptor: int) -> str:
    try:
        return os.read(descriptor, 2**20).decode()
    except OSError:  # the other end is closed
        return ""


@contextmanager
def demo(folder: Path, settings: dict[str, str]) -> Iterator[Server]:
    """Serve the demo catalogue, which stays in ``folder``."""
    uri = f"sqlite:///{folder / 'products.db'}"
    options: Any = settings
    with serving(uri, folder / "log", WEB_CONCURRENCY="1", **options) as server:
        yield server


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_console_block_has_the_true_answer(document: Path, tmp_path: Path) -> None:
    with app_with_tables(f"sqlite:///{tmp_path / 'products.db'}") as app:
        app.test_cli_runner().invoke(args=["db-seed"])
    environ = os.environ | {"DATABASE_URI": f"sqlite:///{tmp_path / 'empty.db'}"}
    checkout = copy_of_service(tmp_path / "checkout")

    for settings, group in groupby(blocks(document), itemgetter(0)):
        parts = list(chain.from_iterable(parts for _, parts in group))
        with demo(tmp_path, settings) as server:
            here = f"localhost:{server.port}"
            for command, answer in zip(parts[::2], parts[1::2], strict=True):
                run = command.replace("localhost:8000", here).replace("curl ", "curl -s ")
                run = run.replace(".venv/bin", str(SCRIPTS))
                shown = on_terminal(run, checkout, environ).replace(here, "localhost:8000")
                assert re.fullmatch(pattern(answer), shown), f"{command}\n{shown}"


def copy_of_service(folder: Path) -> Path:
    """Copy what the commands need: some of them write into the checkout."""
    shutil.copytree(ROOT / "service", folder / "service")
    for name in ("wsgi.py", "gunicorn.conf.py", ".flaskenv"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_the_loop_of_the_api_guide_meets_each_product_once(tmp_path: Path) -> None:
    with app_with_tables(f"sqlite:///{tmp_path / 'products.db'}") as app:
        app.test_cli_runner().invoke(args=["db-seed"])
    (script,) = SHELL_BLOCK.findall((ROOT / "docs" / "api.md").read_text())

    with demo(tmp_path, {}) as server:
        ran = subprocess.run(
            ["/bin/sh", "-e"], input=script.replace("localhost:8000", f"localhost:{server.port}"),
            cwd=tmp_path, text=True, capture_output=True, check=True, timeout=60,
        )  # fmt: skip

    ids = re.findall(r'"id":([0-9]+)', ran.stdout)
    assert len(ids) == len(set(ids)) > 50


def test_the_follower_of_the_api_guide_keeps_a_true_copy(tmp_path: Path) -> None:
    with app_with_tables(f"sqlite:///{tmp_path / 'products.db'}") as app:
        app.test_cli_runner().invoke(args=["db-seed"])
    (program,) = PYTHON_BLOCK.findall((ROOT / "docs" / "api.md").read_text())
    assert len([line for line in program.splitlines() if line.strip()]) <= 30

    with demo(tmp_path, {}) as server:
        here = program.replace("localhost:8000", f"localhost:{server.port}")
        for number in (1, 2):  # it is killed, and goes on
            with following(here, tmp_path):
                server.ask("DELETE", f"/products/{number}")
                server.ask("PATCH", f"/products/{number + 9}", {"rating": 77})
                wait_for(lambda: copied(tmp_path) == server.ask("GET", "/products")[1])
            server.ask("DELETE", f"/products/{number + 19}")
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy, copy:
            copy.execute("UPDATE feed SET next = ?", [gone(server)])
        with following(here, tmp_path):
            wait_for(lambda: copied(tmp_path) == server.ask("GET", "/products")[1])


def gone(server: Server) -> str:
    """Return the cursor of another database."""
    cursor = Cursor("", 0, Mark("1:1:", 0)).encode()
    return f"http://localhost:{server.port}/products/changes?since={cursor}"


@contextmanager
def following(program: str, folder: Path) -> Iterator[None]:
    """Run the follower until it is killed."""
    with subprocess.Popen([sys.executable, "-c", program], cwd=folder) as process:
        try:
            yield
        finally:
            process.kill()


def copied(folder: Path) -> list[Any]:
    """Return the copy of the follower, as far as there is one."""
    with closing(sqlite3.connect(folder / "copy.db")) as copy, suppress(sqlite3.OperationalError):
        rows = copy.execute("SELECT product FROM products ORDER BY id").fetchall()
        return [json.loads(product) for (product,) in rows]
    return []


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_link_has_a_target(document: Path) -> None:
    for link in re.findall(r"\]\((?!http)([^)\s]+)\)", document.read_text()):
        path, _, place = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if place:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert place in map(anchor, headings), link


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_configuration_lists_every_setting_with_its_description() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|(.*)$", text, re.MULTILINE))

    assert rows.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        assert str(field.description) in rows[name]
