"""The settings: each variable, its default, and what is no value of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from service import create_app
from service.config import ConfigurationError, Settings, load_settings
from tests.factories import product_body
from tests.helpers import app_with_tables

ROOT = Path(__file__).parent.parent
POSTGRESQL = "postgresql+psycopg://127.0.0.1/products"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URI", ""),
        ("DATABASE_URI", " "),
        ("DATABASE_URI", "products.db"),
        ("DATABASE_URI", "mysql://127.0.0.1/products"),
        ("DATABASE_URI", "oracle://127.0.0.1/products"),
        ("DATABASE_URI", "nosuch://127.0.0.1/products"),
        ("DATABASE_URI", "postgresql+asyncpg://127.0.0.1/products"),
        ("DATABASE_URI", "postgresql+psycopg://127.0.0.1/products ?sslmode=require"),
        ("DATABASE_URI", "postgresql+psycopg://127.0.0.1\n/products"),
        ("DATABASE_URI", "sqlite:///products.db\n?timeout=3"),
        ("DATABASE_URI", "sqlite://"),
        ("DATABASE_URI", "sqlite:///:memory:"),
        ("DATABASE_READ_URI", " "),
        ("DATABASE_READ_URI", "standby.example.com"),
        ("DATABASE_READ_URI", "postgresql+psycopg://127.0.0.1/products?conect_timeout=3"),
        ("MAX_CONTENT_LENGTH", "0"),
        ("MAX_CONTENT_LENGTH", "-1"),
        ("MAX_CONTENT_LENGTH", "1 MiB"),
        ("API_TOKENS", "\n"),
        ("API_TOKENS_FILE", " "),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "shop.example.com"),
        ("CORS_ORIGINS", "https://shop.example.com/"),
        ("CORS_ORIGINS", "https://shop.example.com, https://*.example.com"),
        ("TRUSTED_HOSTS", "*"),
        ("TRUSTED_HOSTS", " "),
        ("PROMETHEUS_MULTIPROC_DIR", " "),
        ("TRUSTED_HOSTS", "shop.example.com:8080"),
        ("TRUSTED_HOSTS", "https://shop.example.com"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_LEVEL", ""),
        ("HOST", ""),
        ("HOST", "0.0.0"),
        ("HOST", "shop.example.com"),
        ("HOST", "127.0.0.1:8000"),
        ("HOST", "[::1]"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("WEB_CONCURRENCY", "-1"),
        ("WEB_THREADS", "two"),
        ("TRUSTED_PROXIES", "-1"),
        ("TRUSTED_PROXIES", "true"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"The environment variable {name} is invalid"):
        load_settings({name: value})


@pytest.mark.parametrize(
    ("uri", "read_uri", "reason"),
    [
        (POSTGRESQL, "sqlite:///a.db", "must begin with postgresql+psycopg://"),
        (
            "sqlite:///a.db",
            POSTGRESQL,
            "must not be set if DATABASE_URI is SQLite, which has no standby",
        ),
    ],
)
def test_sqlite_has_no_standby(uri: str, read_uri: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings({"DATABASE_URI": uri, "DATABASE_READ_URI": read_uri})

    assert str(refusal.value) == (
        f"The environment variable DATABASE_READ_URI is invalid: {reason}"
    )


def test_another_scheme_is_refused_with_the_right_one() -> None:
    with pytest.raises(
        ConfigurationError, match=r"must begin with postgresql\+psycopg://, not with postgres://"
    ):
        load_settings({"DATABASE_URI": "postgres://127.0.0.1/products"})


@pytest.mark.parametrize("stray", ["{}\n", "{}\r\n", " {}", "\t{} "])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URI", "sqlite:///shop.db"),
        ("DATABASE_URI", "postgresql+psycopg://127.0.0.1/cat"),
        ("API_TOKENS", "shop=" + "0123456789" * 5),
        ("API_TOKENS_FILE", "/run/secrets/tokens"),
        ("PROMETHEUS_MULTIPROC_DIR", "/run/prometheus"),
        ("LOG_LEVEL", "ERROR"),
        ("HOST", "*"),
        ("PORT", "8001"),
        ("REQUIRE_IF_MATCH", "true"),
        ("TRUSTED_HOSTS", "shop.example.com"),
    ],
)
def test_white_space_at_the_ends_of_a_value_is_no_part_of_it(
    name: str, value: str, stray: str
) -> None:
    assert load_settings({name: stray.format(value)}) == load_settings({name: value})


@pytest.mark.parametrize("level", ["debug", "Warning", "ERROR"])
def test_the_level_is_read_in_any_case(level: str) -> None:
    assert level.upper() == load_settings({"LOG_LEVEL": level}).LOG_LEVEL


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)PORT.*LOG_LEVEL|LOG_LEVEL.*PORT"):
        load_settings({"PORT": "x", "LOG_LEVEL": "x"})


def test_a_bad_value_is_not_told_as_it_may_be_a_secret() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings({"DATABASE_URI": "mysql://shop:hush@127.0.0.1/products"})

    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("DATABASE_READ_URL", "DATABASE_READ_URI"),
        ("DATABASE_RAED_URI", "DATABASE_READ_URI"),
        ("DB_READ_URL", "DATABASE_READ_URI"),
        ("DATABASE_URL", "DATABASE_URI"),
        ("database_uri", "DATABASE_URI"),
        ("DB_URI", "DATABASE_URI"),
        ("DB_URL", "DATABASE_URI"),
        ("SQLALCHEMY_DATABASE_URI", "DATABASE_URI"),
        ("sqlalchemy_database_uri", "DATABASE_URI"),
        ("SQLALCHEMY_DATABASE_URL", "DATABASE_URI"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("WEB_THREAD", "WEB_THREADS"),
        ("PROT", "PORT"),
        ("MAX_CONTENT_LENGHT", "MAX_CONTENT_LENGTH"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_right_name(misspelt: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{misspelt} is not known; did you mean {meant}"):
        load_settings({misspelt: "1"})


def test_other_variables_are_left_alone() -> None:
    others = dict.fromkeys(("PATH", "HOSTNAME", "DATABASE_URL", "DB_URI"), "for another")

    settings = load_settings(others | {"DATABASE_URI": "sqlite:///a.db"})

    assert settings == Settings(DATABASE_URI="sqlite:///a.db")


def test_the_example_lists_every_variable_with_its_default() -> None:
    lines = (ROOT / "dot-env-example").read_text().splitlines()
    settings = [line for line in lines if line and not line.startswith("# ")]
    listed = dict(line.removeprefix("#").split("=", 1) for line in settings)

    assert listed.keys() == Settings.model_fields.keys()
    assert load_settings(listed) == Settings()
    assert all(line.startswith("#") for line in settings)
    text = " ".join(line.removeprefix("# ") for line in lines).lower()
    for field in Settings.model_fields.values():
        assert str(field.description).lower() in text


def test_the_environment_is_read_and_what_is_given_goes_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAX_CONTENT_LENGTH", "1000")
    monkeypatch.setenv("LOG_LEVEL", "ERROR")

    app = create_app({"LOG_LEVEL": "DEBUG"})

    assert app.config["MAX_CONTENT_LENGTH"] == 1000
    assert app.config["LOG_LEVEL"] == "DEBUG"


def test_the_size_of_a_body_can_be_set(tmp_path: Path) -> None:
    app = create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'a.db'}", "MAX_CONTENT_LENGTH": 100})

    response = app.test_client().post("/products", json=product_body(name="x" * 100))

    assert response.status_code == 413
    assert response.get_json()["detail"] == "The body is larger than 100 bytes"


def test_two_apps_in_one_process_have_a_database_each(
    tmp_path: Path, postgresql_app: Flask
) -> None:
    with (
        app_with_tables(f"sqlite:///{tmp_path / 'a.db'}") as first,
        app_with_tables(f"sqlite:///{tmp_path / 'b.db'}") as second,
    ):
        for app, name in ((first, "first"), (second, "second"), (postgresql_app, "third")):
            assert (
                app.test_client().post("/products", json=product_body(name=name)).status_code == 201
            )

        found = [
            [product["name"] for product in app.test_client().get("/products").get_json()]
            for app in (first, second, postgresql_app)
        ]

    assert found == [["first"], ["second"], ["third"]]


def test_making_an_app_touches_no_database(tmp_path: Path) -> None:
    create_app({"DATABASE_URI": f"sqlite:///{tmp_path / 'a.db'}"})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"PORT": "12345", "WEB_CONCURRENCY": "3", "WEB_THREADS": "5"},
            {
                "bind": "['127.0.0.1:12345']",
                "workers": "3",
                "threads": "5",
                "forwarded_allow_ips": "[]",
            },
        ),
        (
            {"HOST": "::1", "LOG_LEVEL": "ERROR"},
            {
                "bind": "['[::1]:8000']",
                "workers": str(len(os.sched_getaffinity(0))),
                "loglevel": "error",
            },
        ),
    ],
)
def test_gunicorn_takes_what_it_needs_from_the_settings(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "service.server", "--print-config"],
        env=os.environ | given, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip

    shown = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    shown = {name.strip(): value.strip() for name, value in shown.items()}
    assert {name: shown[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("true", True),
        ("OFF", False),
        ("1", True),
        ("prepared", "prepared"),
        ("Prepared", "prepared"),
    ],
)
def test_statements_may_be_prepared_behind_pgbouncer(value: str, expected: bool | str) -> None:
    assert expected == load_settings({"DATABASE_PGBOUNCER": value}).DATABASE_PGBOUNCER


@pytest.mark.parametrize("value", ["", "2", "prepare", "true prepared"])
def test_another_value_for_pgbouncer_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^[^;]* must be true, false or prepared$"):
        load_settings({"DATABASE_PGBOUNCER": value})


OLD_LIBPQ = """
from psycopg import pq
from service.config import ConfigurationError, load_settings
if pq.version() >= 170000:
    print("newer")
else:
    load_settings({"DATABASE_PGBOUNCER": "true"})
    try:
        load_settings({"DATABASE_PGBOUNCER": "prepared"})
    except ConfigurationError as error:
        print(error)
"""


def test_prepared_needs_a_libpq_that_can_close_a_statement() -> None:
    """With the libpq of the system, which may be older than the one of psycopg's package."""
    found = subprocess.run(
        [sys.executable, "-c", OLD_LIBPQ],
        env=os.environ | {"PSYCOPG_IMPL": "python"}, cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    if "no pq wrapper available" in found.stderr or found.stdout == "newer\n":
        pytest.skip("the system has no libpq older than 17")

    assert found.stdout.endswith(" can be prepared with libpq 17 or newer only: set it to true\n")
