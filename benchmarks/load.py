"""The load: what wrk is told to send, and what it counted."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Request:
    """One request of the many that wrk picks from."""

    path: str
    method: str = "GET"
    header: tuple[str, str] = ("", "")
    body: str = ""

    def line(self) -> str:
        """Return the request as wrk.lua reads it."""
        return "\t".join((self.method, self.path, *self.header, self.body))


class LoadError(Exception):
    """Not every request was answered as it should be."""


@dataclass(frozen=True)
class Counted:
    """What wrk saw in one run."""

    requests: int
    seconds: float
    median_ms: float
    errors: int

    @property
    def per_second(self) -> float:
        """Return the requests answered a second."""
        return self.requests / self.seconds


def send(url: str, requests: Iterable[Request], connections: int, seconds: float) -> Counted:
    """Send ``requests`` at random over ``connections`` for some seconds.

    Raises ``LoadError`` if any answer is a failure.
    """
    with NamedTemporaryFile("w", suffix=".tsv") as file:
        file.writelines(f"{request.line()}\n" for request in requests)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout=10s"]
        command += ["-s", str(SCRIPT), url, "--", file.name]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    counted = Counted(**json.loads(output.splitlines()[-1]))
    if counted.errors or not counted.requests:
        raise LoadError(f"{url}: {counted}")
    return counted
