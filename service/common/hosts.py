"""By which names the service may be asked for."""

from flask import Flask, request
from werkzeug.exceptions import SecurityError
from werkzeug.sansio.utils import host_is_trusted


def init_app(app: Flask, *, exempt: str) -> None:
    """Refuse requests for hosts not in TRUSTED_HOSTS, save those to the blueprint ``exempt``.

    Flask's own check knows no exemption, and probes come by IP address: it is switched off.
    """
    hosts, app.config["TRUSTED_HOSTS"] = app.config["TRUSTED_HOSTS"], None
    if not hosts:
        return

    @app.before_request
    def check_host() -> None:
        if request.blueprint != exempt and not host_is_trusted(request.host.lower(), hosts):
            raise SecurityError("The service does not go by the name in Host")
