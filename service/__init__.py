"""The catalogue service of an online shop."""

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask

from service import demo, openapi, operations, page, routes
from service.changes import commands as change_commands
from service.common import cli_commands, error_handlers, log_handlers
from service.config import load_settings
from service.database import engine, revisions
from service.files import commands as file_commands
from service.files import importing
from service.http import (
    allow,
    auth,
    cors,
    data_age,
    request_log,
    security_headers,
    trusted_hosts,
    trusted_proxies,
)
from service.metrics import Metrics
from service.server import bridge

__version__ = "0.1.0"


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return a new app; ``config`` takes precedence over the environment.

    Raises ``ConfigurationError`` if a setting is invalid. Opens no database connection.
    """
    app = Flask(__name__)
    _configure(app, config or {})
    app.url_map.strict_slashes = False
    app.url_map.converters["product_id"] = routes.ProductIdConverter
    metrics = Metrics()

    log_handlers.init_app(app)
    engine.init_app(app, metrics.pool)
    revisions.init_app(app)
    # Flask calls after_request functions in reverse order: the last one first.
    security_headers.init_app(app)
    allow.init_app(app)
    data_age.init_app(app)
    error_handlers.init_app(app)
    app.before_request(bridge.raise_refusal)
    trusted_hosts.init_app(app, exempt=operations.NAME)
    tokens = auth.init_app(app)
    cors.init_app(app)
    cli_commands.init_app(app, demo.products, "products")
    change_commands.init_app(app)
    file_commands.init_app(app)

    app.register_blueprint(routes.blueprint)
    app.register_blueprint(routes.files_blueprint)
    app.register_blueprint(routes.changes_blueprint)
    importing.init_app(app)
    operations.init_app(app, metrics, tokens)
    app.register_blueprint(openapi.blueprint)
    app.register_blueprint(page.blueprint)

    # Inside of ProxyFix, so that the log has the client address that the proxies report.
    request_log.init_app(app, metrics)
    trusted_proxies.init_app(app, app.config["TRUSTED_PROXIES"])
    return app


def _configure(app: Flask, config: Mapping[str, Any]) -> None:
    given = {name: str(value) for name, value in config.items()}
    settings = load_settings({**os.environ, **given})
    app.config.from_mapping(config)
    app.config.from_mapping(settings.model_dump())
    app.config["VERSION"] = __version__
