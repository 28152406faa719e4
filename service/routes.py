"""The blueprints of /products: one view for each operation."""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request, stream_with_context
from sqlalchemy import Connection, bindparam, delete, exists, insert, select, update
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound, PreconditionFailed
from werkzeug.routing import BaseConverter

from service.changes import feed, history, prices
from service.common import status
from service.common.error_handlers import shortened
from service.database import (
    Rows,
    Statement,
    confirm_writes,
    execute,
    execute_in,
    in_transaction,
    standby,
)
from service.database.locks import insert_unless_there
from service.database.signature import sign, signature, signed
from service.files import CSV, JSON_LINES, export, importing
from service.files.parameters import import_options
from service.http import auth, idempotency
from service.http.json_body import JSON
from service.http.preconditions import (
    entity_tag,
    is_conditional,
    none_match_fails,
    require_match,
    require_preconditions,
)
from service.listing import Listing, Total
from service.listing.facets import facets
from service.listing.query import parse, parse_filter
from service.models import (
    MAX_ID,
    catalogue,
    changes,
    idempotency_keys,
    product_json,
    products,
    returning_json,
)
from service.openapi.components import (
    BODY,
    CHANGES,
    CSV_FILE,
    FACETS,
    FILE,
    HISTORY,
    IMPORTED,
    JSON_LINES_FILE,
    LOWEST_PRICE,
    PATCH,
    PRODUCT,
    PRODUCTS,
)
from service.openapi.decorator import operation
from service.openapi.parameters import (
    CHANGES_PARAMETERS,
    DIALECT,
    EXPORT_PARAMETERS,
    FILTER_PARAMETERS,
    HISTORY_PARAMETERS,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_MATCH_PLAN,
    IF_NONE_MATCH,
    IF_NONE_MATCH_ANY,
    IMPORT_PARAMETERS,
    LIST_PARAMETERS,
    LOWEST_PRICE_PARAMETERS,
)
from service.schemas import (
    PAGE_SIZE,
    PRICE_DAYS,
    changed_members,
    changes_parameters,
    history_parameters,
    lowest_price_parameters,
    new_product,
    whole_product,
)

change_operation = partial(
    operation,
    {JSON: PRODUCT},
    headers=("ETag",),
    failures=(400, 401, 403, 404, 412, 413, 415, 428, 503),
    parameters=(IF_MATCH,),
)
# What is below /products, but is no product.
OTHER_RESOURCES = ("changes", "facets", "history", "import")
DECIMAL_ID = re.compile("[1-9][0-9]{0,9}")

blueprint = Blueprint("products", __name__, url_prefix="/products")
files_blueprint = Blueprint("files", __name__)
changes_blueprint = Blueprint("changes", __name__, url_prefix="/products")

_product = select(product_json).where(catalogue.c.id == bindparam("product_id"))
_locked_product = _product.with_for_update()
_is_product = products.c.id == bindparam("product_id")
_insert = insert(products).returning(returning_json, products.c.id, signed)
_update = update(products).where(_is_product).returning(returning_json, signed)
_delete = delete(products).where(_is_product).returning(signed)
_was_there = select(exists().where(changes.c.product_id == bindparam("product_id")))


class JSONResponse(Response):
    """A JSON response whose headers are complete, so that werkzeug need not check them."""

    def get_wsgi_headers(self, environ: object) -> Headers:
        """Return the headers unchanged."""
        return self.headers


class ProductNotFound(NotFound):
    """No product has this id, or the id is invalid."""

    def __init__(self, product_id: object) -> None:
        super().__init__(f"Product {shortened(str(product_id))} was not found")


class ProductIdConverter(BaseConverter):
    """Converts a path segment that is a decimal integer from 1 to ``MAX_ID``.

    The names in ``OTHER_RESOURCES`` do not match, so that a wrong method on them is 405.
    """

    regex = f"(?!({'|'.join(OTHER_RESOURCES)})$)[^/]+"

    def to_python(self, value: str) -> int:
        """Return the id; raises ``ProductNotFound`` if the segment is not an id."""
        if not DECIMAL_ID.fullmatch(value) or int(value) > MAX_ID:
            raise ProductNotFound(value)
        return int(value)


