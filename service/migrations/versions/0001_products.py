"""The table of products."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WHITE_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)

# The block chooses the case folding on the server, so that `--sql` needs no connection.
# pg_trgm is optional: searches are slower without it.
PREPARE_SEARCHES = """\
DO $do$
DECLARE
    version integer = current_setting('server_version_num');
    folded text;
BEGIN
    IF version >= 180000 THEN
        folded = 'casefold($1 COLLATE "pg_unicode_fast")';
    ELSIF version >= 170000 THEN
        folded = 'lower(upper($1 COLLATE "pg_c_utf8"))';
    ELSIF EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') THEN
        folded = 'translate(lower(upper($1 COLLATE "und-x-icu")), ''\u03c2'', ''\u03c3'')';
    ELSE
        folded = 'lower(upper($1))';
    END IF;
    EXECUTE 'CREATE OR REPLACE FUNCTION fold(text) RETURNS text LANGUAGE sql'
        ' IMMUTABLE PARALLEL SAFE AS ' || quote_literal(' SELECT ' || folded || ' ');
    BEGIN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING USING
            MESSAGE = 'Searches will be slow: PostgreSQL has no pg_trgm (' || SQLERRM || ')';
    END;
END
$do$"""

# The only index that needs pg_trgm, which may be missing.
CREATE_SEARCH_INDEX = """\
DO $do$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN
        CREATE INDEX ix_products_search ON products USING gin (
            fold(name || ' ' || coalesce(description, '') || ' ' || coalesce(category, ''))
            gin_trgm_ops
        );
    END IF;
END
$do$"""


def upgrade() -> None:
    """Create the schema of version 0.1.0."""
    postgresql = op.get_context().dialect.name == "postgresql"
    if postgresql:
        op.execute(PREPARE_SEARCHES)
    op.create_table(
        "products",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", _sorted_by_code_point(255), nullable=False),
        sa.Column("img_url", sa.String(2048), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("price", sa.Numeric(12, 2).with_variant(sa.REAL(), "sqlite"), nullable=False),
        sa.Column("rating", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("category", _sorted_by_code_point(255)),
        sa.Column(
            "status",
            sa.Enum("active", "disabled", "inactive", name="status", create_constraint=True),
            server_default="active",
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_products"),
        _check("id_range", "id BETWEEN 1 AND 2147483647"),
        _check("name_length", "length(name) <= 255"),
        _check("name_not_blank", f"trim(name, {_white_space()}) <> ''"),
        _check("img_url_length", "length(img_url) <= 2048"),
        _check("img_url_not_blank", f"trim(img_url, {_white_space()}) <> ''"),
        _check("description_length", "length(description) <= 10000"),
        _check("price_range", "price BETWEEN 0 AND 9999999999.99"),
        _check("price_decimals", "price = round(price, 2)"),
        _check("rating_range", "rating BETWEEN 0 AND 2147483647"),
        _check("category_length", "length(category) <= 255"),
        sqlite_autoincrement=True,
    )
    for column in ("name", "price", "rating", "category", "status"):
        op.create_index(f"ix_products_{column}", "products", [column, "id"])
        op.create_index(f"ix_products_{column}_desc", "products", [sa.text(f"{column} DESC"), "id"])
    if postgresql:
        folded = sa.text("fold(category)")
        index = "ix_products_category_folded"
        op.create_index(index, "products", [folded, "id"])
        op.create_index(f"{index}_price", "products", [folded, "price", "id"])
        op.create_index(f"{index}_price_desc", "products", [folded, sa.text("price DESC"), "id"])
        op.execute(CREATE_SEARCH_INDEX)


def _sorted_by_code_point(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _white_space() -> str:
    """Return a SQL literal without a tab character, which `--sql` expands to four spaces."""
    if op.get_context().dialect.name == "postgresql":
        return "E'" + "".join(f"\\u{ord(space):04x}" for space in WHITE_SPACE) + "'"
    if op.get_context().as_sql:
        return f"char({ord(WHITE_SPACE[0])}) || '{WHITE_SPACE[1:]}'"
    return f"'{WHITE_SPACE}'"


def _check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_products_{name}"))


def downgrade() -> None:
    """Drop everything but pg_trgm, which other applications may use."""
    op.drop_table("products")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP TYPE status")
        op.execute("DROP FUNCTION fold(text)")
