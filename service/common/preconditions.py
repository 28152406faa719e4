"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13)."""

import re
from hashlib import blake2b

from flask import Request, current_app
from werkzeug.exceptions import PreconditionFailed, PreconditionRequired

TAG = re.compile(r'(?:W/)?"[^"]*"')
# What a compressing proxy does to a tag.
WEAKENED = re.compile(r'^W/|-gzip(?="$)')


def entity_tag(representation: str) -> str:
    """Return the strong tag of a representation, in its quotes."""
    return f'"{blake2b(representation.encode(), digest_size=16).hexdigest()}"'


def is_conditional(request: Request) -> bool:
    """Say whether a write depends on what is stored.

    Raises ``PreconditionRequired`` if it does not and REQUIRE_IF_MATCH is set.
    """
    if "If-Match" not in request.headers and current_app.config["REQUIRE_IF_MATCH"]:
        raise PreconditionRequired("Say in If-Match which ETag the product has that you change")
    return "If-Match" in request.headers or "If-None-Match" in request.headers


def check(request: Request, stored: str | None) -> None:
    """Raise ``PreconditionFailed`` if a write is not meant for what is stored.

    ``stored`` is the representation, None if there is none. ``If-Match`` compares strongly,
    ``If-None-Match`` weakly.
    """
    tag = None if stored is None else entity_tag(stored)
    check_match(request, tag)
    if "If-None-Match" in request.headers and not is_modified(request, tag):
        raise PreconditionFailed("The product is the one of this If-None-Match")


def check_match(request: Request, tag: str | None) -> None:
    """Raise ``PreconditionFailed`` if ``If-Match`` does not name what there is."""
    given = request.headers.get("If-Match")
    if given is not None and not _names(given, tag):
        raise PreconditionFailed("The product is not, or no longer, the one of this If-Match")


def is_modified(request: Request, tag: str | None) -> bool:
    """Say whether there is something that ``If-None-Match`` does not name."""
    given = request.headers.get("If-None-Match")
    return given is None or not _names(given, tag, weakly=True)


def _names(given: str, tag: str | None, *, weakly: bool = False) -> bool:
    tags = TAG.findall(given)
    if weakly:
        tags = [WEAKENED.sub("", each) for each in tags]
    return tag is not None and (given.strip() == "*" or tag in tags)
