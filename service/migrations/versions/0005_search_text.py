"""Store the text that a search compares, so that no search computes it.

On PostgreSQL a trigger fills the new column, whoever writes the row: the service, its previous
version during a rollout, COPY, psql. The rows that are there are filled in batches that are
committed one by one, and no step blocks writers for more than a moment. If a step fails, the next
upgrade goes on from there. On SQLite the column stays null.

The index that revision 0002 made for searches stays for a rollout. Those of revision 0001 are
dropped: the previous version does not use them.
"""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = ("id", "name", "img_url", "description", "price", "rating", "category", "status")

# What an update must change to be recorded: revision 0004 compares all columns.
ANY_COLUMN = "deleted IS DISTINCT FROM inserted"
COMPARED = ", ".join(f"{{0}}.{name}" for name in COLUMNS)
ANY_MEMBER = f"({COMPARED.format('deleted')}) IS DISTINCT FROM ({COMPARED.format('inserted')})"
REPLACE_IN_RECORD = """\
DO $do$
BEGIN
    EXECUTE replace(
        pg_get_functiondef(CAST('record_product_changes()' AS regprocedure)), '{old}', '{new}'
    );
END
$do$"""

SEARCHED = "{0}name || coalesce(' ' || {0}description, '') || coalesce(' ' || {0}category, '')"
# It names the schema of search_key, because a search_path of its own would be set at each call.
FILL = f"""\
DO $do$
BEGIN
    EXECUTE format($format$
CREATE OR REPLACE FUNCTION fill_product_search_text() RETURNS trigger LANGUAGE plpgsql AS $fill$
BEGIN
    NEW.search_text = %I.search_key({SEARCHED.format("NEW.")});
    RETURN NEW;
END
$fill$
$format$, current_schema());
END
$do$"""
TEXTS = ", ".join(f"{{0}}.{name}" for name in ("name", "description", "category", "search_text"))
IS_OTHER = f"({TEXTS.format('OLD')}) IS DISTINCT FROM ({TEXTS.format('NEW')})"
TRIGGERS = {
    "fill_product_search_text_insert": "BEFORE INSERT ON products FOR EACH ROW",
    "fill_product_search_text_update": "BEFORE UPDATE ON products FOR EACH ROW"
    f" WHEN (NEW.search_text IS NULL OR {IS_OTHER})",
}
# In the order of the ids, as imports lock rows. The trigger computes the value.
FILL_ROWS = f"""\
DO $do$
DECLARE
    last integer = 0;
BEGIN
    LOOP
        WITH stale AS (
            SELECT id FROM products
            WHERE id > last AND search_text IS DISTINCT FROM search_key({SEARCHED.format("")})
            ORDER BY id LIMIT 1000 FOR UPDATE
        ), filled AS (
            UPDATE products SET search_text = NULL FROM stale WHERE products.id = stale.id
            RETURNING products.id
        )
        SELECT max(id) INTO last FROM filled;
        EXIT WHEN last IS NULL;
        {{after_batch}}
    END LOOP;
END
$do$"""  # noqa: S608  # constants

SEARCH_INDEX = {"ix_products_search_text": "USING gin (search_text gin_trgm_ops)"}
DROPPED_INDEXES = {
    "ix_products_category_folded": "(fold(category), id)",
    "ix_products_category_folded_price": "(fold(category), price, id)",
    "ix_products_category_folded_price_desc": "(fold(category), price DESC, id)",
}
DROPPED_SEARCH_INDEX = {
    "ix_products_search": """\
USING gin (
    fold(name || ' ' || coalesce(description, '') || ' ' || coalesce(category, ''))
    gin_trgm_ops
)"""
}
# An index is built without a lock that blocks writers, but waits for all open transactions.
PATIENCE = ("SET lock_timeout = '15min'", "SET statement_timeout = 0")
IMPATIENCE = ("SET lock_timeout = '5s'", "SET statement_timeout = '15min'")


def upgrade() -> None:
    """Add the column; on PostgreSQL, also its triggers, its values and its index."""
    if not _is_postgresql():
        op.add_column("products", sa.Column("search_text", sa.Text()))
        return
    op.execute("ALTER TABLE products ADD COLUMN IF NOT EXISTS search_text text")
    _create_triggers()
    with op.get_context().autocommit_block():
        _execute_all(PATIENCE)
        _drop_indexes({**DROPPED_INDEXES, **DROPPED_SEARCH_INDEX})
        op.execute(FILL_ROWS.format(after_batch="COMMIT;"))
        _create_indexes(_if_trigrams(SEARCH_INDEX))
        op.execute("ANALYZE products")
        _execute_all(IMPATIENCE)


def create_triggers() -> None:
    """Create the triggers, or create them again, and fill what was written without them."""
    if _is_postgresql():
        _create_triggers()
        op.execute(FILL_ROWS.format(after_batch=""))


def downgrade() -> None:
    """Drop the column and all that fills it; create the indexes of 0001 again."""
    if not _is_postgresql():
        op.drop_column("products", "search_text")
        return
    with op.get_context().autocommit_block():
        _execute_all(PATIENCE)
        _create_indexes({**DROPPED_INDEXES, **_if_trigrams(DROPPED_SEARCH_INDEX)})
        _drop_indexes(SEARCH_INDEX)
        _execute_all(IMPATIENCE)
    op.execute(REPLACE_IN_RECORD.format(old=ANY_MEMBER, new=ANY_COLUMN))
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER IF EXISTS {name} ON products")
    op.execute("DROP FUNCTION IF EXISTS fill_product_search_text()")
    op.execute("ALTER TABLE products DROP COLUMN IF EXISTS search_text")


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _execute_all(statements: Iterable[str]) -> None:
    for statement in statements:
        op.execute(statement)


def _create_triggers() -> None:
    op.execute(REPLACE_IN_RECORD.format(old=ANY_COLUMN, new=ANY_MEMBER))
    op.execute(FILL)
    for name, definition in TRIGGERS.items():
        op.execute(f"DROP TRIGGER IF EXISTS {name} ON products")
        op.execute(
            f"CREATE TRIGGER {name} {definition} EXECUTE FUNCTION fill_product_search_text()"
        )


def _create_indexes(indexes: Mapping[str, str]) -> None:
    for name, definition in indexes.items():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # an interrupted one is invalid
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON products {definition}")


def _drop_indexes(names: Iterable[str]) -> None:
    for name in names:
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _if_trigrams(indexes: dict[str, str]) -> dict[str, str]:
    """Return indexes that need pg_trgm, which may be missing; `--sql` expects it."""
    context = op.get_context()
    extension = "SELECT FROM pg_extension WHERE extname = 'pg_trgm'"
    if context.as_sql or op.get_bind().exec_driver_sql(extension).first() is not None:
        return indexes
    return {}