@blueprint.get("")
@operation(
    {JSON: PRODUCTS},
    headers=("Link", "X-Data-Age", "X-Total-Count", "X-Total-Count-Precision"),
    failures=(400, 414, 503),
    parameters=LIST_PARAMETERS,
)
def list_products() -> Response:
    """List all products, or those that the parameters select.

    Without `limit` the response is streamed. With `limit` it is a page, and the header `Link` has
    the addresses of other pages.
    """
    listing = parse(request.query_string)
    standby.allow()
    if listing.limit is None:
        headers = _count_headers(listing)
        return Response(stream_with_context(listing.stream()), headers=headers, content_type=JSON)
    page = listing.page(listing.limit, _collection_url())
    headers = {"Link": page.link} | _count_headers(listing, page.total)
    return JSONResponse(page.body, headers=headers, content_type=JSON)


def _count_headers(listing: Listing, total: Total | None = None) -> dict[str, str]:
    """Return the headers that say how many products match, if that is asked for."""
    if not listing.is_counted:
        return {}
    number, is_exact = total or listing.counted()
    headers = {"X-Total-Count": str(number)}
    if listing.is_estimated:
        headers["X-Total-Count-Precision"] = "exact" if is_exact else "estimated"
    return headers


@blueprint.get("/facets")
@operation(
    {JSON: FACETS},
    headers=("X-Data-Age",),
    failures=(400, 414, 503),
    parameters=FILTER_PARAMETERS,
)
def get_facets() -> Response:
    """Count the products that a filter selects, by status and by category.

    Each facet counts as if its own filter were not set. The categories are up to 100, the most
    frequent first.
    """
    listing = parse_filter(request.query_string)
    standby.allow()
    found = json.dumps(facets(listing), ensure_ascii=False)
    return JSONResponse(found, content_type=JSON)


@files_blueprint.get("/products.csv")
@operation(
    {CSV: CSV_FILE},
    headers=("Content-Disposition",),
    failures=(400, 414, 503),
    parameters=(*EXPORT_PARAMETERS, DIALECT),
)
def export_products_as_csv() -> Response:
    """Export all products, or those that the parameters select, as CSV (RFC 4180).

    The file has a heading line, the members of a product and its ETag. A text that a spreadsheet
    would change or execute has an apostrophe in front, which an import takes away.
    """
    pieces = export.csv_pieces(request.query_string)
    return Response(stream_with_context(pieces), headers=export.headers(CSV))


@files_blueprint.get("/products.jsonl")
@operation(
    {JSON_LINES: JSON_LINES_FILE},
    headers=("Content-Disposition",),
    failures=(400, 414, 503),
    parameters=EXPORT_PARAMETERS,
)
def export_products_as_json_lines() -> Response:
    """Export all products, or those that the parameters select, as JSON Lines.

    Each line is a product with its ETag.
    """
    pieces = export.json_lines_pieces(request.query_string)
    return Response(stream_with_context(pieces), headers=export.headers(JSON_LINES))


@files_blueprint.post(importing.PATH)
@operation(
    {JSON: IMPORTED},
    headers=("ETag", "Idempotent-Replayed"),
    failures=(400, 401, 403, 409, 412, 413, 415, 422, 428, 503),
    body=FILE,
    parameters=(*IMPORT_PARAMETERS, IF_MATCH_PLAN, IDEMPOTENCY_KEY),
    details=importing.DETAILS,
)
def import_products() -> Response:
    """Create and change the products that a CSV or JSON Lines file has.

    With `dry_run=true` the response is the plan: what the file would create and change, its
    faults, and an ETag. The same request with this ETag in `If-Match` carries it out, if it is
    still the same plan and no row is faulty.
    """
    charset = importing.require_file(request)
    options, is_dry_run = import_options(request.query_string, charset)
    key = idempotency.key_of(request)
    if is_dry_run:
        return importing.dry_run(request, options)
    importing.require_plan(request)

    def carry_out(connection: Connection) -> Response:
        sign(connection)
        return importing.carry_out(connection, request, options)

    if key is None:
        return in_transaction(carry_out)
    return idempotency.once(idempotency_keys, request, key, carry_out)


