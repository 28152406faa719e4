"""The commands products-import and products-export, and imports whose process is killed."""

import shutil
import signal
import subprocess
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from werkzeug.test import TestResponse

from service import create_app
from tests.factories import product_body
from tests.helpers import WAIT_SECONDS, execute, wait_for
from tests.test_cli_commands import at_a_terminal
from tests.test_files_export import stock, stock_odd_texts

ROOT = Path(__file__).parent.parent
NEW = "name,img_url,price\n"
ROWS = 300
KILLS = 20
SOFFICE = shutil.which("soffice")


def listed(app: Flask) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = app.test_client().get("/products").get_json()
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [("all.csv", []), ("all.CSV", ["--dialect", "excel-eu"]), ("all.jsonl", [])],
)
def test_an_exported_file_is_that_of_http_and_changes_nothing(
    app: Flask, runner: FlaskCliRunner, tmp_path: Path, name: str, options: list[str]
) -> None:
    stock_odd_texts(app)
    count = len(listed(app))
    file = tmp_path / name

    exported = runner.invoke(args=["products-export", str(file), *options])
    imported = runner.invoke(args=["products-import", str(file)])

    assert exported.output.endswith(f"Exported {count} products.\n")
    path = "/products.jsonl" if name.endswith("l") else "/products.csv"
    query = {"dialect": options[1]} if options else {}
    assert file.read_bytes() == app.test_client().get(path, query_string=query).data
    assert (imported.exit_code, imported.stderr) == (0, "")
    assert imported.output.endswith(f"Created: 0; updated: 0; unchanged: {count}.\n")
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_of_more_rows_than_http_takes_is_imported(
    app: Flask, runner: FlaskCliRunner, tmp_path: Path
) -> None:
    file = tmp_path / "new.csv"
    file.write_text(NEW + "".join(f"N{n},a,{n}\n" for n in range(10_001)))

    planned = runner.invoke(args=["products-import", str(file), "--dry-run"])
    assert planned.output.endswith("To create: 10,001; to update: 0; unchanged: 0.\n")
    assert listed(app) == []
    imported = runner.invoke(args=["products-import", str(file)])

    assert imported.output.endswith("Created: 10,001; updated: 0; unchanged: 0.\n")
    assert [product["name"] for product in listed(app)] == [f"N{n}" for n in range(10_001)]


def test_faults_are_a_table_on_standard_error(
    app: Flask, runner: FlaskCliRunner, tmp_path: Path
) -> None:
    stock(app, {}, {})
    before = listed(app)
    file = tmp_path / "prices.csv"
    file.write_text('id,price\n1,"1,800"\n2,5\n')

    refused = runner.invoke(args=["products-import", str(file)])

    assert refused.exit_code == 1
    assert refused.stderr.splitlines() == [
        "row  column  value  fault",
        "2    price   1,800  may mean 1800 or 1.8: write 1800.00",
        "Faulty rows: 1.",
        "Error: Nothing was imported: faulty rows: 1.",
    ]
    assert listed(app) == before
    skipped = runner.invoke(args=["products-import", str(file), "--skip-faulty"])
    assert (skipped.exit_code, listed(app)[1]["price"]) == (1, 5)
    assert listed(app)[0] == before[0]


