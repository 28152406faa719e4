"""Deployment: what `make` does to a cluster, and what docs/deploy.md tells an operator."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
from flask import Flask
from sqlalchemy import make_url

from service.config import load_settings, parse_tokens
from service.database import revisions
from tests.helpers import app_with_tables, execute
from tests.manifests import (
    FILES,
    IMAGE,
    OLDEST_KUBERNETES,
    ROOT,
    Manifest,
    containers,
    find,
    pod,
    read,
    workloads,
)

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def secret_keys(manifests: list[Manifest]) -> set[str]:
    """Return what the pods read of the Secret, as variables and as files."""
    used = set()
    for workload in workloads(manifests):
        for container in containers(workload):
            references = [v.get("valueFrom", {}).get("secretKeyRef") for v in container["env"]]
            used |= {(r["name"], r["key"]) for r in references if r}
        for volume in pod(workload)["volumes"]:
            if secret := volume.get("secret"):
                used |= {(secret["secretName"], item["key"]) for item in secret["items"]}
    assert {name for name, _ in used} == {"products"}
    return {key for _, key in used}


MakeSecret = Callable[[], tuple[str, Manifest]]


@pytest.fixture
def make_secret(tmp_path: Path) -> MakeSecret:
    """Give what runs `make secret` on a cluster that keeps one Secret, and returns that."""
    stored = tmp_path / "secret.yaml"
    stub = tmp_path / "kubectl"
    stub.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f'  *"get secret products"*) test ! -e {stored} || echo secret/products ;;\n'
        f'  *create*) test ! -e {stored} && cat > {stored} ;;\n'
        '  *apply*namespace.yaml*) ;;\n'
        "  *) exit 1 ;;\n"
        "esac\n"
    )  # fmt: skip
    stub.chmod(0o755)

    def run() -> tuple[str, Manifest]:
        made = subprocess.run(
            ["make", "secret"],  # noqa: S607  # as a person calls it
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        (secret,) = read(stored)
        return made.stdout + made.stderr, secret

    return run


def make_would_run(target: str) -> str:
    return subprocess.run(
        ["make", "--dry-run", target],  # noqa: S607  # as a person calls it
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


def test_what_is_pushed_is_what_the_cluster_pulls() -> None:
    registry, _, image = IMAGE.partition("/")
    name, _, port = registry.partition(":")

    assert f"docker build --pull -t {image} ." in make_would_run("build")
    assert f"docker push localhost:{port}/{image}\n" in make_would_run("push")
    assert f"--registry-create {name}:0.0.0.0:{port} " in make_would_run("cluster")


def test_undeploy_leaves_nothing_behind_but_what_holds_the_data() -> None:
    undeployed = set(re.findall(r"-f k8s/(\S+)", make_would_run("undeploy")))

    kept = {file.name for file in FILES} - undeployed
    assert kept == {"namespace.yaml", "pv.yaml"}


def test_make_secret_makes_what_the_pods_read(
    manifests: list[Manifest], make_secret: MakeSecret
) -> None:
    output, secret = make_secret()

    kubernetes_validate.validate(secret, OLDEST_KUBERNETES, strict=True)
    values = secret["stringData"]
    assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("products",) * 2
    assert values.keys() == secret_keys(manifests)
    assert parse_tokens(values["tokens"]).keys() == {"admin"}
    passwords = {value for name, value in values.items() if name.endswith("_PASSWORD")}
    secrets = {*passwords, *parse_tokens(values["tokens"]).values()}
    assert len(secrets) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in secrets)
    assert not [value for value in secrets if value in output]


@pytest.mark.parametrize(
    ("key", "role", "password"),
    [
        ("DATABASE_URI", "products", "PRODUCTS_PASSWORD"),
        ("OWNER_DATABASE_URI", "products_owner", "OWNER_PASSWORD"),
    ],
)
def test_a_uri_of_the_secret_leads_to_the_database(
    manifests: list[Manifest], make_secret: MakeSecret, key: str, role: str, password: str
) -> None:
    _, secret = make_secret()

    values = secret["stringData"]
    uri = make_url(load_settings({"DATABASE_URI": values[key]}).DATABASE_URI)
    assert (uri.username, uri.password, uri.database) == (role, values[password], "products")
    service = find(manifests, "Service", str(uri.host))
    assert [port["port"] for port in service["spec"]["ports"]] == [uri.port]


def test_make_secret_leaves_a_secret_as_it_is(make_secret: MakeSecret) -> None:
    _, first = make_secret()

    output, second = make_secret()

    assert second == first
    assert "stays as it is" in output


def test_each_secret_is_another(make_secret: MakeSecret, tmp_path: Path) -> None:
    _, first = make_secret()
    (tmp_path / "secret.yaml").unlink()

    _, second = make_secret()

    assert not set(first["stringData"].values()) & set(second["stringData"].values())


def test_the_version_before_goes_on_where_the_next_has_migrated(empty_database: str) -> None:
    """In a roll-out it serves beside the next version; after a roll-back it starts again."""
    with app_with_tables(empty_database) as app:
        following = f"{int(revisions.known()[0]) + 1:04}"
        execute(app, f"UPDATE alembic_version SET version_num = '{following}'")

        assert app.test_client().get("/readyz").status_code == 200
        upgraded = app.test_cli_runner().invoke(args=["db", "upgrade"])
        assert upgraded.exit_code == 0, upgraded.output


def test_the_metrics_that_are_explained_are_those_of_the_service(sqlite_app: Flask) -> None:
    exposition = sqlite_app.test_client().get("/metrics").get_data(as_text=True)

    there = set(re.findall(r"^# TYPE (\S+)(?<!_created) ", exposition, re.MULTILINE))
    metrics = {name for name in there if name.startswith(("http_", "database_"))}
    assert set(re.findall(r"^\| `((?:http|database)_\w+)` \|", OPERATIONS, re.MULTILINE)) == metrics

    alerts = set(re.findall(r"\b(?:http|database)_[a-z_]+", OPERATIONS))
    assert {re.sub("_(sum|count|bucket)$", "", name) for name in alerts} <= metrics


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "k8s").glob("*.yaml")))
def test_the_guide_explains_each_manifest(file: str) -> None:
    assert f"`{file}`" in GUIDE


def test_the_targets_of_the_guide_are_those_of_make() -> None:
    lines = re.findall(r"`?make ([a-z -]+[a-z])", GUIDE)
    named = {target for line in lines for target in line.split()}

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named >= {"cluster", "cluster-rm", "build", "push", "secret", "deploy", "undeploy"}
    assert named <= targets
