"""The header ``Idempotency-Key``: of the requests with one key, one is carried out.

As draft-ietf-httpapi-idempotency-key-header describes it. A key belongs to its writer, the name
of the token. The first statement of a request's transaction claims the key, and the last one
keeps the answer, so that a crash leaves either both the change and its answer, or neither.
"""

import json
import re
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

from flask import Request, Response
from sqlalchemy import Connection, Table, delete, literal, null, select, tuple_, update
from werkzeug.exceptions import BadRequest, Conflict, UnprocessableEntity

from service.database import in_transaction
from service.database.locks import TryLock, insert_or_update
from service.http.json_body import read_body

KEPT_SECONDS = 24 * 60 * 60
# Expired keys that a request with a key deletes.
MAX_DELETED = 100
MAX_KEY_LENGTH = 255
RETRY_AFTER_SECONDS = 1

# A string of RFC 9651, or the same visible characters without quotes.
KEY = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"|([!#-+\--~]+)')
INVALID_KEY = (
    f"Idempotency-Key must be given once: 1 to {MAX_KEY_LENGTH} visible ASCII characters, "
    "in quotes, or without comma, quote and blank"
)
IN_PROGRESS = "A request with this Idempotency-Key is still running; try again later"
KEY_IN_USE = "This Idempotency-Key was used for another request"
HEADERS = ("Content-Type", "ETag", "Location")


class InProgress(Conflict):
    """Another request with the same key is still running."""

    description = IN_PROGRESS

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """Return the headers, with Retry-After."""
        return [*super().get_headers(*args, **kwargs), ("Retry-After", str(RETRY_AFTER_SECONDS))]


def key_of(request: Request) -> str | None:
    """Return the key of the request, or None; raises ``BadRequest`` if it is malformed."""
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return None
    found = KEY.fullmatch(header)
    key = found and (found[2] or re.sub(r"\\(.)", r"\1", found[1]))
    if not key or len(key) > MAX_KEY_LENGTH:
        raise BadRequest(INVALID_KEY)
    return key


def once(
    keys: Table, request: Request, key: str, work: Callable[[Connection], Response]
) -> Response:
    """Return what ``work`` answers in a transaction, or the answer that was kept for the key.

    ``keys`` has the columns writer, key, fingerprint, expires_at, status, headers and body.
    Raises ``InProgress``, and ``UnprocessableEntity`` if the key was used for another request.
    An exception of ``work`` frees the key.
    """
    claim = _Claim(keys, request.environ.get("writer", ""), key, _fingerprint(request))

    def answer(connection: Connection) -> Response:
        if not claim.succeeds(connection):
            return claim.kept_answer(connection)
        response = work(connection)
        claim.keep(connection, response)
        return response

    return in_transaction(answer)


def _fingerprint(request: Request) -> str:
    """Return a hash of all that makes two requests the same."""
    headers = [request.headers.get(name) for name in ("Content-Type", "If-Match")]
    target = [request.method, request.path, request.query_string.decode("latin-1")]
    digest = blake2b(json.dumps([*target, *headers]).encode(), digest_size=16)
    digest.update(read_body(request))
    return digest.hexdigest()


class _Claim:
    """The claim of one request to a key of its writer."""

    def __init__(self, keys: Table, writer: str, key: str, fingerprint: str) -> None:
        self._keys = keys
        self._key = {"writer": writer, "key": key}
        self._is_own = [keys.c[name] == value for name, value in self._key.items()]
        self._fingerprint = fingerprint
        self._now = int(time.time())

    def succeeds(self, connection: Connection) -> bool:
        """Insert the key, or take over an expired one; return False if another request has it.

        The lock is there because an INSERT would wait for the transaction that has the key.
        """
        lock = blake2b(repr(self._key).encode(), digest_size=8).digest()
        row = {
            **self._key,
            "fingerprint": self._fingerprint,
            "expires_at": self._now + KEPT_SECONDS,
        }
        values: list[Any] = [*map(literal, row.values()), null(), null(), null()]
        statement = insert_or_update(
            connection,
            self._keys,
            [*row, "status", "headers", "body"],
            select(*values).where(TryLock(int.from_bytes(lock, signed=True))),
            self._keys.c.expires_at <= self._now,
        )
        return connection.execute(statement.returning(literal(1))).first() is not None

    def kept_answer(self, connection: Connection) -> Response:
        """Return the kept answer."""
        columns = (self._keys.c[name] for name in ("fingerprint", "status", "headers", "body"))
        # An expired one is that of a request that is being carried out now.
        is_kept = self._keys.c.expires_at > self._now
        # The lock is a write: like the first one, it is confirmed by a standby, or it fails.
        answer = select(*columns).where(*self._is_own, is_kept).with_for_update()
        kept = connection.execute(answer).first()
        if kept is None:
            raise InProgress
        if kept.fingerprint != self._fingerprint:
            raise UnprocessableEntity(KEY_IN_USE)
        response = Response(kept.body, kept.status, json.loads(kept.headers))
        response.headers["Idempotent-Replayed"] = "true"
        return response

    def keep(self, connection: Connection, response: Response) -> None:
        """Store the answer, and delete some expired keys."""
        answer = {
            "status": response.status_code,
            "headers": json.dumps(list(_kept(response.headers.items()))),
            "body": response.get_data(as_text=True),
        }
        connection.execute(update(self._keys).where(*self._is_own).values(answer))
        # Last, because a claim of one of these keys waits for the end of the transaction.
        key = tuple_(self._keys.c.writer, self._keys.c.key)
        # A CTE is executed once; a subquery may be once for each row, each time with other keys.
        expired = (
            select(*key.clauses)
            .where(self._keys.c.expires_at <= self._now)
            .order_by(self._keys.c.expires_at)
            .limit(MAX_DELETED)
            .with_for_update(skip_locked=True)
            .cte()
        )
        connection.execute(delete(self._keys).where(key.in_(select(expired))))


def _kept(headers: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in headers if name in HEADERS)
