"""DATABASE_URI: all forms that libpq takes, as a URI that SQLAlchemy reads in the same way.

SQLAlchemy takes several hosts in the query only, and misreads ``@a,b:2/name``. The texts of
errors have no value of the URI, which may be a secret.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

from psycopg import pq
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

DRIVERS = {"pysqlite", "psycopg"}
FORMS = (
    "must be sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME;"
    " several hosts are postgresql+psycopg://USER:PASSWORD@A:PORT,B:PORT/NAME"
)
# The scheme with the user and the password; the hosts with their ports; the rest. As SQLAlchemy
# has it, a password may have any character but @, unless it looks like a port, a name and a query.
PARTS = re.compile(
    r"(postgresql(?:\+psycopg)?://(?:[^:/]*(?::(?![^/@]*/[^?@]*\?[^@]*=)[^@]*)?@)?)([^/?]*)(.*)",
    re.DOTALL,
)
HOST = re.compile(r"(?:\[(?P<address>[^\[\]]+)]|(?P<name>[^\[\]:]*))(?::(?P<port>.*))?", re.DOTALL)
NOT_IN_A_NAME = re.compile(r"[\s@:/\[\]]")
SOCKET = ("/", "@")
MAX_PORT = 65535
# Parameters of libpq that must be integers; libpq checks them only when it connects.
INTEGERS = {
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
}
# With this host libpq checks the other parameters, and then finds no socket to connect to.
NOWHERE = {"host": "/nonexistent", "hostaddr": "", "port": "5432"}
NO_SOCKET = ("connection to server on socket", "not supported over a local socket")


def checked_uri(uri: str) -> str:
    """Return the URI in a form that SQLAlchemy reads as libpq does; raise ``ValueError``."""
    if uri.startswith("postgres://"):
        raise ValueError("must begin with postgresql+psycopg://, not with postgres://")
    if "%00" in uri:
        raise ValueError("must not have %00")
    parts = PARTS.fullmatch(uri)
    url = _parse(parts[1] + parts[3] if parts else uri)
    if any(part != part.strip() for part in (url.username, url.host, url.database) if part):
        raise ValueError("must not have white space at the ends of a user, a host or a name")
    if not parts:
        if url.database in (None, "", ":memory:"):
            raise ValueError("must name a file: in memory, each connection has a separate database")
        return uri
    _refuse_query(parts[3].partition("?")[2], url)
    url = _with_hosts(url, parts[2])
    _refuse_values(url)
    return url.render_as_string(hide_password=False)


def _parse(uri: str) -> URL:
    try:
        url = make_url(uri)
        driver = url.get_dialect().driver
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        driver = None
    if driver not in DRIVERS:
        raise ValueError(FORMS)
    return url


def _refuse_query(query: str, url: URL) -> None:
    """Raise ``ValueError`` for a parameter that is unknown, without a value or given twice."""
    known = _parameters()
    for name, value in url.query.items():
        if name not in known:
            similar = get_close_matches(name, known, n=1, cutoff=0.8)
            meant = f"; did you mean {similar[0]}?" if similar else ""
            raise ValueError(f"has a parameter that libpq does not know{meant}")
        if name != "host" and not isinstance(value, str):
            raise ValueError(f"has the parameter {name} twice")
    if any(part and "=" not in part for part in query.split("&")):
        raise ValueError("has a parameter that is not NAME=VALUE")


def _parameters() -> dict[str, str]:
    """Return the parameters of libpq, each with its environment variable or an empty string."""
    options = pq.Conninfo.get_defaults()
    return {each.keyword.decode(): (each.envvar or b"").decode() for each in options}


def _with_hosts(url: URL, authority: str) -> URL:
    """Return the URL with these hosts and ports; those in its query replace them, as in libpq."""
    if "@" in authority:
        raise ValueError("must write @ in a user or a password as %40")
    query: dict[str, Any] = dict(url.query)
    hosts, ports = _hosts_and_ports(authority.split(",")) if authority else ([], [])
    if given := query.pop("host", None):
        hosts, own = _hosts_and_ports(given.split(",") if isinstance(given, str) else given)
        if any(own) and "port" in query:
            raise ValueError("must have the ports either beside the hosts or in port")
        ports = own if any(own) else ports
    if given := query.pop("port", None):
        ports = given.split(",")
    addresses = _addresses(query.get("hostaddr", ""))
    if len(ports) > 1:
        hosts = hosts or addresses  # SQLAlchemy compares the ports with the hosts only
    if hosts and len(addresses) not in {0, len(hosts)}:
        raise ValueError("must have as many hosts as addresses in hostaddr")
    return _set_hosts(url.set(query=query), hosts, _ports(ports, len(hosts) or 1))


def _hosts_and_ports(parts: Sequence[str]) -> tuple[list[str], list[str]]:
    pairs = [_host_and_port(part) for part in parts]
    return [host for host, _ in pairs], [port for _, port in pairs]


def _host_and_port(part: str) -> tuple[str, str]:
    if part.startswith(SOCKET) or _is_address(part):
        return part, ""
    found = HOST.fullmatch(part)
    host = unquote(found["address"] or found["name"]) if found else ""
    is_name = found and not found["address"] and not NOT_IN_A_NAME.search(host)
    if not found or not (is_name or host.startswith(SOCKET) or _is_address(host)):
        raise ValueError(
            "must have hosts such as db.example.com, 192.0.2.1, [2001:db8::1] or %2Frun%2Fpgsql"
        )
    return host, found["port"] or ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(hostaddr: str) -> list[str]:
    addresses = hostaddr.split(",") if hostaddr else []
    if not all(_is_address(each) for each in addresses if each):
        raise ValueError("must have IP addresses as hostaddr")
    return addresses


def _ports(ports: list[str], hosts: int) -> list[str]:
    """Return a port for each host, an empty one for the default; an empty list if all are."""
    for port in filter(None, ports):
        if not (port.isascii() and port.isdecimal() and 0 < int(port) <= MAX_PORT):
            raise ValueError(f"must have ports from 1 to {MAX_PORT}")
    if not any(ports):
        return []
    if len(ports) not in {1, hosts}:
        raise ValueError("must have one port, or as many as hosts")
    return ports if len(ports) == hosts else ports * hosts


def _set_hosts(url: URL, hosts: list[str], ports: list[str]) -> URL:
    if len(hosts) == 1 and not hosts[0].startswith(SOCKET):
        return url.set(host=hosts[0] or None, port=int(ports[0]) if ports else None)
    found = {"host": ",".join(hosts), "port": ",".join(ports)}
    return url.update_query_dict({name: value for name, value in found.items() if value})


def _refuse_values(url: URL) -> None:
    """Raise ``ValueError`` if libpq refuses the value of a parameter; connects to nothing."""
    _, arguments = url.get_dialect()().create_connect_args(url)
    for name in sorted(arguments.keys() & INTEGERS):
        if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", arguments[name]):
            raise ValueError(f"must have an integer as {name}")
    started = pq.PGconn.connect_start(make_conninfo(**{**arguments, **NOWHERE}).encode())
    refusal = started.error_message.decode(errors="replace")
    started.finish()
    if not any(text in refusal for text in NO_SOCKET):
        raise ValueError(f"must have a valid value of {_refused(refusal, arguments)}")


def _refused(refusal: str, arguments: Mapping[str, Any]) -> str:
    """Return the parameter or the environment variable that a refusal of libpq names."""
    known = _parameters()
    words = [word for word in re.findall(r"\w+", refusal) if word in known]
    given = [word for word in words if word in arguments]
    return next(iter(given or filter(None, map(known.get, words))), "each parameter")
