"""Validators and generated clients of others understand the OpenAPI document."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from service import demo
from service.models import MAX_PRICE
from tests.helpers import app_with_tables, operations
from tests.server import ROOT, serving

SCRIPTS = Path(sys.executable).parent
CLIENTS = ROOT / "tests" / "clients"
MODULES = CLIENTS / "node_modules"
TOO_HIGH = float(MAX_PRICE) + 0.01
COMPILER_OPTIONS = (
    *("--strict", "--target", "es2022", "--lib", "es2022,dom"),
    *("--module", "esnext", "--moduleResolution", "bundler"),
)
needs_node = pytest.mark.skipif(
    not (shutil.which("node") and MODULES.exists()),
    reason="needs node, and `npm ci` in tests/clients; `make test` runs it",
)


def run(*command: object, stdin: str = "", **environ: str) -> str:
    """Run a program and return its output; fail with all that it wrote if it fails."""
    finished = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def camel_case(name: str) -> str:
    return re.sub("_(.)", lambda letter: letter[1].upper(), name)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve an empty catalogue; give the address."""
    folder = tmp_path_factory.mktemp("clients")
    uri = f"sqlite:///{folder / 'products.db'}"
    with app_with_tables(uri), serving(uri, folder / "log", WEB_CONCURRENCY="1") as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def file(document: dict[str, Any], tmp_path: Path) -> Path:
    """Save the document."""
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def successes(document: dict[str, Any]) -> dict[str, int]:
    """Give the status code of success of each operation."""
    return {
        name: int(next(iter(operation["responses"])))
        for name, operation in operations(document).items()
    }


@pytest.fixture
def price_schema(document: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = document["components"]["schemas"]["Product"]["properties"]["price"]
    return schema


@pytest.fixture
def prices() -> list[float]:
    """Give the prices of the demo catalogue and 10,000 random ones, and one that is too high."""
    chance = random.Random(1)  # noqa: S311  # not for cryptography
    ranges = chance.choices([1_000 * 100, int(MAX_PRICE * 100)], k=10_000)
    cents = [chance.randint(0, most) for most in ranges]
    shown = [float(product["price"]) for product in demo.products(1_000)]
    return [*shown, *(each / 100 for each in cents), TOO_HIGH]


def test_jsonschema_accepts_every_price(price_schema: dict[str, Any], prices: list[float]) -> None:
    validator = Draft202012Validator(price_schema)

    assert [price for price in prices if not validator.is_valid(price)] == [TOO_HIGH]


@needs_node
def test_ajv_accepts_every_price(price_schema: dict[str, Any], prices: list[float]) -> None:
    given = json.dumps({"schema": price_schema, "values": prices})

    refused = run("node", CLIENTS / "refused.js", stdin=given)

    assert json.loads(refused) == [TOO_HIGH]


@pytest.mark.slow
def test_a_generated_python_client_calls_every_operation(
    address: str, file: Path, successes: dict[str, int]
) -> None:
    package = file.with_name("products_client")
    config = CLIENTS / "python.yaml"
    options = ("--output-path", package, "--meta", "none", "--fail-on-warning", "--config", config)
    run(SCRIPTS / "openapi-python-client", "generate", "--path", file, *options, PATH=str(SCRIPTS))

    codes = run(
        sys.executable, CLIENTS / "every_operation.py", address, PYTHONPATH=str(package.parent)
    )

    named = {camel_case(name): code for name, code in json.loads(codes).items()}
    assert named == successes


@needs_node
@pytest.mark.slow
def test_a_generated_typescript_client_calls_every_operation(
    address: str, file: Path, successes: dict[str, int]
) -> None:
    folder = file.parent
    (folder / "node_modules").symlink_to(MODULES)
    for name in ("package.json", "every_operation.ts"):
        shutil.copy(CLIENTS / name, folder)
    types = folder / "schema.d.ts"
    programs = MODULES / ".bin"
    run(programs / "openapi-typescript", file, "-o", types, "--default-non-nullable", "false")
    run(programs / "tsc", *COMPILER_OPTIONS, folder / "every_operation.ts")

    codes = run("node", folder / "every_operation.js", address)

    assert json.loads(codes) == successes
