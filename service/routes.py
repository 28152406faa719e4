"""The blueprint of /products: one short function an operation."""

import re
from typing import Any

from flask import Blueprint, Response, request, stream_with_context
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from service.common import status
from service.common.database import Rows, Statement, in_transaction, read, run, write
from service.common.json_body import JSON
from service.common.preconditions import check, check_match, entity_tag, is_conditional, is_modified
from service.listing import address, requested
from service.models import MAX_ID, catalogue, product_json, products, written_json
from service.schemas import changed_members, new_product, whole_product

DECIMAL_ID = re.compile("[1-9][0-9]{0,9}")

blueprint = Blueprint("products", __name__, url_prefix="/products")

_product = select(product_json).where(catalogue.c.id == bindparam("product_id"))
_locked_product = _product.with_for_update()
_insert = insert(products).returning(products.c.id, written_json)
_update = update(products).where(products.c.id == bindparam("product_id")).returning(written_json)
_delete = delete(products).where(products.c.id == bindparam("product_id"))


class JSONResponse(Response):
    """A product or a page of them; its headers are right, and need no costly second look."""

    def get_wsgi_headers(self, environ: object) -> Headers:
        """Return the headers as they are."""
        return self.headers


class ProductNotFound(NotFound):
    """There is no product of this id, or this can be no product's id."""

    def __init__(self, product_id: object) -> None:
        """Name the product."""
        super().__init__(f"Product {product_id} was not found")


class ProductIdConverter(BaseConverter):
    """A decimal integer from 1 to ``MAX_ID``; any other segment is a product not found."""

    def to_python(self, value: str) -> int:
        """Return the id, or raise ``ProductNotFound``."""
        if not DECIMAL_ID.fullmatch(value) or int(value) > MAX_ID:
            raise ProductNotFound(value)
        return int(value)


@blueprint.get("")
def list_products() -> Response:
    """List products: all of them, or those that the parameters ask for.

    Without `limit` the list is streamed; with it, `Link` leads from page to page.
    """
    listing = requested(request.query_string)
    headers = {"X-Total-Count": str(listing.count())} if listing.is_counted else {}
    if listing.limit is None:
        return Response(stream_with_context(listing.stream()), headers=headers, content_type=JSON)
    page, headers["Link"] = listing.page(listing.limit, address(request))
    return JSONResponse(page, headers=headers, content_type=JSON)


@blueprint.post("")
def create_product() -> Response:
    """Create a product."""
    product_id, product = write(_insert, new_product(request))[0]
    location = f"{address(request)}/{product_id}"
    return _answer(product, status.HTTP_201_CREATED, Location=location)


@blueprint.get("/<product_id:product_id>")
def read_product(product_id: int) -> Response:
    """Read a product."""
    product = _first(product_id, read(_product, {"product_id": product_id}))
    tag = entity_tag(product)
    check_match(request, tag)
    if not is_modified(request, tag):
        return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": tag})
    return _answer(product, ETag=tag)


@blueprint.put("/<product_id:product_id>")
def replace_product(product_id: int) -> Response:
    """Replace a whole product; what is left out takes its default."""
    columns = whole_product(request, product_id)
    return _answer(_first(product_id, _change(_update, product_id, columns)))


@blueprint.patch("/<product_id:product_id>")
def change_product(product_id: int) -> Response:
    """Change some members of a product by a JSON Merge Patch (RFC 7396)."""
    columns = changed_members(request, product_id)
    statement = _update if columns else _product
    return _answer(_first(product_id, _change(statement, product_id, columns)))


@blueprint.delete("/<product_id:product_id>")
def delete_product(product_id: int) -> Response:
    """Delete a product; it is no error if there is none."""
    _change(_delete, product_id, {})
    response = Response(status=status.HTTP_204_NO_CONTENT)
    del response.headers["Content-Type"]
    return response


def _change(statement: Statement, product_id: int, columns: dict[str, Any]) -> Rows:
    """Carry out a write; with preconditions, under the lock of the product they speak of."""
    parameters = {"product_id": product_id, **columns}
    if not is_conditional(request):
        return write(statement, parameters)

    def change_if_meant(connection: Connection) -> Rows:
        check(request, connection.execute(_locked_product, parameters).scalar())
        return run(connection, statement, parameters)

    return in_transaction(change_if_meant)


def _first(product_id: int, found: Rows) -> str:
    """Return the product that was found as JSON, or raise ``ProductNotFound``."""
    if not found:
        raise ProductNotFound(product_id)
    return str(found[0][0])


def _answer(product: str, code: int = 200, **headers: str) -> Response:
    tag = headers.pop("ETag", None) or entity_tag(product)
    return JSONResponse(product, code, {"ETag": tag, **headers}, content_type=JSON)
