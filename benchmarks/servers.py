"""The programs that are compared: how each is started, on which port, and how it is ended."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks.load import Request

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
START_SECONDS = 30
STOP_SECONDS = 10
LAST_LINES = 20

GUNICORN = [str(BIN / "gunicorn"), "--log-level", "warning", "--bind", "127.0.0.1:{port}"]
COMMANDS = {
    "service": [*GUNICORN, "wsgi:app"],
    "floor": [*GUNICORN, "benchmarks.floor:app"],
    "gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "2", "wsgi:app"],
    "Granian": [
        *(str(BIN / "granian"), "--interface", "wsgi", "--workers", "1"),
        *("--blocking-threads", "2", "--log-level", "warning"),
        *("--host", "127.0.0.1", "--port", "{port}", "wsgi:app"),
    ],
    "FastAPI": [
        *(str(BIN / "uvicorn"), "benchmarks.fastapi_peer:app", "--loop", "uvloop"),
        *("--http", "httptools", "--no-access-log", "--log-level", "warning"),
        *("--host", "127.0.0.1", "--port", "{port}"),
    ],
    "Fastify": ["node", str(HERE / "fastify" / "server.js")],
}


@dataclass(frozen=True)
class Server:
    """A program that serves the catalogue."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Return the address without a path."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, request: Request) -> tuple[HTTPResponse, bytes]:
        """Send one request; return the answer and its body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = dict([request.header]) if request.header[0] else {}
        connection.request(request.method, request.path, request.body or None, headers)
        response = connection.getresponse()
        with response:
            return response, response.read()

    def worker(self) -> int:
        """Return the process id of gunicorn's one worker."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextmanager
def serving(name: str, environment: dict[str, str]) -> Iterator[Server]:
    """Start a program on a free port, wait until it answers, and end it in any case.

    What it writes is shown only if the block fails: wrk breaks its connections off at the end of
    each run, and the service warns of each answer that was cut off.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [part.format(port=port) for part in COMMANDS[name]]
    with TemporaryFile("w+") as log:
        # In a session of its own, so that Ctrl-C ends the benchmark and that ends the program.
        process = subprocess.Popen(
            command,
            env={**environment, "PORT": str(port)},
            cwd=HERE.parent,
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
        try:
            server = Server(name, port, process)
            _wait(server)
            yield server
        except Exception:
            log.seek(0)
            for line in deque(log, LAST_LINES):
                print(f"{name}: {line}", end="")
            raise
        finally:
            _end(process)


def available() -> Iterator[str]:
    """Yield the names of the programs that this machine can run."""
    for name in COMMANDS:
        if name == "Fastify" and not (
            shutil.which("node") and (HERE / "fastify" / "node_modules").exists()
        ):
            print("Fastify is left out: there is no node and npm here.")
        else:
            yield name


def _wait(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            server.ask(Request("/products/1"))
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{server.name} does not answer")


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.terminate()
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
