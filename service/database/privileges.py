"""Which privileges the role of the service needs on PostgreSQL, and which of them it lacks."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, text

# A table that does not exist has no OID, and then nothing is lacking. An identity column needs no
# privilege on its sequence; one that a default uses (deptype a) does.
LACKING = text("""
    WITH needed AS (
        SELECT name, privilege, to_regclass(name) AS oid
        FROM unnest(CAST(:tables AS text[]), CAST(:privileges AS text[])) AS _ (name, privilege)
    )
    SELECT privilege || ' ON ' || name FROM needed WHERE NOT has_table_privilege(oid, privilege)
    UNION ALL
    SELECT 'USAGE ON ' || relname
    FROM needed JOIN pg_depend ON refobjid = needed.oid AND privilege = 'INSERT' AND deptype = 'a'
    JOIN pg_class ON pg_class.oid = objid
    WHERE CASE relkind WHEN 'S' THEN NOT has_sequence_privilege(pg_class.oid, 'USAGE') END
    UNION ALL
    SELECT 'TEMPORARY ON DATABASE'
    WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
""")


def privilege_error(
    connection: Connection, needed: Mapping[str, Sequence[str]], version_table: str
) -> str | None:
    """Return which privileges the role lacks and what to do, or None; ``needed`` is by table."""
    if connection.dialect.name == "sqlite":
        return None
    pairs = [(table, each) for table, privileges in needed.items() for each in privileges]
    tables, privileges = zip(*pairs, (version_table, "SELECT"), strict=True)
    parameters = {"tables": list(tables), "privileges": list(privileges)}
    lacking = connection.execute(LACKING, parameters).scalars().all()
    if not lacking:
        return None
    return f"The role of the service lacks {', '.join(lacking)}: grant it as the owner"
