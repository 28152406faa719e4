"""Points in time in SQL: timestamps on PostgreSQL, RFC 3339 in UTC on SQLite."""

from sqlalchemy import BindParameter, ColumnElement, Text

from service.database.dialects import Differing

now = Differing("now()", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')")


def earlier(time: ColumnElement[str], days: BindParameter[int]) -> Differing:
    """Return the time that is ``days`` times 24 hours before ``time``."""
    return Differing(
        "({0} - {1} * interval '24 hours')",
        "strftime('%Y-%m-%dT%H:%M:%fZ', {0}, '-' || {1} || ' days')",
        time,
        days,
    )


def rfc3339(time: ColumnElement[str]) -> Differing:
    """Return a time as text, in UTC and with milliseconds."""
    template = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
    return Differing(template, "{0}", time, type_=Text())


def parsed(time: BindParameter[str]) -> Differing:
    """Return the time of a text that ``rfc3339`` made."""
    return Differing("CAST({0} AS timestamptz)", "{0}", time)
