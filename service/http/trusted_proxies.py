"""The client, the scheme and the host that TRUSTED_PROXIES report in X-Forwarded headers."""

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Proxies report the scheme of a WebSocket handshake, which begins as a request for HTTP.
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
WITH_PORT = re.compile(r"(\[.*]|[0-9.]+):[0-9]+")


def init_app(app: Flask, count: int) -> None:
    """Believe the last ``count`` values of each header; without proxies, none."""
    if count:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # as Flask documents
            _checked(app.wsgi_app), x_for=count, x_proto=count, x_host=count
        )


def _checked(app: "WSGIApplication") -> "WSGIApplication":
    """Return the app with an invalid scheme or client address replaced by that of the connection.

    The app itself checks the host.
    """

    def checked(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        connection = environ["werkzeug.proxy_fix.orig"]
        scheme = SCHEMES.get(environ["wsgi.url_scheme"].lower())
        environ["wsgi.url_scheme"] = scheme or connection["wsgi.url_scheme"]
        address = _address(environ.get("REMOTE_ADDR", ""))
        environ["REMOTE_ADDR"] = address or connection["REMOTE_ADDR"]
        return app(environ, start_response)

    return checked


def _address(reported: str) -> str | None:
    """Return an IP address without a port; None if it is none, such as `unknown`."""
    with_port = WITH_PORT.fullmatch(reported)
    address = (with_port[1] if with_port else reported).strip("[]")
    try:
        ip_address(address)
    except ValueError:
        return None
    return address.partition("%")[0]
