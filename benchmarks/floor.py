"""The floor: bare Flask and a psycopg pool, the SQL by hand; no checks, no faults, no log."""

from hashlib import blake2b

from flask import Flask, Response, request
from psycopg_pool import ConnectionPool

READ = "SELECT row_to_json(products)::text FROM products WHERE id = %s"

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024  # the server collects bodies up to this size
pool = ConnectionPool(min_size=2, max_size=2, kwargs={"autocommit": True}, open=False)


@app.get("/products/<int:product_id>")
def read_product(product_id: int) -> Response:
    """Read a product; the connection is the one of libpq's environment variables."""
    pool.open()
    with pool.connection() as connection:
        row = connection.execute(READ, (product_id,)).fetchone()
    if row is None:
        return Response(status=404)
    tag = f'"{blake2b(row[0].encode(), digest_size=16).hexdigest()}"'
    headers = {"ETag": tag}
    if request.headers.get("If-None-Match") == tag:
        return Response(status=304, headers=headers)
    return Response(row[0], headers=headers, content_type="application/json")
