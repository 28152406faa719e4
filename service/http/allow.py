"""The header Allow in a fixed order, and the header Accept-Patch (RFC 5789)."""

from flask import Flask, Response, request

from service.common import status
from service.http.json_body import PATCH_TYPES

ACCEPT_PATCH = ", ".join(PATCH_TYPES)
REFUSED_METHOD = status.HTTP_405_METHOD_NOT_ALLOWED
REFUSED_TYPE = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE


def init_app(app: Flask) -> None:
    """Sort each Allow; add Accept-Patch to the OPTIONS of a path with PATCH, and to its 415."""

    @app.after_request
    def complete(response: Response) -> Response:
        method, code = request.method, response.status_code
        if method == "OPTIONS" or code == REFUSED_METHOD:
            # Flask keeps the methods in a set, whose order differs from process to process.
            response.allow = sorted(response.allow)
        if (method == "OPTIONS" and "PATCH" in response.allow) or (
            method == "PATCH" and code == REFUSED_TYPE
        ):
            response.headers["Accept-Patch"] = ACCEPT_PATCH
        return response
