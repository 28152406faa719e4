"""Validation of the Host header against TRUSTED_HOSTS; protection from DNS rebinding."""

import re

from flask import Flask, request
from werkzeug.exceptions import BadRequest, Forbidden, SecurityError
from werkzeug.sansio.utils import host_is_trusted

from service.http import auth

PORT = re.compile(r":[0-9]+$")
# No name below these is in the public DNS: they are of this machine, or of services in a cluster.
LOCAL_DOMAINS = (".localhost", ".svc", ".svc.cluster.local")


def init_app(app: Flask, *, exempt: str) -> None:
    """Answer 400 if Host is missing or malformed, or is not one of TRUSTED_HOSTS.

    The blueprint ``exempt`` accepts any valid host: probes and Prometheus address a pod by its IP.
    Flask's own check has no exemption, so this disables it.

    With neither TRUSTED_HOSTS nor tokens, a write to a public name is 403. A page that has its own
    name resolve to the address of the service (DNS rebinding) is of the same origin, for a browser.
    """
    trusted, app.config["TRUSTED_HOSTS"] = app.config["TRUSTED_HOSTS"], None
    guarded_methods = set() if trusted or auth.is_required(app) else auth.WRITE_METHODS

    @app.before_request
    def check_host() -> None:
        if not request.host:
            raise BadRequest("Host is missing or malformed")
        if request.blueprint != exempt and not host_is_trusted(request.host.lower(), trusted):
            raise SecurityError("Host is not one of TRUSTED_HOSTS")
        if request.method in guarded_methods and not _is_local(request.host):
            raise Forbidden(
                "Without API_TOKENS, a write needs a Host that is an IP address, localhost or a"
                " name without a dot: set API_TOKENS, or add the host to TRUSTED_HOSTS"
            )


def _is_local(host: str) -> bool:
    """Return whether the host cannot be a name of the public DNS."""
    name = PORT.sub("", host.lower()).rstrip(".")
    label = name.rpartition(".")[2]
    is_address = name.startswith("[") or label.isdigit()  # no top-level domain is a number
    return is_address or label == name or name.endswith(LOCAL_DOMAINS)
