"""Record every change of a product, by triggers, in the transaction that makes it.

Whatever makes the change: the service, its previous version during a rollout, COPY, psql.
CREATE TRIGGER waits for the writers of the table, and holds up others for a moment.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = ("id", "name", "img_url", "description", "price", "rating", "category", "status")

# The transition tables are those of a statement, so that a bulk change is one INSERT. An id that
# changes is in one of them only. SECURITY DEFINER, because a writer of products may lack privileges
# on the record; its search_path keeps a temporary table from taking the place of the record.
FUNCTION = """\
CREATE OR REPLACE FUNCTION record_product_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $record$
DECLARE
    writer CONSTANT text = nullif(current_setting('service.writer', true), '');
    request_id CONSTANT text = nullif(current_setting('service.request_id', true), '');
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO product_changes (txid, product_id, op, at, writer, request_id)
        SELECT pg_current_xact_id(), id, 'create', clock_timestamp(), writer, request_id
        FROM inserted;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO product_changes (txid, product_id, op, at, writer, request_id, before)
        SELECT
            pg_current_xact_id(),
            coalesce(deleted.id, inserted.id),
            CASE WHEN inserted.id IS NULL THEN 'delete' WHEN deleted.id IS NULL THEN 'create'
                ELSE 'update' END,
            clock_timestamp(),
            writer,
            request_id,
            CASE WHEN deleted.id IS NOT NULL THEN {before} END
        FROM deleted FULL JOIN inserted ON deleted.id = inserted.id
        WHERE deleted IS DISTINCT FROM inserted;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO product_changes (txid, product_id, op, at, writer, request_id, before)
        SELECT pg_current_xact_id(), id, 'delete', clock_timestamp(), writer, request_id, {before}
        FROM deleted;
    ELSE
        INSERT INTO product_changes (txid, product_id, op, at, writer, request_id, before)
        SELECT pg_current_xact_id(), id, 'delete', clock_timestamp(), writer, request_id, {before}
        FROM products AS deleted;
    END IF;
    RETURN NULL;
END
$record$"""
PIN_SEARCH_PATH = """\
DO $do$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION record_product_changes() SET search_path = %I, pg_temp', current_schema()
    );
END
$do$"""
POSTGRESQL_TRIGGERS = {
    "insert": "AFTER INSERT ON products REFERENCING NEW TABLE AS inserted",
    "update": "AFTER UPDATE ON products REFERENCING OLD TABLE AS deleted NEW TABLE AS inserted",
    "delete": "AFTER DELETE ON products REFERENCING OLD TABLE AS deleted",
    "truncate": "BEFORE TRUNCATE ON products",
}

# An update that changes the id is a deletion and a creation.
SQLITE_TRIGGERS = {
    "insert": """\
AFTER INSERT ON products
BEGIN
    INSERT INTO product_changes (product_id, op, at) VALUES (NEW.id, 'create', {now});
END""",
    "update": """\
AFTER UPDATE ON products
WHEN ({old}) IS NOT ({new})
BEGIN
    INSERT INTO product_changes (product_id, op, at, before)
    VALUES (OLD.id, CASE WHEN OLD.id = NEW.id THEN 'update' ELSE 'delete' END, {now}, {before});
    INSERT INTO product_changes (product_id, op, at)
    SELECT NEW.id, 'create', {now} WHERE OLD.id <> NEW.id;
END""",
    "delete": """\
AFTER DELETE ON products
BEGIN
    INSERT INTO product_changes (product_id, op, at, before)
    VALUES (OLD.id, 'delete', {now}, {before});
END""",
}
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


class XID8(sa.types.UserDefinedType[int]):
    """A transaction id of PostgreSQL, with its epoch."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Return the name of the type."""
        return "xid8"


def upgrade() -> None:
    """Create the record of changes and its triggers."""
    txid = XID8().with_variant(sa.Integer(), "sqlite")
    time = sa.String(24).with_variant(
        postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql"
    )
    op.create_table(
        "product_changes",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("txid", txid),
        sa.Column("product_id", sa.Integer(), nullable=False),
        sa.Column("op", sa.String(6), nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("writer", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("before", sa.Text()),
        sa.PrimaryKeyConstraint("seq", name="pk_product_changes"),
        sa.CheckConstraint(
            "op IN ('create', 'update', 'delete')", name=op.f("ck_product_changes_op")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_product_changes_product_id", "product_changes", ["product_id", "seq"])
    op.create_index("ix_product_changes_op", "product_changes", ["op", "seq"])
    is_given = sa.text("request_id IS NOT NULL")
    op.create_index(
        "ix_product_changes_request_id",
        "product_changes",
        ["request_id", "seq"],
        postgresql_where=is_given,
        sqlite_where=is_given,
    )
    if _is_postgresql():
        op.create_index("ix_product_changes_txid", "product_changes", ["txid"])
    op.create_table(
        "product_change_log",
        sa.Column("identity", sa.String(32), nullable=False),
        sa.Column("complete_since", time, nullable=False),
        sa.Column("pruned", txid),
        sa.PrimaryKeyConstraint("identity", name="pk_product_change_log"),
    )
    create_triggers()


def create_triggers() -> None:
    """Create the triggers, or create them again; the record is another one from then on.

    It may lack what was changed without triggers, so no reader may go on from what it has.
    """
    if _is_postgresql():
        _create_postgresql_triggers()
    else:
        _create_sqlite_triggers()
    identity, now = "replace(gen_random_uuid()::text, '-', '')", "clock_timestamp()"
    if not _is_postgresql():
        identity, now = "lower(hex(randomblob(16)))", NOW
    op.execute("DELETE FROM product_change_log")
    op.execute(
        f"INSERT INTO product_change_log (identity, complete_since) VALUES ({identity}, {now})"  # noqa: S608
    )


def _create_postgresql_triggers() -> None:
    columns = _columns_of("deleted")
    before = f"(SELECT row_to_json(product)::text FROM (SELECT {columns}) AS product)"  # noqa: S608
    op.execute(FUNCTION.format(before=before))
    op.execute(PIN_SEARCH_PATH)
    for name, definition in POSTGRESQL_TRIGGERS.items():
        op.execute(f"DROP TRIGGER IF EXISTS record_product_{name} ON products")
        op.execute(
            f"CREATE TRIGGER record_product_{name} {definition}"
            " FOR EACH STATEMENT EXECUTE FUNCTION record_product_changes()"
        )


def _create_sqlite_triggers() -> None:
    members = [f"'{name}', OLD.{name}" for name in COLUMNS]
    members[COLUMNS.index("price")] = "'price', json(printf('%.2f', OLD.price))"
    before = f"json_object({', '.join(members)})"
    rows = {"old": _columns_of("OLD"), "new": _columns_of("NEW"), "before": before, "now": NOW}
    for name, definition in SQLITE_TRIGGERS.items():
        op.execute(f"DROP TRIGGER IF EXISTS record_product_{name}")
        op.execute(f"CREATE TRIGGER record_product_{name} {definition.format(**rows)}")


def _columns_of(row: str) -> str:
    return ", ".join(f"{row}.{name}" for name in COLUMNS)


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def downgrade() -> None:
    """Drop the record and its triggers."""
    if _is_postgresql():
        for name in POSTGRESQL_TRIGGERS:
            op.execute(f"DROP TRIGGER record_product_{name} ON products")
        op.execute("DROP FUNCTION record_product_changes()")
    else:
        for name in SQLITE_TRIGGERS:
            op.execute(f"DROP TRIGGER record_product_{name}")
    op.drop_table("product_changes")
    op.drop_table("product_change_log")
