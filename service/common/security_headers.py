"""Security headers: what a browser may do with an answer; nothing, unless a view says more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

POLICY = "Content-Security-Policy"
CLOSED = "default-src 'none'; frame-ancestors 'none'"
OWN_FILES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "font-src 'self'; img-src {pictures}; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'none'"
)
# The pictures of products lie anywhere; those of Swagger UI are its own, some within its CSS.
PAGE = OWN_FILES.format(pictures="* data:")
DOCUMENTATION = OWN_FILES.format(pictures="'self' data:")
ALWAYS = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]
BY_DEFAULT = [*ALWAYS, (POLICY, CLOSED)]


def init_app(app: Flask) -> None:
    """Put the headers on every answer; a policy that a view has set stays.

    Below Flask, where it costs two microseconds and no failure goes past it.
    """
    answer = app.wsgi_app

    def secured(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None
        ) -> Callable[[bytes], object]:
            has_policy = any(name == POLICY for name, _ in headers)
            headers.extend(ALWAYS if has_policy else BY_DEFAULT)
            return start_response(status, headers, exc_info)

        return answer(environ, start)

    app.wsgi_app = secured  # type: ignore[method-assign]  # as Flask's documentation does
