"""Security headers: the default policy blocks all content; a view may set a wider one."""

from flask import Flask, Response

POLICY = "Content-Security-Policy"
DENY_ALL = "default-src 'none'; frame-ancestors 'none'"
SAME_ORIGIN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "font-src 'self'; img-src {images}; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'none'"
)
# The page shows images of any host. Swagger UI has local images, and data: URIs in its CSS.
PAGE = SAME_ORIGIN.format(images="* data:")
DOCUMENTATION = SAME_ORIGIN.format(images="'self' data:")
DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    POLICY: DENY_ALL,
}


def init_app(app: Flask) -> None:
    """Add the headers to each response that does not set them."""

    @app.after_request
    def add_defaults(response: Response) -> Response:
        for name, value in DEFAULTS.items():
            response.headers.setdefault(name, value)
        return response
