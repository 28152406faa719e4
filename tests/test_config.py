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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URI", ""),
        ("DATABASE_URI", "products.db"),
        ("DATABASE_URI", "mysql://127.0.0.1/products"),
        ("DATABASE_URI", "oracle://127.0.0.1/products"),
        ("DATABASE_URI", "nosuch://127.0.0.1/products"),
        ("DATABASE_URI", "postgresql+asyncpg://127.0.0.1/products"),
        ("DATABASE_URI", "postgresql+psycopg://127.0.0.1:port/products"),
        ("DATABASE_URI", "postgresql+psycopg://127.0.0.1/products?conect_timeout=3"),
        ("DATABASE_URI", "postgresql+psycopg://127.0.0.1/products?connect_timeout=long"),
        ("DATABASE_URI", "sqlite://"),
        ("DATABASE_URI", "sqlite:///:memory:"),
        ("MAX_CONTENT_LENGTH", "0"),
        ("MAX_CONTENT_LENGTH", "-1"),
        ("MAX_CONTENT_LENGTH", "1 MiB"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "shop.example.com"),
        ("CORS_ORIGINS", "https://shop.example.com/"),
        ("CORS_ORIGINS", "https://shop.example.com, https://*.example.com"),
        ("TRUSTED_HOSTS", "*"),
        ("TRUSTED_HOSTS", "shop.example.com:8080"),
        ("TRUSTED_HOSTS", "https://shop.example.com"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_LEVEL", ""),
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
        ("DATABASE_URL", "DATABASE_URI"),
        ("database_uri", "DATABASE_URI"),
        ("WEB_THREAD", "WEB_THREADS"),
        ("PROT", "PORT"),
        ("MAX_CONTENT_LENGHT", "MAX_CONTENT_LENGTH"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_right_name(misspelt: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{misspelt} is not known; did you mean {meant}"):
        load_settings({misspelt: "1"})


def test_other_variables_are_left_alone() -> None:
    environ = {"PATH": "/bin", "DATABASE_URI": "sqlite:///a.db", "DATABASE_URL": "for another"}

    assert load_settings(environ) == Settings(DATABASE_URI="sqlite:///a.db")


def test_the_example_lists_every_variable_with_its_default() -> None:
    lines = (ROOT / "dot-env-example").read_text().splitlines()
    listed = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    assert listed.keys() == Settings.model_fields.keys()
    assert load_settings(listed) == Settings()
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
            {"workers": "3", "threads": "5", "forwarded_allow_ips": "[]"},
        ),
        (
            {"PORT": "12345", "LOG_LEVEL": "ERROR"},
            {"workers": str(len(os.sched_getaffinity(0))), "loglevel": "error"},
        ),
    ],
)
def test_gunicorn_takes_what_it_needs_from_the_settings(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--print-config", "wsgi:app"],
        env=os.environ | given, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip

    shown = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    shown = {name.strip(): value.strip() for name, value in shown.items()}
    assert shown["bind"] in {"['[::]:12345']", "['0.0.0.0:12345']"}
    assert {name: shown[name] for name in expected} == expected
