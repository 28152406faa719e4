"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13)."""

from hashlib import blake2b

from flask import Request, current_app
from werkzeug.exceptions import PreconditionFailed, PreconditionRequired


def entity_tag(representation: str) -> str:
    """Return the strong entity tag of a representation: 32 hexadecimal digits, unquoted."""
    return blake2b(representation.encode(), digest_size=16).hexdigest()


def is_conditional(request: Request) -> bool:
    """Return whether the request has a precondition.

    Raises ``PreconditionRequired`` if REQUIRE_IF_MATCH is set and If-Match is missing.
    """
    if "If-Match" not in request.headers and current_app.config["REQUIRE_IF_MATCH"]:
        raise PreconditionRequired(
            "If-Match is required: send the ETag of the representation to change"
        )
    return "If-Match" in request.headers or "If-None-Match" in request.headers


def require_preconditions(request: Request, representation: str | None) -> None:
    """Raise ``PreconditionFailed`` unless all preconditions of a write are true.

    ``representation`` is the stored one, or None if there is none. ``If-Match`` uses the strong
    comparison, ``If-None-Match`` the weak one (RFC 9110, section 8.8.3.2).
    """
    tag = None if representation is None else entity_tag(representation)
    require_match(request, tag)
    if none_match_fails(request, tag):
        raise PreconditionFailed("If-None-Match matches the current representation")


def require_match(request: Request, tag: str | None) -> None:
    """Raise ``PreconditionFailed`` if ``If-Match`` is present and does not match ``tag``."""
    if "If-Match" in request.headers and (tag is None or tag not in request.if_match):
        raise PreconditionFailed("If-Match does not match the current representation")


def none_match_fails(request: Request, tag: str | None) -> bool:
    """Return whether ``If-None-Match`` is present and matches ``tag``.

    Also matches a tag to which a compressing proxy added ``-gzip``.
    """
    if tag is None or "If-None-Match" not in request.headers:
        return False
    tags = request.if_none_match
    return tags.contains_weak(tag) or tags.contains_weak(f"{tag}-gzip")
