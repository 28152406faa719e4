"""Bearer tokens (RFC 6750): a write requires one if any is configured; a read never does."""

from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import NoReturn

import click
from flask import Flask, current_app, request
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from service.config import SERVICE_NAME, ConfigurationError, parse_tokens

WRITE_METHODS = {"POST", "PUT", "PATCH", "DELETE"}
# The space makes werkzeug quote the realm, as RFC 9110, section 11.5, requires.
REALM = f"{SERVICE_NAME} API"


class Tokens:
    """The SHA-256 digests of the tokens, by name; a changed file is reloaded."""

    def __init__(self, pairs: str, file: str) -> None:
        self._digests = _digests(pairs)
        self._file = Path(file) if file else None
        self._file_state: tuple[int, ...] | None = None

    @property
    def names(self) -> str:
        """The names of the tokens, comma-separated."""
        return ", ".join(self._digests)

    def name_of(self, token: str) -> str | None:
        """Return the name of a token, or None if it is unknown.

        Compares the token with every digest in constant time.
        """
        if self._file and self._file_state != _state(self._file):
            self._reload(self._file)
        digest = sha256(token.encode()).digest()
        names = [name for name, known in self._digests.items() if compare_digest(known, digest)]
        return names[0] if names else None

    def load(self, file: Path) -> None:
        """Load the tokens from a file; raises ``OSError``, or ``ValueError`` if it is invalid."""
        self._file_state = _state(file)
        digests = _digests(file.read_text())
        if not digests:
            raise ValueError("the file is empty")
        self._digests = digests

    def _reload(self, file: Path) -> None:
        try:
            self.load(file)
        except (OSError, ValueError) as error:
            current_app.logger.warning(
                "API_TOKENS_FILE is invalid (%s): correct it; the previous tokens remain valid",
                error,
            )
        else:
            current_app.logger.info("API_TOKENS_FILE was reloaded; tokens: %s", self.names)


def _digests(pairs: str) -> dict[str, bytes]:
    return {name: sha256(token.encode()).digest() for name, token in parse_tokens(pairs).items()}


def _state(file: Path) -> tuple[int, ...] | None:
    """Return the inode, modification time and size; None if the file cannot be read."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def init_app(app: Flask) -> None:
    """Require a token for each write, if API_TOKENS or API_TOKENS_FILE is set.

    Raises ``ConfigurationError`` if both are set, or if the app is going to serve requests and
    API_TOKENS_FILE is invalid.
    """
    pairs, file = app.config["API_TOKENS"].get_secret_value(), app.config["API_TOKENS_FILE"]
    if pairs and file:
        raise ConfigurationError("Set either API_TOKENS or API_TOKENS_FILE, not both")
    tokens = Tokens(pairs, file)
    if is_required(app):
        _require_tokens(app, tokens)
    if _will_serve():
        _load(tokens, file)
        _log_tokens(app, tokens)


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
        if request.method in WRITE_METHODS:
            if not request.headers.get("Authorization", "").isascii():
                _raise_unauthorized(401)  # werkzeug fails to decode it
            request.environ["writer"] = token_name()


def _raise_unauthorized(status: int) -> NoReturn:
    raise Unauthorized(
        "A valid token is required: Authorization: Bearer <token>",
        www_authenticate=WWWAuthenticate("bearer", {"realm": REALM}),
    )


def _load(tokens: Tokens, file: str) -> None:
    try:
        if file:
            tokens.load(Path(file))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The environment variable API_TOKENS_FILE is invalid: {error}"
        ) from None


def _log_tokens(app: Flask, tokens: Tokens) -> None:
    if tokens.names:
        app.logger.info("Writes require a token; tokens: %s", tokens.names)
    else:
        app.logger.warning(
            "Writes require no token: set API_TOKENS or API_TOKENS_FILE to restrict them"
        )


def _will_serve() -> bool:
    """Return False if the app is created for a command of `flask` other than `run`."""
    context = click.get_current_context(silent=True)
    return context is None or context.info_name == "run"
