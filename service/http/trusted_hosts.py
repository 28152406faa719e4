"""Validation of the Host header against TRUSTED_HOSTS."""

from flask import Flask, request
from werkzeug.exceptions import BadRequest, SecurityError
from werkzeug.sansio.utils import host_is_trusted


def init_app(app: Flask, *, exempt: str) -> None:
    """Answer 400 if Host is missing or malformed, or is not one of TRUSTED_HOSTS.

    The blueprint ``exempt`` accepts any valid host: probes and Prometheus address a pod by its IP.
    Flask's own check has no exemption, so this disables it.
    """
    trusted, app.config["TRUSTED_HOSTS"] = app.config["TRUSTED_HOSTS"], None

    @app.before_request
    def check_host() -> None:
        if not request.host:
            raise BadRequest("Host is missing or malformed")
        if request.blueprint != exempt and not host_is_trusted(request.host.lower(), trusted):
            raise SecurityError("Host is not one of TRUSTED_HOSTS")
