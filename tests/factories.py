"""Factories of products: as a client sends them and as the table has them."""

from decimal import Decimal
from typing import Any

import factory

from service.models import Status


class _Body(factory.DictFactory):
    name = factory.Sequence("Kettle no. {}".format)
    img_url = factory.LazyAttribute(lambda body: f"https://img.example.com/{body.name}.jpg")
    description = factory.LazyAttribute(lambda body: f"{body.name} whistles when it boils.")
    price = factory.Sequence(lambda n: n + 0.95)
    rating = factory.Sequence(lambda n: n % 6)
    category = factory.Iterator(["Kitchen", "Café", "Garden"])
    status = factory.Iterator(status.value for status in Status)


class _Row(_Body):
    price = factory.Sequence(lambda n: n + Decimal("0.95"))
    status = factory.Iterator(Status)


def product_body(**members: Any) -> dict[str, Any]:
    """Return a whole product without an id, ready to be sent as JSON."""
    body: dict[str, Any] = _Body.build(**members)
    return body


def product_row(**columns: Any) -> dict[str, Any]:
    """Return the column values of a product without an id, ready to be inserted."""
    row: dict[str, Any] = _Row.build(**columns)
    return row
