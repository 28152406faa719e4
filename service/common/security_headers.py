"""Security headers: what a browser may do with an answer; nothing, unless a view says more."""

from flask import Flask, Response

POLICY = "Content-Security-Policy"
CLOSED = "default-src 'none'; frame-ancestors 'none'"
# To a page that shows pictures of products, which lie anywhere.
WITH_PICTURES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "font-src 'self'; img-src * data:; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'none'"
)
# Swagger UI writes style attributes.
WITH_INLINE_STYLE = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; font-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'none'"
)
ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))
HEAD = "".join(f"{name}: {value}\r\n" for name, value in (*ALWAYS, (POLICY, CLOSED)))


def init_app(app: Flask) -> None:
    """Put the headers on every answer; a policy that a view has set stays."""

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers.setdefault(POLICY, CLOSED)
        response.headers.extend(ALWAYS)
        return response
