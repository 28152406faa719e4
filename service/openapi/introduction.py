"""The introduction and the tags of the document, in Markdown."""

from service.schemas import MAX_LIMIT

INTRODUCTION = f"""\
The API creates, reads, replaces, changes, deletes and lists the products of an online shop. Bodies
are JSON in UTF-8.

### Lists and pages

`GET /products` is the whole catalogue in the order of `id`, as a JSON array. Parameters filter and
sort it. With `limit`, from 1 to {MAX_LIMIT:,}, the response is a page: the header `Link` (RFC 8288)
has the address of the next page with `rel="next"`. Follow it as it is until there is none; its
`cursor` is opaque. `count=true` adds `X-Total-Count`, the number of products on all pages;
`count=estimated` takes less time, and `X-Total-Count-Precision` says whether it is exact.

### Updates

PUT replaces a product; an optional member that is missing is set to its default. PATCH takes a JSON
Merge Patch (RFC 7396): a member that is missing stays as it is, and null sets it to its default.

Each product has an `ETag`. Send it as `If-Match` with PUT, PATCH or DELETE, and the service carries
the request out only if nobody has changed the product since. Otherwise the response is 412: read
the product again, decide again, and send the new tag. A GET with the tag in `If-None-Match` is 304
as long as the product is unchanged.

### Repeating a POST

With `Idempotency-Key` a POST can be repeated until there is a response: it is carried out once, and
each repetition gets the first response, with `Idempotent-Replayed: true`. The same key with another
request is 422; while the first request is running, it is 409. A response is kept for 24 hours.

### Files

`GET /products.csv` and `GET /products.jsonl` export a list with its filters and sort. A file goes
back with `POST /products/import`: with `dry_run=true` the response is a plan of what it would
change, and an `ETag`. The same request with this tag in `If-Match`, without `dry_run`, carries out
exactly this plan, or is 412. What is exported and imported again changes nothing.

### Changes

`GET /products/changes` is a feed for a copy of the catalogue. Take a cursor without `since`, read
the whole list, then follow `next` in `Link`: the page has each product that has changed since the
cursor, as it is now, or null if it was deleted. No change is skipped. After a 410, begin again.

### Errors

An error is a problem document (RFC 9457), `application/problem+json`. `detail` says what is wrong.
If the body or the query string is invalid, nothing is written, and `errors` lists all errors:
`pointer` is a member of the body, `parameter` a query parameter, and `row` a row of a file. After a
503, wait for the seconds in `Retry-After`. `request_id` finds the request in the log of the
service.

### Tokens

Reads are open, except for the history. If the service has tokens, POST, PUT, PATCH, DELETE and
`GET /products/history` need one, as `Authorization: Bearer <token>`; otherwise the response is 401.

### HEAD and OPTIONS

HEAD on each path that has GET responds as GET does, without the body. OPTIONS lists the methods of
a path in `Allow`, and for a product the types of a PATCH in `Accept-Patch` (RFC 5789).
"""

# By blueprint, in the order of the document.
TAGS = {
    "products": "The catalogue.",
    "files": "The catalogue as a file: CSV (RFC 4180) and JSON Lines.",
    "changes": "What has changed: the feed, the history and the lowest prices.",
    "operations": "Probes and metrics, for operators.",
    "openapi": "This document.",
    "page": "The back-office page, and what the service is.",
}
