"""The settings: every environment variable of the service, its type, default and meaning."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated

from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

DRIVERS = {"pysqlite", "psycopg"}
WHOLE_NUMBERS = {
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
}
CLIENT_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# RFC 6750, section 2.1; shorter ones can be guessed.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,}=*")


class ConfigurationError(Exception):
    """A setting that the service cannot start with."""


def _known_database(uri: str) -> str:
    try:
        url = make_url(uri)
        driver = url.get_dialect().driver
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        driver = None
    if driver not in DRIVERS:
        raise ValueError("must be sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME")
    if driver == "pysqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("must name a file: each connection would have a database of its own")
    if driver == "psycopg":
        _check_parameters(url)
    return uri


def _check_parameters(url: URL) -> None:
    """Raise ``ValueError`` for a parameter that libpq does not have or cannot read."""
    _, arguments = url.get_dialect()().create_connect_args(url)
    try:
        make_conninfo("", **arguments)
        for name in arguments.keys() & WHOLE_NUMBERS:
            int(arguments[name])
    except (ProgrammingError, ValueError):
        raise ValueError("has a parameter that libpq does not know or cannot read") from None


def parse_tokens(pairs: str) -> dict[str, str]:
    """Return the token of each name in NAME=TOKEN pairs, parted by commas or white space.

    Raises ``ValueError``, which tells a pair by its number alone: its text may be a secret.
    """
    tokens: dict[str, str] = {}
    for number, pair in enumerate(pairs.replace(",", " ").split(), start=1):
        name, _, token = pair.partition("=")
        if not CLIENT_NAME.fullmatch(name) or not TOKEN.fullmatch(token):
            raise ValueError(
                f"pair {number} must be NAME=TOKEN: a name of 1 to 64 of A-Za-z0-9._-"
                " and a token of at least 16 of A-Za-z0-9._~+/-"
            )
        if name in tokens or token in tokens.values():
            raise ValueError(f"pair {number} has the name or the token of another")
        tokens[name] = token
    if pairs and not tokens:
        raise ValueError("there is no NAME=TOKEN pair in it")
    return tokens


def _sound_tokens(pairs: SecretStr) -> SecretStr:
    parse_tokens(pairs.get_secret_value())
    return pairs


def _parts(listed: object) -> object:
    return tuple(listed.replace(",", " ").split()) if isinstance(listed, str) else listed


Origin = Annotated[
    str,
    StringConstraints(to_lower=True, pattern=r"(?i)^https?://([a-z0-9.-]+|\[[a-f0-9:.]+])(:\d+)?$"),
]
Host = Annotated[
    str, StringConstraints(to_lower=True, pattern=r"(?i)^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$")
]


class Settings(BaseModel):
    """What the environment may say; each field is a variable and a key of ``app.config``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    DATABASE_URI: Annotated[str, AfterValidator(_known_database)] = Field(
        "sqlite:///products.db",
        description="the database; a relative SQLite file lies in instance/",
    )
    DATABASE_PGBOUNCER: bool = Field(
        default=False, description="whether PgBouncer in transaction mode is before PostgreSQL"
    )
    MAX_CONTENT_LENGTH: int = Field(
        1024 * 1024, ge=1, description="the largest request body, in bytes; more is 413"
    )
    REQUIRE_IF_MATCH: bool = Field(
        default=False, description="whether PUT, PATCH and DELETE without If-Match are 428"
    )
    API_TOKENS: Annotated[SecretStr, AfterValidator(_sound_tokens)] = Field(
        SecretStr(""),
        description="who may write: NAME=TOKEN pairs, comma-separated; empty: everybody",
    )
    API_TOKENS_FILE: str = Field(
        "", description="a file of such pairs, one a line, read again when it changes"
    )
    CORS_ORIGINS: Annotated[tuple[Origin, ...], BeforeValidator(_parts)] = Field(
        (),
        description="whose pages may use the API: origins such as https://shop.example.com,"
        " comma-separated",
    )
    TRUSTED_HOSTS: Annotated[tuple[Host, ...], BeforeValidator(_parts)] = Field(
        (),
        description="the hosts to answer for, comma-separated, .example.com with all below it;"
        " empty: any",
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
        unset = names - environ.keys()
        # Of short names, two letters that have changed places make too great a difference.
        meant = get_close_matches(name.upper(), unset, n=1, cutoff=0.85) or [
            each for each in unset if sorted(each) == sorted(name.upper())
        ]
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
