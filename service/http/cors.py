"""CORS headers (WHATWG Fetch) for the origins in CORS_ORIGINS."""

from flask import Flask, Response, request

EXPOSED_HEADERS = (
    "Content-Disposition, ETag, Idempotent-Replayed, Link, Location, Retry-After, X-Data-Age, "
    "X-Request-ID, X-Total-Count, X-Total-Count-Precision"
)
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-ID"
    ),
    "Access-Control-Max-Age": "600",
}


def init_app(app: Flask) -> None:
    """Add CORS headers to each response; without CORS_ORIGINS, add none."""
    origins = app.config["CORS_ORIGINS"]
    if not origins:
        return

    @app.after_request
    def allow_origin(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin in origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                response.headers.update(PREFLIGHT_HEADERS)
        return response
