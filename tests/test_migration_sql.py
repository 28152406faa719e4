"""The SQL of the migrations: no statement of it keeps the service waiting on PostgreSQL."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from service.database import revisions

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent


def squawk(sql: str) -> tuple[int, str]:
    """Return squawk's exit code and what it says."""
    ran = subprocess.run(
        [SCRIPTS / "squawk", "--reporter", "gcc"],
        input=sql, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr


REVISIONS = ("base", *reversed(revisions.known()))


@pytest.mark.parametrize(("before", "after"), [*pairwise(REVISIONS)])
def test_squawk_finds_nothing_in_an_upgrade(before: str, after: str) -> None:
    written = subprocess.run(
        [sys.executable, "-m", "flask", "db", "upgrade", f"{before}:{after}", "--sql"],
        env={**os.environ, "DATABASE_URI": "postgresql+psycopg://nobody@nowhere/products"},
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip

    assert f"-- Running upgrade {before.replace('base', '')} -> {after}" in written
    code, said = squawk(written)
    assert code == 0, said


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("CREATE INDEX ix ON products (name);", "require-concurrent-index-creation"),
        ("ALTER TABLE products ADD COLUMN brand text NOT NULL;", "adding-required-field"),
        ("ALTER TABLE products DROP COLUMN rating;", "ban-drop-column"),
        ("ALTER TABLE products RENAME COLUMN rating TO stars;", "renaming-column"),
        ("ALTER TABLE products ALTER COLUMN name TYPE text;", "changing-column-type"),
    ],
)
def test_squawk_refuses_what_would_break_the_version_that_is_running(sql: str, rule: str) -> None:
    code, said = squawk(f"SET lock_timeout = '5s'; SET statement_timeout = '5s'; {sql}")

    assert code == 1
    assert rule in said
