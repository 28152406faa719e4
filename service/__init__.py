"""The catalogue service of an online shop."""

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask
from sqlalchemy.engine import make_url
from werkzeug.middleware.proxy_fix import ProxyFix

from service import demo, openapi, operations, page, routes
from service.common import (
    auth,
    cli_commands,
    cors,
    database,
    error_handlers,
    hosts,
    log_handlers,
    metrics,
    migrations,
    security_headers,
    watch,
)
from service.config import load_settings
from service.models import db

__version__ = "0.1.0"


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the app; what ``config`` holds goes before the environment.

    Raises ``ConfigurationError`` where a setting is wrong. Opens no connection and creates
    no table.
    """
    app = Flask(__name__)
    given = {name: str(value) for name, value in (config or {}).items()}
    settings = load_settings({**os.environ, **given})
    app.config.from_mapping(config or {})
    app.config.from_mapping(settings.model_dump())
    app.config["VERSION"] = __version__
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.DATABASE_URI
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = database.engine_options(
        make_url(settings.DATABASE_URI), pool_size=settings.WEB_THREADS
    )
    app.url_map.strict_slashes = False
    app.url_map.converters["product_id"] = routes.ProductIdConverter

    log_handlers.init_app(app)
    security_headers.init_app(app)
    database.init_app(app, db)
    metrics.init_app(app)
    watch.init_app(app)
    error_handlers.init_app(app)
    hosts.init_app(app, exempt=operations.blueprint.name)
    auth.init_app(app)
    cors.init_app(app)
    migrations.init_app(app, db)
    cli_commands.init_app(app, db, demo.products, "products")

    app.register_blueprint(routes.blueprint)
    app.register_blueprint(operations.blueprint)
    app.register_blueprint(openapi.blueprint)
    app.register_blueprint(page.blueprint)

    if proxies := settings.TRUSTED_PROXIES:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # the place that Flask has for it
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies
        )
    return app
