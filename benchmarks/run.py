"""The driver of `make bench`: starts everything, checks the answers, measures, reports."""

import argparse
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from types import FrameType
from urllib.parse import parse_qsl, urlencode, urlsplit

from benchmarks import catalogue, report
from benchmarks.load import Request, send
from benchmarks.report import Result
from benchmarks.servers import Server, available, serving

LIMIT_SECONDS = 600
CONNECTIONS = 16
LATENCY_ROUNDS = 3
UNTARGETED_ROUNDS = 2
READS = 5_000
TAGS = 500
PAGES = 100
PAGE = "/products?limit=100"
FILTERED = "/products?" + urlencode(
    {"category": "kitchen", "status": "active", "sort": "-price", "limit": 20}
)
SEARCH = "/products?" + urlencode({"q": " ".join(catalogue.RARE_WORDS), "limit": 100})
SORTS = (
    "id",
    "-id",
    "name",
    "-price",
    "price",
    "-rating",
    "category",
    "-status",
    "category,-price",
)
NEW_PRODUCT = {
    "name": "Alder Folding Stool, navy",
    "img_url": "https://img.example.com/products/new.jpg",
    "description": "Folding stool in navy, made by Alder.",
    "price": 49.95,
    "rating": 4,
    "category": "Furniture",
    "status": "active",
}
JSON = ("Content-Type", "application/json")


class WrongAnswerError(Exception):
    """A program does not answer what it should; its speed says nothing."""


@dataclass(frozen=True)
class Work:
    """One kind of request, who is compared on it, and the least ratio to each that is wanted."""

    name: str
    requests: Callable[[Server], list[Request]]
    peers: dict[str, float | None]


def reads(server: Server) -> list[Request]:
    """Read one product, any."""
    return [Request(f"/products/{number}") for number in some_ids(READS)]


def known_reads(server: Server) -> list[Request]:
    """Read one product that the client already has."""
    return [
        Request(f"/products/{number}", header=("If-None-Match", tag(server, number)))
        for number in some_ids(TAGS)
    ]


def pages(server: Server) -> list[Request]:
    """Read a page by id, any of the first hundred."""
    return [Request(path) for path in walk(server, PAGES)]


WORKS = (
    Work(
        "GET one product",
        reads,
        {"floor": 0.70, "gthread": 1.5, "Granian": 0.9, "FastAPI": 1.8, "Fastify": None},
    ),
    Work("GET one, If-None-Match matches", known_reads, {"floor": 0.70}),
    Work(
        "page of 100 by id",
        pages,
        {"gthread": None, "Granian": None, "FastAPI": 4.0, "Fastify": 0.35},
    ),
    Work(
        "page of 20, category + status, sort=-price",
        lambda server: [Request(FILTERED)],
        {"gthread": None, "Granian": None, "FastAPI": 2.5, "Fastify": None},
    ),
    Work(
        "POST one product",
        lambda server: [Request("/products", "POST", JSON, json.dumps(NEW_PRODUCT))],
        {"gthread": None, "Granian": None, "FastAPI": 1.5, "Fastify": None},
    ),
)
# These run the service's own app.
SAME_APP = {"service", "gthread", "Granian"}


def some_ids(count: int) -> list[int]:
    """Return ids of products, the same at every call."""
    return random.Random(count).choices(range(1, catalogue.PRODUCTS + 1), k=count)  # noqa: S311


