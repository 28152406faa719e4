"""The settings: the environment variables of the service, with type, default and description."""

import os
import re
import sys
from collections.abc import Mapping, Set
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Annotated, Literal

import psycopg
from flask.cli import load_dotenv
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from service.database_uri import checked_uri

# The name in the metrics, in pg_stat_activity (application_name) and in the bearer realm.
SERVICE_NAME = "products"
# The names that other projects give a setting.
OTHER_NAMES = {
    "DB_URI": "DATABASE_URI",
    "DB_URL": "DATABASE_URI",
    "DB_READ_URI": "DATABASE_READ_URI",
    "DB_READ_URL": "DATABASE_READ_URI",
    "SQLALCHEMY_DATABASE_URI": "DATABASE_URI",
    "SQLALCHEMY_DATABASE_URL": "DATABASE_URI",
}
EVERY_ADDRESS = "*"
TOKEN_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# RFC 6750, section 2.1. `flask token-create` makes tokens of 43 characters: a shorter one may have
# been cut off.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{43,}=*")


class ConfigurationError(Exception):
    """An invalid setting; the service does not start."""


def _check_read_uri(uri: str, info: ValidationInfo) -> str:
    if not uri:
        return uri
    if not uri.startswith("postgresql"):
        raise ValueError("must begin with postgresql+psycopg://")
    if info.data.get("DATABASE_URI", "").startswith("sqlite"):
        raise ValueError("must not be set if DATABASE_URI is SQLite, which has no standby")
    return checked_uri(uri)


def parse_tokens(pairs: str) -> dict[str, str]:
    """Return a dictionary of names to tokens, parsed from NAME=TOKEN pairs.

    Commas or white space separate the pairs. Raises ``ValueError``, which names an invalid pair
    by its number only, because its text may be a secret.
    """
    tokens: dict[str, str] = {}
    for number, pair in enumerate(pairs.replace(",", " ").split(), start=1):
        name, token = _parse_pair(number, pair)
        if name in tokens or token in tokens.values():
            raise ValueError(f"pair {number} repeats the name or the token of an earlier pair")
        tokens[name] = token
    return tokens


def _parse_pair(number: int, pair: str) -> tuple[str, str]:
    name, _, token = pair.partition("=")
    if not TOKEN_NAME.fullmatch(name) or not TOKEN.fullmatch(token):
        raise ValueError(
            f"pair {number} must be NAME=TOKEN: a name of 1 to 64 characters of A-Za-z0-9._-"
            " and a token of at least 43 characters of A-Za-z0-9._~+/-"
        )
    return name, token


def _check_tokens(pairs: SecretStr) -> SecretStr:
    if not parse_tokens(pairs.get_secret_value()) and pairs:
        raise ValueError("must have at least one NAME=TOKEN pair")
    return pairs


