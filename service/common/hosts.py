"""By which names the service may be asked for."""

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from flask import Flask, request
from werkzeug.exceptions import BadRequest, SecurityError
from werkzeug.wsgi import get_host

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# A name or an address (RFC 3986, section 3.2.2), perhaps with a port. Names in a network of
# containers have underscores.
HOST = re.compile(r"([a-z0-9._~-]+|\[[a-f0-9:.]+])(?::[0-9]{1,5})?", re.IGNORECASE)
USUAL_PORTS = {"http": ":80", "https": ":443"}


def init_app(app: Flask, *, exempt: str) -> None:
    """Refuse requests for no host, and for hosts not in TRUSTED_HOSTS where that is set.

    Probes come by IP address: the blueprint ``exempt`` answers for all. As Flask's own check
    knows no exemption, it is switched off.
    """
    trusted, app.config["TRUSTED_HOSTS"] = app.config["TRUSTED_HOSTS"], None

    @app.before_request
    def check_host() -> None:
        host = request.host = _host(request.environ)  # Flask knows no names with underscores
        if (host and not trusted) or request.blueprint == exempt:
            return
        if not host:
            raise BadRequest("Host is missing or malformed")
        if not _is_among(host, trusted):
            raise SecurityError("The service does not go by the name in Host")


def _host(environ: "WSGIEnvironment") -> str:
    """Return the host that was asked for; empty if there is none, or one that is malformed.

    Only HTTP/1.0 may leave it out (RFC 9112, section 3.2): then it is the server's own.
    """
    given = environ.get("HTTP_HOST")
    if given is None and environ["SERVER_PROTOCOL"] == "HTTP/1.0":
        return get_host(environ)
    return _sound(given or "", environ["wsgi.url_scheme"])


@lru_cache(maxsize=1024)
def _sound(given: str, scheme: str) -> str:
    """Return a host without the port that is usual; empty if it is malformed."""
    return given.removesuffix(USUAL_PORTS[scheme]) if HOST.fullmatch(given) else ""


def _is_among(host: str, trusted: tuple[str, ...]) -> bool:
    """Say whether ``trusted`` has the host; ``.example.com`` is it with all below it."""
    match = HOST.fullmatch(host)
    name = match[1].lower() if match else ""
    return any(f".{name}".endswith(each) if each[0] == "." else name == each for each in trusted)
