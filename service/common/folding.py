"""Searching without regard to case on PostgreSQL: what it needs there, as one statement.

Frozen: revision 0001 runs it as well. What has to change gets a name of its own, and a revision
that runs it.
"""

# The server picks the best case folding that it has, so that the statement can be written
# to a file without asking it. Searches work without pg_trgm, only more slowly.
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
