"""Who may write: whoever holds a bearer token (RFC 6750); reading is open to all."""

from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import NoReturn

import click
from flask import Flask, current_app, request
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from service.config import ConfigurationError, parse_tokens

WRITES = {"POST", "PUT", "PATCH", "DELETE"}
# Of two words, so that werkzeug puts it into the quotes that RFC 9110 asks for.
REALM = "product catalogue"


class Tokens:
    """The hashes of the tokens by the names of their holders."""

    def __init__(self, pairs: str, file: str) -> None:
        """Take the tokens in ``pairs``; those in ``file`` are read when they are needed."""
        self._digests = _digests(pairs)
        self._file = Path(file) if file else None
        self._seen: tuple[int, ...] | None = None

    @property
    def names(self) -> str:
        """Return who holds a token."""
        return ", ".join(self._digests)

    def holder(self, token: str) -> str | None:
        """Return whose token this is; how long that takes tells nothing about the others."""
        if self._file and self._seen != _state(self._file):
            self._read_again(self._file)
        digest = sha256(token.encode()).digest()
        found = [name for name, known in self._digests.items() if compare_digest(known, digest)]
        return found[0] if found else None

    def read(self, file: Path) -> None:
        """Take the tokens in the file; raises ``OSError`` or ``ValueError`` if it has none."""
        self._seen = _state(file)
        tokens = _digests(file.read_text())
        if not tokens:
            raise ValueError("the file is empty")
        self._digests = tokens

    def _read_again(self, file: Path) -> None:
        """Follow a change of the file; while that is unsound, the tokens of before hold."""
        try:
            self.read(file)
        except (OSError, ValueError) as error:
            current_app.logger.warning("API_TOKENS_FILE is wrong and changes nothing: %s", error)
        else:
            current_app.logger.info("API_TOKENS_FILE has changed; may write: %s", self.names)


def _digests(pairs: str) -> dict[str, bytes]:
    return {name: sha256(token.encode()).digest() for name, token in parse_tokens(pairs).items()}


def _state(file: Path) -> tuple[int, ...] | None:
    """Return what changes whenever the file does; None if there is none."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def init_app(app: Flask) -> None:
    """Let nobody without a token write, where there are tokens.

    Raises ``ConfigurationError`` if the app is made to serve and API_TOKENS_FILE is unsound.
    """
    pairs, file = app.config["API_TOKENS"].get_secret_value(), app.config["API_TOKENS_FILE"]
    if pairs and file:
        raise ConfigurationError("Set either API_TOKENS or API_TOKENS_FILE, not both")
    tokens = Tokens(pairs, file)
    app.extensions["tokens"] = tokens if pairs or file else None
    if pairs or file:
        _require_tokens(app, tokens)
    if _is_to_serve():
        _announce(app, tokens, file)


def _require_tokens(app: Flask, tokens: Tokens) -> None:
    auth = HTTPTokenAuth("Bearer", REALM)
    auth.verify_token(lambda token: tokens.holder(token or ""))
    auth.error_handler(_refuse)
    writer = auth.login_required(auth.current_user)

    @app.before_request
    def require_token() -> None:
        if request.method in WRITES:
            request.environ["writer"] = writer()


def _refuse(status: int) -> NoReturn:
    """Answer 401, whether the token is missing or wrong."""
    raise Unauthorized(
        "Writing needs a token: Authorization: Bearer <token>",
        www_authenticate=WWWAuthenticate("bearer", {"realm": REALM}),
    )


def _announce(app: Flask, tokens: Tokens, file: str) -> None:
    """Say in the log who may write."""
    try:
        if file:
            tokens.read(Path(file))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The environment variable API_TOKENS_FILE is wrong: {error}"
        ) from None
    if tokens.names:
        app.logger.info("Who may write: %s", tokens.names)
    else:
        app.logger.warning("Everybody may write: neither API_TOKENS nor API_TOKENS_FILE is set")


def _is_to_serve() -> bool:
    """Say whether the app is not made for a command of `flask` other than `run`."""
    context = click.get_current_context(silent=True)
    return context is None or context.info_name == "run"
