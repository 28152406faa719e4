"""The decorator that declares what a view takes and answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Response

from service.common import status
from service.openapi.components import Schema


@dataclass(frozen=True)
class Operation:
    """The request and the responses of a view."""

    content: dict[str, Schema]
    """The schemas of the body of a successful response, by media type."""
    success: int = status.HTTP_200_OK
    also: tuple[int, ...] = ()
    """Other status codes of a successful response, with the same content."""
    headers: tuple[str, ...] = ()
    """The headers of a successful response; keys of ``HEADERS``."""
    failures: tuple[int, ...] = ()
    """The other status codes; keys of ``FAILURES``."""
    body: dict[str, Schema] | None = None
    """The schemas of the request body, by media type."""
    parameters: tuple[Schema, ...] = ()
    details: dict[int, str] = field(default_factory=dict)
    """The ``detail`` of a failure, where it differs from the one in ``FAILURES``."""


View = TypeVar("View", bound=Callable[..., Response])

operations: dict[Callable[..., Any], Operation] = {}
"""All operations, by view."""


def operation(content: dict[str, Schema], **members: Any) -> Callable[[View], View]:
    """Return a decorator that documents a view; ``members`` are those of ``Operation``.

    The name of the view is the operationId, as in ``listProducts`` for ``list_products``. The
    first line of its docstring is the summary, the rest is the description.
    """

    def document_view(view: View) -> View:
        operations[view] = Operation(content, **members)
        return view

    return document_view