def ask(server: Server, path: str, expected: int = 200) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a GET; raises if it has another status."""
    response, body = server.ask(Request(path))
    require(server, path, response.status, expected)
    return {name.title(): value for name, value in response.getheaders()}, body


def require(server: Server, what: str, found: object, expected: object) -> None:
    """Stop the benchmark if an answer is not the right one."""
    if found != expected:
        raise WrongAnswerError(f"{server.name}: {what}: {found!r}, not {expected!r}")


def tag(server: Server, number: int) -> str:
    """Return the entity tag of a product."""
    return ask(server, f"/products/{number}")[0]["Etag"]


def following(server: Server, path: str) -> str:
    """Return the next page's path, as the page's Link header gives it."""
    for link in ask(server, path)[0].get("Link", "").split(", "):
        if link.endswith('rel="next"'):
            address = urlsplit(link[1 : link.index(">")])
            return f"{address.path}?{address.query}"
    raise WrongAnswerError(f"{server.name}: {path} has no next page")


def walk(server: Server, count: int) -> Iterator[str]:
    """Yield the paths of the first pages by id."""
    path = PAGE
    for _ in range(count):
        yield path
        path = following(server, path)


def check(servers: dict[str, Server], environment: dict[str, str]) -> None:
    """Stop unless every program gives the right answers to what it is measured by."""
    service = servers["service"]
    numbers = some_ids(20)
    products = [json.loads(ask(service, f"/products/{number}")[1]) for number in numbers]
    for server in servers.values():
        for number, product in zip(numbers, products, strict=True):
            path = f"/products/{number}"
            require(server, path, json.loads(ask(server, path)[1]), product)
        ask(server, f"/products/{2**31 - 1}", 404)
    for name in SAME_APP | {"floor"}:
        check_tags(servers[name], numbers)
    for name in servers.keys() - {"service", "floor"}:
        check_pages(servers[name], service)
    for name in servers.keys() - {"floor"}:
        check_create(servers[name])
    with catalogue.connect(environment) as connection:
        connection.execute("DELETE FROM products WHERE id > %s", (catalogue.PRODUCTS,))
    found = json.loads(ask(service, SEARCH)[1])
    wanted = [number for number in range(1, 100) if number * 16_000 <= catalogue.PRODUCTS]
    require(service, SEARCH, [product["id"] for product in found], [n * 16_000 for n in wanted])


def check_tags(server: Server, numbers: Iterable[int]) -> None:
    """Require 304 without a body for a matching tag, and 200 for another."""
    for number in numbers:
        path, known = f"/products/{number}", tag(server, number)
        response, body = server.ask(Request(path, header=("If-None-Match", known)))
        require(server, path, (response.status, body), (304, b""))
        response, _ = server.ask(Request(path, header=("If-None-Match", '"other"')))
        require(server, path, response.status, 200)


def check_pages(server: Server, service: Server) -> None:
    """Require the same pages as the service's."""
    for theirs, ours in zip(walk(server, 5), walk(service, 5), strict=True):
        require(
            server,
            theirs,
            *(json.loads(ask(*page)[1]) for page in ((server, theirs), (service, ours))),
        )
    found = json.loads(ask(server, FILTERED)[1])
    require(server, FILTERED, (len(found), found), (20, json.loads(ask(service, FILTERED)[1])))


def check_create(server: Server) -> None:
    """Require 201 and a product that is there afterwards."""
    request = Request("/products", "POST", JSON, json.dumps(NEW_PRODUCT))
    response, body = server.ask(request)
    product = json.loads(body)
    require(server, "POST", response.status, 201)
    require(server, "POST", product, {"id": product.get("id"), **NEW_PRODUCT})
    location = urlsplit(response.headers["Location"]).path
    require(server, location, json.loads(ask(server, location)[1]), product)


def alternate(
    measures: dict[str, Callable[[], float]], rounds: int, fewer: Collection[str] = ()
) -> dict[str, float]:
    """Take every measure once a round, in turn; return the medians.

    Those of ``fewer`` are taken in the first rounds only: the time is limited.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            if name not in fewer or number < UNTARGETED_ROUNDS:
                found[name].append(measure())
    return {name: median(values) for name, values in found.items()}


def throughput(servers: dict[str, Server], work: Work, options: argparse.Namespace) -> list[Result]:
    """Measure requests a second of everyone who is compared on this work."""
    compared = [servers[name] for name in ("service", *work.peers) if name in servers]
    requests = {server.name: work.requests(server) for server in compared}

    def per_second(server: Server, seconds: float) -> float:
        return send(server.url, requests[server.name], CONNECTIONS, seconds).per_second

    for server in compared:
        per_second(server, 1)
    found = alternate(
        {server.name: partial(per_second, server, options.seconds) for server in compared},
        options.rounds,
        fewer=[name for name, least in work.peers.items() if least is None],
    )
    return [
        Result(work.name, "requests/s", found["service"], name, found[name], at_least=least)
        for name, least in work.peers.items()
        if name in found
    ]


def whole_list(server: Server, environment: dict[str, str], rounds: int) -> list[Result]:
    """Measure the list of everything beside psql's COPY, its first byte, the worker's memory."""
    command = "COPY (SELECT row_to_json(products) FROM products ORDER BY id) TO STDOUT"
    with catalogue.psql(environment, command) as psql:
        copied, _ = psql.communicate()
    expected = b"[" + copied.rstrip(b"\n").replace(b"\n", b",") + b"]"
    if ask(server, "/products")[1].strip() != expected:
        raise WrongAnswerError("service: the whole list is not what the table has")
    size = len(expected) / 2**20
    firsts: list[float] = []

    def stream() -> float:
        started = time.perf_counter()
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /products HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            received = bytearray()
            while not received.partition(b"\r\n\r\n")[2]:
                received += client.recv(65_536)
            firsts.append(time.perf_counter() - started)
            buffer = bytearray(2**20)
            while client.recv_into(buffer):
                pass
        return size / (time.perf_counter() - started)

    def copy() -> float:
        started = time.perf_counter()
        with catalogue.psql(environment, command, stdout=subprocess.DEVNULL) as psql:
            psql.wait()
        return size / (time.perf_counter() - started)

    process = Path(f"/proc/{server.worker()}")
    (process / "clear_refs").write_text("5")
    before = memory(process, "VmRSS")
    found = alternate({"service": stream, "psql": copy}, rounds)
    grown = memory(process, "VmHWM") - before
    work = f"whole list of {catalogue.PRODUCTS:,}"
    return [
        Result(work, "MiB/s", found["service"], "psql COPY", found["psql"], at_least=0.5),
        Result(f"{work}: first byte", "ms", median(firsts) * 1000, at_most=50),
        Result(f"{work}: worker's memory grows by", "MiB", grown, at_most=32),
    ]


def memory(process: Path, field: str) -> float:
    """Return a field of a process's status in MiB."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def latencies(server: Server, paths: dict[str, list[Request]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each, one request at a time."""

    def milliseconds(requests: list[Request]) -> float:
        return send(server.url, requests, connections=1, seconds=1).median_ms

    return alternate({name: partial(milliseconds, paths[name]) for name in paths}, rounds)