@blueprint.post("")
@operation(
    {JSON: PRODUCT},
    success=status.HTTP_201_CREATED,
    headers=("ETag", "Idempotent-Replayed", "Location"),
    failures=(400, 401, 403, 409, 413, 415, 422, 503),
    body=BODY,
    parameters=(IDEMPOTENCY_KEY,),
)
def create_product() -> Response:
    """Create a product.

    With `Idempotency-Key` it can be repeated safely: only the first request creates a product.
    """
    key = idempotency.key_of(request)
    if key is None:
        return _create(execute)
    return idempotency.once(
        idempotency_keys, request, key, lambda connection: _create(partial(execute_in, connection))
    )


def _create(execute: Callable[[Statement, dict[str, Any]], Rows]) -> Response:
    product, product_id, _ = execute(_insert, new_product(request) | signature())[0]
    return _response(product, status.HTTP_201_CREATED, Location=f"{_collection_url()}/{product_id}")


@blueprint.get("/<product_id:product_id>")
@operation(
    {JSON: PRODUCT},
    headers=("ETag", "X-Data-Age"),
    failures=(304, 404, 412, 503),
    parameters=(IF_MATCH, IF_NONE_MATCH),
)
def get_product(product_id: int) -> Response:
    """Read a product."""
    if "If-Match" not in request.headers:
        standby.allow()
    product = _first(product_id, execute(_product, {"product_id": product_id}))
    tag = entity_tag(product)
    require_match(request, tag)
    if none_match_fails(request, tag) and not standby.reading():
        return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": f'"{tag}"'})
    return _response(product, tag=tag)


@blueprint.put("/<product_id:product_id>")
@change_operation(
    body=BODY,
    also=(status.HTTP_201_CREATED,),
    parameters=(IF_MATCH, IF_NONE_MATCH_ANY),
)
def replace_product(product_id: int) -> Response:
    """Replace a product; optional members that are missing are set to their defaults.

    With `If-None-Match: *` it brings back a deleted product, under the id that it had.
    """
    columns = whole_product(request, product_id)
    if request.if_none_match.star_tag:
        return _response(_brought_back(product_id, columns), status.HTTP_201_CREATED)
    return _response(_first(product_id, _change(_update, product_id, columns)))


@blueprint.patch("/<product_id:product_id>")
@change_operation(body=PATCH)
def update_product(product_id: int) -> Response:
    """Change members of a product with a JSON Merge Patch (RFC 7396)."""
    columns = changed_members(request, product_id)
    statement = _update if columns else _product
    return _response(_first(product_id, _change(statement, product_id, columns)))


@blueprint.delete("/<product_id:product_id>")
@operation(
    {},
    success=status.HTTP_204_NO_CONTENT,
    failures=(401, 403, 404, 412, 428, 503),
    parameters=(IF_MATCH,),
    details={404: "Product 0 was not found"},
)
def delete_product(product_id: int) -> Response:
    """Delete a product; the response is the same if it does not exist.

    It is 404 only if no product can have the id.
    """
    if not _change(_delete, product_id, {}):
        confirm_writes()
    response = Response(status=status.HTTP_204_NO_CONTENT)
    del response.headers["Content-Type"]
    return response


