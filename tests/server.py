"""The service as it runs: gunicorn with its configuration, on a free port."""

import ctypes
import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
START_SECONDS = 30
STOP_SECONDS = 30
DROP_FROM_BOUNDING_SET, CAP_DAC_OVERRIDE = 24, 1


@dataclass
class Server:
    """A running service."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, Any]:
        """Send one request on a connection of its own; return the answer and its JSON."""
        with closing(self.connect()) as connection:
            encoded = None if body is None else json.dumps(body)
            sent = {"Content-Type": "application/json"} if encoded else {}
            connection.request(method, path, encoded, sent | (headers or {}))
            response = connection.getresponse()
            content = response.read()
            return response, json.loads(content) if content else None

    def events(self, level: str) -> list[dict[str, Any]]:
        """Return what its log says of this level, without the lines of requests."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if "logger" in line and line["level"] == level]

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        return children(self.process.pid)

    def figure(self, metric: str) -> int:
        """Return a metric without labels, over all workers."""
        with closing(self.connect()) as connection:
            connection.request("GET", "/metrics")
            figures = connection.getresponse().read().decode()
        found = re.search(rf"^{metric} (\d+)", figures, re.MULTILINE)
        assert found
        return int(found[1])

    def is_listening(self) -> bool:
        """Return whether any of its processes takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def children(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def obey_permissions() -> None:
    """Let root, too, write only where the permissions say so."""
    ctypes.CDLL(None).prctl(DROP_FROM_BOUNDING_SET, CAP_DAC_OVERRIDE, 0, 0, 0)


def coverage_config() -> str:
    """Return the setting that measures the coverage of a process, if that of the tests is."""
    return os.environ.get("COVERAGE_PROCESS_CONFIG", "")


@contextmanager
def serving(
    uri: str,
    log: Path,
    root: Path = ROOT,
    before: Callable[[], None] | None = None,
    port: int = 0,
    **settings: str,
) -> Iterator[Server]:
    """Serve the database at ``uri`` until the end of the block; the tables must exist.

    ``root`` is the service's directory; ``before`` is called in its process before it starts.
    Without ``port`` it listens on a free one. Its coverage is not measured, unless the setting
    ``COVERAGE_PROCESS_CONFIG`` is that of the tests: it costs a third of the CPU time.
    """
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        port = listener.getsockname()[1]
        environment = os.environ | {"COVERAGE_PROCESS_CONFIG": "", "DATABASE_URI": uri} | settings
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gunicorn",
                    "--bind",
                    f"fd://{listener.fileno()}",
                    "wsgi:app",
                ],
                cwd=root,
                env=environment,
                stderr=errors,
                pass_fds=[listener.fileno()],
                preexec_fn=before,  # noqa: PLW1509  # it forks no thread's lock that it takes
            )
    server = Server(port, process, log)
    try:
        # The socket listens already: the first answer waits for the first worker.
        response, _ = server.ask("GET", "/health")
        assert response.status == 200
        yield server
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, and kill it if it does not end in time."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    finally:
        process.kill()
        process.wait()
