"""The settings: every environment variable of the service, its type, default and meaning."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

DRIVERS = {"pysqlite", "psycopg"}


class ConfigurationError(Exception):
    """A setting that the service cannot start with."""


def _known_database(uri: str) -> str:
    try:
        driver = make_url(uri).get_dialect().driver
    except (ArgumentError, NoSuchModuleError, ImportError):
        driver = None
    if driver not in DRIVERS:
        raise ValueError("must be sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME")
    return uri


class Settings(BaseModel):
    """What the environment may say; each field is a variable and a key of ``app.config``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    DATABASE_URI: Annotated[str, AfterValidator(_known_database)] = Field(
        "sqlite:///products.db",
        description="the database; a relative SQLite file lies in instance/",
    )
    MAX_CONTENT_LENGTH: int = Field(
        1024 * 1024, ge=1, description="the largest request body, in bytes; more is 413"
    )
    REQUIRE_IF_MATCH: bool = Field(
        default=False, description="whether PUT, PATCH and DELETE without If-Match are 428"
    )
    LOG_LEVEL: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    PORT: int = Field(8000, ge=1, le=65535, description="where gunicorn listens")
    WEB_CONCURRENCY: int = Field(
        0, ge=0, description="gunicorn's worker processes; 0 is one for each CPU that it may use"
    )
    WEB_THREADS: int = Field(
        2, ge=1, description="threads a worker, each with a database connection of its own"
    )
    TRUSTED_PROXIES: int = Field(
        0,
        ge=0,
        description="how many proxies in front, one behind the other, set X-Forwarded-For, -Proto"
        " and -Host; 0 believes none of these headers",
    )
    FORWARDED_ALLOW_IPS: str = Field(
        "127.0.0.1,::1",
        description="the addresses whose X-Forwarded-Proto gunicorn itself believes; * is all",
    )
    PROMETHEUS_MULTIPROC_DIR: str = Field(
        "",
        description="where gunicorn's workers keep their metrics, emptied at each start;"
        " without it, in a directory of their own in memory or in /tmp",
    )


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from ``environ``.

    Raises ``ConfigurationError`` for a value that is wrong, and for a variable whose name
    is all but one of ours while ours is not set: most likely it is misspelt.
    """
    names = set(Settings.model_fields)
    for name in environ.keys() - names:
        meant = get_close_matches(name.upper(), names - environ.keys(), n=1, cutoff=0.85)
        if meant:
            raise ConfigurationError(
                f"The environment variable {name} is not known; did you mean {meant[0]}?"
            )
    try:
        return Settings.model_validate({name: environ[name] for name in names & environ.keys()})
    except ValidationError as error:
        raise ConfigurationError(
            "; ".join(
                f"The environment variable {fault['loc'][0]} is wrong: {fault['msg']}"
                for fault in error.errors()
            )
        ) from None
