"""What one read costs in CPU, in process, without a web server: the service beside the floor.

`python -m benchmarks.cpu` prints the microseconds of both, their ratio and the service's profile.
"""

import cProfile
import os
import pstats
from collections.abc import Callable, Iterable
from io import BytesIO
from statistics import median
from time import process_time
from typing import Any

from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from benchmarks import catalogue, floor
from service import create_app

PRODUCTS = 1_000
REQUESTS = 3_000
ROUNDS = 7
MICROSECONDS = 1_000_000

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def read_products(app: WSGI, count: int) -> None:
    """Send ``count`` reads of one product each to ``app``, as gunicorn would."""
    environ = EnvironBuilder(headers=Headers({"User-Agent": "cpu", "Accept": "*/*"})).get_environ()
    for number in range(count):
        request = {**environ, "PATH_INFO": f"/products/{number % PRODUCTS + 1}"}
        request["wsgi.input"] = BytesIO()
        body = app(request, lambda status, headers, exc_info=None: None)
        b"".join(body)
        if hasattr(body, "close"):
            body.close()


def cost(app: WSGI) -> float:
    """Return the CPU microseconds of one read."""
    before = process_time()
    read_products(app, REQUESTS)
    return (process_time() - before) / REQUESTS * MICROSECONDS


def main() -> None:
    """Measure in alternation, then profile the service."""
    with catalogue.postgresql() as environment:
        os.environ.update(environment)
        catalogue.load(environment, PRODUCTS)
        ours, bare = create_app().wsgi_app, floor.app.wsgi_app
        costs = [(cost(ours), cost(bare)) for _ in range(ROUNDS)][1:]
        mine, theirs = (median(each) for each in zip(*costs, strict=True))
        print(f"service {mine:.0f} µs, floor {theirs:.0f} µs, ratio {mine / theirs:.2f}")
        with cProfile.Profile() as profile:
            read_products(ours, REQUESTS)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        floor.pool.close()


if __name__ == "__main__":
    main()