def test_the_options_are_those_of_http(app: Flask, runner: FlaskCliRunner, tmp_path: Path) -> None:
    app.test_client().post("/products", json=product_body(name="Käse", price=10))
    file = tmp_path / "prices.csv"
    file.write_bytes("Produkt;Preis;Notiz\nKäse;11;x\n".encode("windows-1252"))
    columns = ["Produkt:name", "Preis:price", "Notiz:"]
    options = [part for column in columns for part in ("--column", column)]
    options += ["--match", "name", "--charset", "windows-1252"]

    large = runner.invoke(args=["products-import", str(file), *options, "--max-price-change", "9"])
    small = runner.invoke(args=["products-import", str(file), *options, "--max-price-change", "10"])

    assert (large.exit_code, small.exit_code) == (1, 0)
    assert "by more than 9 %" in large.stderr
    assert listed(app)[0]["price"] == 11


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["products-import", "nosuch.csv"], "does not exist"),
        (["products-import", "README.md"], "must end with .csv"),
        (["products-import", "README.md", "--column", "x"], "must be HEADING:member"),
        (["products-import", "README.md", "--charset", "x"], "is not a known character set"),
        (["products-import", "README.md", "--max-price-change", "-1"], "must be a percentage"),
        (["products-export", "products.xlsx"], "must end with .csv"),
    ],
)
def test_a_wrong_argument_is_refused(
    sqlite_app: Flask, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(ROOT)

    result = sqlite_app.test_cli_runner().invoke(args=arguments)

    assert result.exit_code == 2
    assert message in result.stderr


def test_an_export_that_fails_is_one_line_and_leaves_no_file(
    app: Flask, runner: FlaskCliRunner, tmp_path: Path
) -> None:
    stock(app, {})
    result = runner.invoke(args=["products-export", str(tmp_path / "none" / "all.csv")])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "all.csv.part cannot be written: No such file or directory" in result.stderr

    (tmp_path / "all.csv").mkdir()
    result = runner.invoke(args=["products-export", str(tmp_path / "all.csv" / "x.csv")])
    assert result.exit_code == 0

    execute(app, "ALTER TABLE products RENAME TO lost")
    result = runner.invoke(args=["products-export", str(tmp_path / "lost.csv")])
    execute(app, "ALTER TABLE lost RENAME TO products")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert not list(tmp_path.glob("*.part"))


def test_progress_is_shown_at_a_terminal(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text(NEW + "A,a,1\n")

    code, said = at_a_terminal(app, "products-import", str(file))

    assert code == 0
    assert "Reading" in said
    assert "Writing ..." in said
    assert "Created: 1; updated: 0; unchanged: 0." in said


def import_and_wait(uri: str, key: str, is_ready: Any) -> None:
    """Import a file, then wait to be killed."""
    client = create_app({"DATABASE_URI": uri}).test_client()
    assert client.get("/products?limit=1").status_code == 200
    is_ready.set()
    send(client, key)
    signal.pause()


def send(client: FlaskClient, key: str) -> TestResponse:
    file = NEW + "".join(f"{key} {n},a,{n}\n" for n in range(ROWS))
    headers = {"If-Match": "*", "Idempotency-Key": key}
    return client.post("/products/import", data=file, content_type="text/csv", headers=headers)


@pytest.mark.skipif(not SOFFICE, reason="LibreOffice is not installed")
def test_a_file_that_libreoffice_has_saved_changes_nothing(
    app: Flask, runner: FlaskCliRunner, tmp_path: Path
) -> None:
    stock(app, *({"name": f"'=1+{n}", "category": None, "rating": n} for n in range(20)))
    runner.invoke(args=["products-export", str(tmp_path / "all.csv"), "--dialect", "excel"])

    # Comma, double quote, UTF-8; cells as they are stored, not as they are shown.
    csv_filter = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false"
    saved = tmp_path / "saved"
    subprocess.run(
        [str(SOFFICE), "--headless", "--convert-to", csv_filter, "--outdir", saved, "all.csv"],
        cwd=tmp_path, check=True, timeout=120,
    )  # fmt: skip
    imported = runner.invoke(args=["products-import", str(saved / "all.csv"), "--dry-run"])

    assert imported.output.endswith("To create: 0; to update: 0; unchanged: 20.\n")


def answer_to_repetition(client: FlaskClient, key: str) -> TestResponse:
    """Repeat the import until no other one is running; return the answer."""
    answers: list[TestResponse] = []

    def is_answered() -> bool:
        answers.append(send(client, key))
        return answers[-1].status_code == 200

    wait_for(is_answered)
    return answers[-1]


def test_a_killed_import_is_all_or_nothing_and_its_repetition_gives_its_answer(app: Flask) -> None:
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["service"])
    client = app.test_client()
    started = monotonic()
    assert send(client, "0").status_code == 200
    seconds = monotonic() - started

    for number in range(1, KILLS + 1):
        key = str(number)
        is_ready = processes.Event()
        arguments = (app.config["DATABASE_URI"], key, is_ready)
        importer = processes.Process(target=import_and_wait, args=arguments)
        importer.start()
        assert is_ready.wait(WAIT_SECONDS)
        importer.join(1.5 * seconds * number / KILLS)  # which it does not end within
        importer.kill()
        importer.join()

        answer = answer_to_repetition(client, key)

        products = listed(app)
        assert len(products) == (number + 1) * ROWS
        new = [product["id"] for product in products if product["name"].startswith(f"{key} ")]
        assert answer.get_json() == {"created": new, "updated": 0, "unchanged": 0}