@changes_blueprint.get("/changes")
@operation(
    {JSON: CHANGES},
    headers=("Link",),
    failures=(400, 410, 414, 503),
    parameters=CHANGES_PARAMETERS,
    details={410: feed.UNKNOWN_CURSOR},
)
def list_changes() -> Response:
    """List the products that have changed since a cursor, as they are now.

    Without `since` the list is empty, and `Link` has a new cursor. Take it before you read the
    whole list, and follow `next` from then on: no change is ever skipped, though one may be
    seen twice. An empty list means that there is no further change now. After a 410, begin again.
    """
    query = changes_parameters(request.query_string)
    page, cursor = feed.page(query.get("since"), query.get("limit", PAGE_SIZE))
    return _page(page, {**query, "since": cursor})


@changes_blueprint.get("/history")
@auth.token_required
@operation(
    {JSON: HISTORY},
    headers=("Link",),
    failures=(400, 401, 414, 503),
    parameters=HISTORY_PARAMETERS,
)
def list_history() -> Response:
    """List changes, the newest first: who made them, when, and what the product was before."""
    query = history_parameters(request.query_string)
    page, cursor = history.page(query)
    return _page(page, {**query, "cursor": cursor} if cursor else None)


@changes_blueprint.get("/<product_id:product_id>/lowest-price")
@operation(
    {JSON: LOWEST_PRICE},
    headers=("X-Data-Age",),
    failures=(400, 404, 414, 503),
    parameters=LOWEST_PRICE_PARAMETERS,
)
def get_lowest_price(product_id: int) -> Response:
    """Read the lowest price of a product in the days before its latest reduction.

    It is the lowest price at which the product was active (Directive 98/6/EC, article 6a), without
    the reduced price. If the price was never reduced, it is the lowest one of the days before now.
    """
    query = lowest_price_parameters(request.query_string)
    standby.allow()
    lowest = prices.lowest(product_id, query.get("days", PRICE_DAYS))
    if lowest is None:
        raise ProductNotFound(product_id)
    return JSONResponse(json.dumps(lowest), content_type=JSON)


def _page(page: str, following: Mapping[str, object] | None) -> Response:
    """Return a page, with a Link to the one that has the parameters ``following``."""
    link = f'<{request.base_url}?{urlencode(following)}>; rel="next"' if following else None
    return JSONResponse(page, headers={"Link": link} if link else {}, content_type=JSON)


def _change(statement: Statement, product_id: int, columns: dict[str, Any]) -> Rows:
    """Execute a write; if it has preconditions, lock the product and check them first."""
    parameters = {"product_id": product_id, **columns, **signature()}
    if not is_conditional(request):
        return execute(statement, parameters)

    def change_locked(connection: Connection) -> Rows:
        require_preconditions(request, connection.execute(_locked_product, parameters).scalar())
        return execute_in(connection, statement, parameters)

    return in_transaction(change_locked)


def _brought_back(product_id: int, columns: dict[str, Any]) -> str:
    """Insert a product that was deleted, and return its JSON.

    Raises ``PreconditionFailed`` if it is there, and ``ProductNotFound`` if it never was.
    """
    parameters = {"product_id": product_id, "id": product_id, **columns, **signature()}

    def insert_again(connection: Connection) -> Rows:
        require_preconditions(request, connection.execute(_product, parameters).scalar())
        if not connection.execute(_was_there, parameters).scalar():
            return ()
        statement = insert_unless_there(connection, products).returning(returning_json, signed)
        rows = execute_in(connection, statement, parameters)
        if not rows:  # another request has brought it back since it was looked for
            raise PreconditionFailed("If-None-Match matches the current representation")
        return rows

    return _first(product_id, in_transaction(insert_again))


def _first(product_id: int, rows: Rows) -> str:
    """Return the JSON of the product; raises ``ProductNotFound`` if there is no row."""
    if not rows:
        raise ProductNotFound(product_id)
    return str(rows[0][0])


def _response(product: str, code: int = 200, tag: str = "", **headers: str) -> Response:
    headers["ETag"] = f'"{tag or entity_tag(product)}"'
    return JSONResponse(product, code, headers, content_type=JSON)


def _collection_url() -> str:
    """Return the absolute URL of the collection, as the client sees it."""
    return request.base_url.rstrip("/")
