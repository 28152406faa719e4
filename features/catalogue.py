"""The service under test, and the colleague who works on its catalogue at the same time."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import urllib3

from service.config import Settings
from tests.server import ROOT, Server, serving

Product = dict[str, Any]

PRECONDITIONS = {
    "PATCH": {"If-Match": "*"},
    "DELETE": {"If-Match": "*"},
    "PUT": {"If-None-Match": "*"},
}


class OwnService:
    """The service of this checkout, with a database of its own, to stop and start at will."""

    def __init__(self, folder: Path, *commands: str) -> None:
        """Create the tables, run further commands of `flask`, and start it."""
        for name in Settings.model_fields:
            os.environ.pop(name, None)
        os.environ["PYTHON_DOTENV_DISABLED"] = "true"  # what is in .env is not for the tests
        self._database = folder / "products.db"
        self._log = folder / "service.log"
        self._uri = f"sqlite:///{self._database}"
        self._port = 0
        self._running = ExitStack()
        self._server: Server | None = None
        self._settings: dict[str, str] = {}
        environment = os.environ | {"DATABASE_URI": self._uri}
        for command in ("db-create", *commands):
            flask = [sys.executable, "-m", "flask", "--app", "wsgi", command]
            subprocess.run(flask, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        self.start()

    @property
    def url(self) -> str:
        """Where it is, whether it runs or not."""
        return f"http://127.0.0.1:{self._port}"

    def start(self, **settings: str) -> None:
        """See that it runs, at the same place as before, with these settings and no others."""
        if self._server and self._settings == settings:
            return
        self.stop()
        self._settings = settings
        server = serving(self._uri, self._log, ROOT, None, self._port, **settings)
        self._server = self._running.enter_context(server)
        self._port = self._server.port

    def stop(self) -> None:
        """Stop it, if it runs."""
        self._server = None
        self._running.close()

    def freeze(self) -> None:
        """Let it take requests and answer none."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer."""
        self._signal(signal.SIGCONT)

    def lose_table(self) -> None:
        """Take away what the service cannot serve without."""
        self.execute("ALTER TABLE products RENAME TO lost_products")

    def find_table(self) -> None:
        """Bring it back."""
        with suppress(sqlite3.OperationalError):  # it is there
            self.execute("ALTER TABLE lost_products RENAME TO products")

    def execute(self, statement: str) -> None:
        """Change the database behind the back of the service."""
        with closing(sqlite3.connect(self._database, isolation_level=None)) as connection:
            connection.execute(statement)

    def _signal(self, number: int) -> None:
        for worker in self._server.workers() if self._server else ():
            os.kill(worker, number)


class GivenService:
    """A service that runs elsewhere: nothing about it can be changed."""

    def __init__(self, url: str) -> None:
        """Take its address."""
        self.url = url.rstrip("/")


@contextmanager
def service_under_test() -> Iterator[OwnService | GivenService]:
    """Take the service at BASE_URL, or start one and stop it at the end."""
    given = os.environ.get("BASE_URL")
    if given:
        yield GivenService(given)
        return
    with TemporaryDirectory() as folder:
        service = OwnService(Path(folder))
        yield service
        service.stop()


class Colleague:
    """Somebody else at the same catalogue; all of hers has a word in it that no other has."""

    def __init__(self, url: str, word: str) -> None:
        """Take the address of the service, and the word."""
        self._products = f"{url}/products"
        self._word = word
        self._removed: dict[str, Product] = {}

    def add(self, **members: Any) -> None:
        """Add a product."""
        described = f"{members.get('description', '')} {self._word}".strip()
        self._ask("POST", json={**members, "description": described})

    def change(self, name: str, /, **members: Any) -> None:
        """Change some members of the product of this name."""
        self._ask("PATCH", f"/{self.find(name)['id']}", json=members)

    def remove(self, name: str) -> None:
        """Delete the product of this name."""
        self._removed[name] = product = self.find(name)
        self._ask("DELETE", f"/{product['id']}")

    def bring_back(self, name: str, /, **members: Any) -> None:
        """Bring back the product of this name that she has deleted, with some members changed."""
        product = self._removed[name] | members
        self._ask("PUT", f"/{product['id']}", json=product)

    def remove_all(self) -> None:
        """Delete every product with the word in it."""
        for product in self.products():
            self._ask("DELETE", f"/{product['id']}")

    def products(self) -> list[Product]:
        """Return every product with the word in it."""
        products: list[Product] = self._ask("GET", fields={"q": self._word}).json()
        return products

    def find(self, name: str) -> Product:
        """Return the one product of this name."""
        (product,) = (each for each in self.products() if each["name"] == name)
        return product

    def _ask(self, method: str, path: str = "", **content: Any) -> urllib3.BaseHTTPResponse:
        # She changes whatever is there, and says so, for a service with REQUIRE_IF_MATCH.
        headers = PRECONDITIONS.get(method, {})
        response = urllib3.request(
            method, self._products + path, headers=headers, retries=False, **content
        )
        gone = method == "DELETE" and response.status == 412
        assert gone or response.status < 400, f"{method} {path}: {response.data!r}"
        return response