def _split(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


Origin = Annotated[
    str,
    StringConstraints(to_lower=True, pattern=r"(?i)^https?://([a-z0-9.-]+|\[[a-f0-9:.]+])(:\d+)?$"),
]
Host = Annotated[
    str, StringConstraints(to_lower=True, pattern=r"(?i)^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$")
]


def _check_host(host: str) -> str:
    if host not in {EVERY_ADDRESS, "localhost"}:
        try:
            ip_address(host)
        except ValueError:
            raise ValueError(f"must be an IP address, localhost or {EVERY_ADDRESS}") from None
    return host


def _check_pgbouncer(
    value: object, check: ValidatorFunctionWrapHandler
) -> bool | Literal["prepared"]:
    if isinstance(value, str) and value.lower() == "prepared":
        if not psycopg.capabilities.has_send_close_prepared():
            raise ValueError("can be prepared with libpq 17 or newer only: set it to true")
        return "prepared"
    try:
        return bool(check(value))
    except ValidationError:
        raise ValueError("must be true, false or prepared") from None


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class Settings(BaseModel):
    """The settings; each field is an environment variable and a key of ``app.config``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    DATABASE_URI: Annotated[str, AfterValidator(checked_uri)] = Field(
        "sqlite:///products.db",
        description="URI of the database; a relative SQLite path is relative to instance/",
    )
    DATABASE_READ_URI: Annotated[str, AfterValidator(_check_read_uri)] = Field(
        "",
        description="URI of a standby of the PostgreSQL database, which answers reads while the"
        " primary cannot be reached; empty: none does",
    )
    DATABASE_PGBOUNCER: Annotated[bool | Literal["prepared"], WrapValidator(_check_pgbouncer)] = (
        Field(
            default=False,
            description="true if the service connects through PgBouncer in transaction mode;"
            " prepared if that is version 1.22 or newer with max_prepared_statements",
        )
    )
    MAX_CONTENT_LENGTH: int = Field(
        1024 * 1024,
        ge=1,
        description="maximum size of a request body in bytes; larger ones are 413",
    )
    REQUIRE_IF_MATCH: bool = Field(
        default=False, description="if true, PUT, PATCH and DELETE without If-Match are 428"
    )
    API_TOKENS: Annotated[SecretStr, AfterValidator(_check_tokens)] = Field(
        SecretStr(""),
        description="bearer tokens for writes, as comma-separated NAME=TOKEN pairs;"
        " empty: writes need no token",
    )
    API_TOKENS_FILE: str = Field(
        "",
        description="file with one NAME=TOKEN pair per line, read for each write;"
        " without a pair, nobody can write",
    )
    CORS_ORIGINS: Annotated[tuple[Origin, ...], BeforeValidator(_split)] = Field(
        (),
        description="origins that CORS allows, comma-separated, such as https://shop.example.com",
    )
    TRUSTED_HOSTS: Annotated[tuple[Host, ...], BeforeValidator(_split)] = Field(
        (),
        description="hosts that the Host header may name, comma-separated;"
        " .example.com includes its subdomains; empty: any host",
    )
    LOG_LEVEL: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = (
        Field("INFO", description="minimum level of the log: DEBUG, INFO, WARNING or ERROR")
    )
    HOST: Annotated[str, AfterValidator(_check_host)] = Field(
        "127.0.0.1",
        description="address on which the service listens; *: every address, of IPv4 and IPv6",
    )
    PORT: int = Field(8000, ge=1, le=65535, description="TCP port on which the service listens")
    WEB_CONCURRENCY: int = Field(
        0, ge=0, description="number of gunicorn's worker processes; 0: one for each available CPU"
    )
    WEB_THREADS: int = Field(
        3, ge=1, description="threads of each worker; each thread has one database connection"
    )
    TRUSTED_PROXIES: int = Field(
        0,
        ge=0,
        description="number of proxies in front of the service that set X-Forwarded-For, -Proto"
        " and -Host; 0: these headers are ignored",
    )
    PROMETHEUS_MULTIPROC_DIR: str = Field(
        "",
        description="directory for the metrics of gunicorn's workers, emptied at each start;"
        " empty: a private directory in /dev/shm or /tmp",
    )

    @field_validator("*", mode="before")
    @classmethod
    def strip(cls, value: object) -> object:
        """Remove white space from the ends, such as the line break of a secret made by `echo`.

        Only white space is refused: blank tokens must not mean that everybody can write.
        """
        if not isinstance(value, str):
            return value
        if value and not value.strip():
            raise ValueError("must not be white space only")
        return value.strip()


def read_settings() -> Settings:
    """Read the settings from the environment and `.env`; exit with one line if that fails."""
    try:
        _load_dotenv()
        return load_settings(os.environ)
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")


def _load_dotenv() -> None:
    try:
        load_dotenv()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The file .env cannot be read: {error}") from None


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from ``environ``.

    Raises ``ConfigurationError`` for an invalid value, and for an unknown variable that is
    probably a misspelt setting.
    """
    names = Settings.model_fields.keys() & environ.keys()
    _refuse_misspelt(environ.keys() - names, Settings.model_fields.keys() - names)
    try:
        return Settings.model_validate({name: environ[name] for name in names})
    except ValidationError as error:
        messages = (
            f"The environment variable {each['loc'][0]} is invalid: "
            + each["msg"].removeprefix("Value error, ")
            for each in error.errors()
        )
        raise ConfigurationError("; ".join(messages)) from None


def _refuse_misspelt(unknown: Set[str], unset: Set[str]) -> None:
    """Raise ``ConfigurationError`` if the name of an unknown variable is similar to a setting."""
    for name in sorted(unknown):
        if similar := _similar(name.upper(), unset):
            raise ConfigurationError(
                f"The environment variable {name} is not known; did you mean {similar[0]}?"
            )


def _similar(name: str, unset: Set[str]) -> list[str]:
    """Return the settings that a variable may have been meant for."""
    return (
        [each for each in unset if each == OTHER_NAMES.get(name)]
        or get_close_matches(name, unset, n=1, cutoff=0.85)
        # A transposition in a short name, such as PROT for PORT, has a ratio below the cutoff.
        or [each for each in unset if sorted(each) == sorted(name)]
    )