def last_pages(server: Server, rounds: int) -> list[Result]:
    """Measure the last page of a hundred beside the first, by each sort."""
    results = []
    for sort in SORTS:
        first = f"{PAGE}&sort={sort}"
        last = last_page(server, sort)
        found = latencies(server, {"first": [Request(first)], "last": [Request(last)]}, rounds)
        work = f"last page of 100, sort={sort}"
        peer = ("first page", found["first"])
        results.append(Result(work, "ms", found["last"], *peer, at_most=1.25))
    return results


def last_page(server: Server, sort: str) -> str:
    """Return the path of the last page: the first of the reversed order shows what is on it.

    The cursor is the service's own: that of a page with just the product before the last page.
    """
    keys = [*sort.split(","), *([] if sort.strip("-") == "id" else ["id"])]
    reverse = ",".join(key[1:] if key.startswith("-") else f"-{key}" for key in keys)
    tail = json.loads(ask(server, f"/products?limit=101&sort={reverse}")[1])
    ids = [product["id"] for product in reversed(tail)]
    two = f"/products?limit=1&sort={sort}&id={ids[0]}&id={ids[1]}"
    cursor = dict(parse_qsl(urlsplit(following(server, two)).query))["cursor"]
    path = f"{PAGE}&sort={sort}&" + urlencode({"cursor": cursor})
    headers, body = ask(server, path)
    require(server, path, [product["id"] for product in json.loads(body)], ids[1:])
    require(server, path, headers["Link"].count('rel="next"'), 0)
    return path


def search(server: Server, rounds: int) -> list[Result]:
    """Measure a search for two rare words beside GET one product."""
    found = latencies(server, {"search": [Request(SEARCH)], "read": reads(server)}, rounds)
    return [
        Result(
            "q with two rare words",
            "ms",
            found["search"],
            "GET one product",
            found["read"],
            at_most=25,
        )
    ]


def measure(options: argparse.Namespace) -> list[Result]:
    """Start everything, check it, measure it, and end it."""
    with ExitStack() as stack:
        say("starting PostgreSQL and loading the catalogue")
        environment = stack.enter_context(catalogue.postgresql())
        catalogue.load(environment, catalogue.PRODUCTS)
        servers = {name: stack.enter_context(serving(name, environment)) for name in available()}
        say("checking the answers")
        check(servers, environment)
        say("the whole list")
        results = whole_list(servers["service"], environment, options.rounds)
        say("last pages and a search")
        results += last_pages(servers["service"], min(options.rounds, LATENCY_ROUNDS))
        results += search(servers["service"], options.rounds)
        for work in WORKS:
            say(work.name)
            results += throughput(servers, work, options)
    return results


def say(what: str) -> None:
    """Tell whoever waits what goes on."""
    print(f"{time.strftime('%H:%M:%S')} {what} ...", flush=True)


def stop(signum: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that every program is ended too."""
    sys.exit(
        f"The benchmark took more than {LIMIT_SECONDS} seconds." if signum == signal.SIGALRM else 1
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken")
    parser.add_argument("--seconds", type=int, default=3, help="of load in each round")
    parser.add_argument("--products", type=int, default=catalogue.PRODUCTS, help="in the table")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: `apt-get install wrk`, or your system's equivalent.")
    catalogue.PRODUCTS = options.products
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_SECONDS)
    report.write(measure(options))


if __name__ == "__main__":
    main()
