"""Bearer tokens (RFC 6750): a write requires one if any is configured, a read only if it is marked.

The file of API_TOKENS_FILE is read for each write, so that a token that is no longer in it is
refused from then on. While the file is missing or invalid, writes are 503, and reads continue.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from logging import Logger
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import click
from flask import Flask, current_app, request
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import ServiceUnavailable, Unauthorized

from service.common.error_handlers import RETRY_AFTER_SECONDS
from service.config import SERVICE_NAME, ConfigurationError, parse_tokens

WRITE_METHODS = {"POST", "PUT", "PATCH", "DELETE"}
# The space makes werkzeug quote the realm, as RFC 9110, section 11.5, requires.
REALM = f"{SERVICE_NAME} API"
COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)


View = TypeVar("View", bound=Callable[..., Any])

_marked: set[Callable[..., Any]] = set()


def token_required(view: View) -> View:
    """Mark a view as one that also requires a token for reads."""
    _marked.add(view)
    return view


def needs_token(method: str, view: Callable[..., Any] | None) -> bool:
    """Return whether a request needs a token, if the service has any."""
    return method in WRITE_METHODS or (view in _marked and method != "OPTIONS")


class Loaded(NamedTuple):
    """The tokens as they were last loaded."""

    content: bytes | str
    """The content of the file, or why it cannot be read."""
    digests: Mapping[str, bytes]
    """The SHA-256 digests of the tokens, by name."""
    fault: str = ""
    """What is wrong with the file."""


class Tokens:
    """The tokens of API_TOKENS or of a file."""

    def __init__(self, pairs: str, file: str, logger: Logger) -> None:
        self._file = Path(file) if file else None
        self._logger = logger
        self._loaded = Loaded("", _digests(pairs))

    def load(self) -> Loaded:
        """Read the file again, log whether it has changed, and return the tokens; takes 5 µs."""
        loaded = self._loaded
        if self._file and loaded.content != (content := _read(self._file)):
            self._loaded = loaded = _parse(content)
            self.log()
        return loaded

    def log(self) -> None:
        """Log who can write."""
        _, digests, fault = self._loaded
        if fault:
            self._logger.error("%s: all writes are 503 until it is corrected", fault)
        elif digests:
            self._logger.info("Writes require a token; tokens: %s", ", ".join(digests))
        else:
            self._logger.warning("The file of API_TOKENS_FILE has no token: nobody can write")

    def name_of(self, token: str) -> str | None:
        """Return the name of a loaded token, or None if it is unknown.

        Compares the token with every digest in constant time.
        """
        digest = sha256(token.encode()).digest()
        digests = self._loaded.digests
        names = [name for name, known in digests.items() if compare_digest(known, digest)]
        return names[0] if names else None


def _read(file: Path) -> bytes | str:
    try:
        if file.is_file() or not file.exists():
            return file.read_bytes()
    except OSError as error:
        return str(error.strerror)
    return "it is not a regular file"


def _parse(content: bytes | str) -> Loaded:
    if isinstance(content, str):
        return Loaded(content, {}, f"The file of API_TOKENS_FILE cannot be read ({content})")
    try:
        return Loaded(content, _digests(COMMENT.sub("", content.decode())))
    except ValueError as error:
        return Loaded(content, {}, f"The file of API_TOKENS_FILE is invalid ({error})")


def _digests(pairs: str) -> dict[str, bytes]:
    return {name: sha256(token.encode()).digest() for name, token in parse_tokens(pairs).items()}


def init_app(app: Flask) -> Tokens:
    """Require a token for each write, if API_TOKENS or API_TOKENS_FILE is set; return the tokens.

    Raises ``ConfigurationError`` if both are set. A missing or invalid file raises nothing, so that
    a worker that is replaced meanwhile serves reads.
    """
    pairs, file = app.config["API_TOKENS"].get_secret_value(), app.config["API_TOKENS_FILE"]
    if pairs and file:
        raise ConfigurationError("Set either API_TOKENS or API_TOKENS_FILE, not both")
    tokens = Tokens(pairs, file, app.logger)
    if is_required(app):
        _require_tokens(app, tokens)
    if _will_serve():
        _log_tokens(app, tokens)
    return tokens


def refuse_invalid_file(file: str) -> None:
    """Raise ``ConfigurationError`` if the content of the file is invalid.

    One that is missing or cannot be read is accepted: it may appear later.
    """
    content = _read(Path(file)) if file else ""
    if isinstance(content, bytes) and (fault := _parse(content).fault):
        raise ConfigurationError(fault)


def is_required(app: Flask) -> bool:
    """Return whether a write requires a token."""
    return bool(app.config["API_TOKENS"].get_secret_value() or app.config["API_TOKENS_FILE"])


def _require_tokens(app: Flask, tokens: Tokens) -> None:
    auth = HTTPTokenAuth("Bearer", REALM)
    auth.verify_token(lambda token: tokens.name_of(token or ""))
    auth.error_handler(_raise_unauthorized)
    token_name = auth.login_required(auth.current_user)

    @app.before_request
    def require_token() -> None:
        if needs_token(request.method, current_app.view_functions.get(request.endpoint or "")):
            if tokens.load().fault:
                detail = "Nobody can write until the tokens of the service are corrected"
                raise ServiceUnavailable(detail, retry_after=RETRY_AFTER_SECONDS)
            if not request.headers.get("Authorization", "").isascii():
                _raise_unauthorized(401)  # werkzeug fails to decode it
            request.environ["writer"] = token_name()


def _raise_unauthorized(status: int) -> NoReturn:
    raise Unauthorized(
        "A valid token is required: Authorization: Bearer <token>",
        www_authenticate=WWWAuthenticate("bearer", {"realm": REALM}),
    )


def _log_tokens(app: Flask, tokens: Tokens) -> None:
    if not is_required(app):
        app.logger.warning(
            "Writes require no token: set API_TOKENS or API_TOKENS_FILE to restrict them"
        )
    elif app.config["API_TOKENS_FILE"]:
        tokens.load()
    else:
        tokens.log()


def _will_serve() -> bool:
    """Return False if the app is created for a command of `flask` other than `run`."""
    context = click.get_current_context(silent=True)
    return context is None or context.info_name == "run"
