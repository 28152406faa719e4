"""Files: how long large imports and exports take, and how long readers wait meanwhile."""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from threading import Event
from time import perf_counter

from benchmarks import catalogue
from benchmarks.servers import Server, serving

PRODUCTS = 1_000_000
ROUND_TRIPPED = 100_000
ROWS = 10_000
READERS = 16
IMPORTS = 5
MAX_IMPORT_SECONDS, MAX_UNCHANGED_SECONDS, MAX_MEBIBYTES, MAX_READ_MS = 180, 120, 150, 100


def main() -> None:
    """Import and export by command, then import by HTTP while others read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=PRODUCTS)
    count = parser.parse_args().products
    with catalogue.postgresql() as environment, TemporaryDirectory() as directory:
        folder = Path(directory)
        catalogue.load(environment, ROUND_TRIPPED)
        for name, *options in (
            ("all.csv",),
            ("excel.csv", "--dialect", "excel"),
            ("eu.csv", "--dialect", "excel-eu"),
            ("all.jsonl",),
        ):
            flask(environment, "products-export", folder / name, *options)
            flask(environment, "products-import", folder / name, unchanged=ROUND_TRIPPED)
        import_while_reading(environment)

        catalogue.load(environment, 0)
        write(folder / "new.csv", count)
        flask(environment, "products-import", folder / "new.csv", seconds=MAX_IMPORT_SECONDS)
        flask(environment, "products-export", folder / "old.csv")
        flask(
            environment,
            "products-import",
            folder / "old.csv",
            seconds=MAX_UNCHANGED_SECONDS,
            unchanged=count,
        )


def write(file: Path, count: int) -> None:
    """Write a file that creates products."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(catalogue.COLUMNS)
        writer.writerows(catalogue.rows(count))


def flask(
    environment: dict[str, str],
    command: str,
    file: Path,
    *options: str,
    seconds: float = 0,
    unchanged: int = 0,
) -> None:
    """Run a command; print its time and its peak memory; require that nothing was changed."""
    program = [str(Path(sys.executable).with_name("flask")), command, str(file), *options]
    started = perf_counter()
    process = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout  # noqa: S101  # for mypy
    said = process.stdout.read().splitlines()[-1]
    _, code, usage = os.wait4(process.pid, 0)
    took, mebibytes = perf_counter() - started, usage.ru_maxrss / 1024
    if code or (unchanged and not said.endswith(f"unchanged: {unchanged:,}.")):
        raise RuntimeError(f"{command} {file.name}: {said}")
    target = f" (at most {seconds} s, {MAX_MEBIBYTES} MiB)" if seconds else ""
    print(f"{command} {file.name}: {said} {took:.1f} s, {mebibytes:.0f} MiB{target}", flush=True)


def import_while_reading(environment: dict[str, str]) -> None:
    """Import files by HTTP while others read; print how long their reads took."""
    with serving("service", environment) as server, ThreadPoolExecutor(READERS) as pool:
        alone = read_until(server, pool, lambda: Event().wait(5))
        beside = read_until(server, pool, lambda: import_rows(server))
    print(f"GET one, {READERS} readers: p99 {p99(alone):.0f} ms alone")
    print(
        f"GET one, {READERS} readers: p99 {p99(beside):.0f} ms (at most {MAX_READ_MS}) "
        f"beside {IMPORTS} imports of {ROWS:,} rows",
        flush=True,
    )


def read_until(server: Server, pool: ThreadPoolExecutor, work: Callable[[], object]) -> list[float]:
    """Read products while ``work`` is done; return the milliseconds of each read."""
    is_done = Event()
    readers = [pool.submit(lambda: list(read(server, is_done))) for _ in range(READERS)]
    try:
        work()
    finally:
        is_done.set()
    return [took for reader in readers for took in reader.result()]


def read(server: Server, is_done: Event) -> Iterator[float]:
    """Read a product again and again; yield the milliseconds of each read."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    while not is_done.is_set():
        started = perf_counter()
        connection.request("GET", "/products/7")
        response = connection.getresponse()
        response.read()
        if response.status != 200:  # noqa: PLR2004  # as everybody knows it
            raise RuntimeError(f"a reader was answered {response.status}")
        yield (perf_counter() - started) * 1000
    connection.close()


def import_rows(server: Server) -> None:
    """Change the prices of many products, several times."""
    for number in range(IMPORTS):
        rows = "".join(f"{product},{number + 1}\n" for product in range(1, ROWS + 1))
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        headers = {"Content-Type": "text/csv", "If-Match": "*"}
        connection.request("POST", "/products/import", f"id,price\n{rows}", headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if f'"updated":{ROWS}'.encode() not in answer:
            raise RuntimeError(f"an import was answered {response.status}: {answer[:200]!r}")


def p99(took: list[float]) -> float:
    """Return the 99th percentile."""
    return quantiles(took, n=100)[-1]


if __name__ == "__main__":
    main()
