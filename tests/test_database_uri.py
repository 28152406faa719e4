"""DATABASE_URI of PostgreSQL: what libpq takes has the same meaning here, or is refused."""

import re
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from service.config import ConfigurationError, load_settings
from service.database_uri import checked_uri

SCHEME = "postgresql+psycopg://"
HOSTS = {"host": "a,b", "port": "1,2"}


def arguments(uri: str) -> dict[str, str]:
    """Return what the driver is given for a URI."""
    url = make_url(load_settings({"DATABASE_URI": uri}).DATABASE_URI)
    given = url.get_dialect()().create_connect_args(url)[1]
    return in_one_way({name: str(value) for name, value in given.items()})


def in_one_way(parameters: dict[str, Any]) -> dict[str, Any]:
    """Write one port for each host, and no default."""
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    written = ",".join(ports * len(hosts) if len(ports) == 1 else ports)
    given = parameters | {"port": written if written.strip(",") else ""}
    return {name: value for name, value in given.items() if value}


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/db",
        "u@/db",
        "u:p@a/db",
        "a:5433/db",
        "a:/db",
        ":5433/db",
        "a?dbname=db",
        "u:p%40%2Fss@a/d%20b",
        "a:1,b:2/db",
        "u:p@a:1,b:2/db",
        "a,b/db",
        "a,b:2/db",
        "a:1,b/db",
        "a:1,b:/db",
        "a,/db",
        ",b:2/db",
        "a:1,b:2,c:3",
        "192.0.2.1:1,192.0.2.2/db",
        "[2001:db8::1]/db",
        "[2001:db8::1]:5433/db",
        "[2001:db8::1]:1,[2001:db8::2]:2/db",
        "[fe80::1%25eth0]:1,b/db",
        "%2Frun%2Fpgsql/db",
        "%2Frun%2Fpgsql:5433/db",
        "%2Frun%2Fpgsql,b:2/db",
        "%40abstract/db",
        "/db?host=a",
        "/db?host=/run/pgsql",
        "/db?host=/run/pgsql&port=5433",
        "/db?host=a,b",
        "/db?host=a,b&port=1",
        "/db?host=a,b&port=1,2",
        "/db?host=a,b&port=,2",
        "/db?host=,b&port=1,2",
        "/db?host=2001:db8::1,2001:db8::2",
        "/db?port=5433",
        "a:1/db?host=b",
        "a:1/db?host=b&port=2",
        "a:1,b:2/db?port=3",
        "a:1,b:2/db?host=c,d",
        "/db?hostaddr=192.0.2.1&port=5433",
        "a,b:2/db?hostaddr=192.0.2.1,192.0.2.2",
        "a/db?passfile=/run/pgpass",
        "a/db?options=-c%20lock_timeout%3D3s",
        "a/db?application_name=caf%C3%A9",
        "a/db?user=u&password=p",
        "a:5433/db?user=u@b&password=p",
        "[2001:db8::1]:1,b:2/db?user=u@b",
        "a/db?sslmode=verify-full&sslrootcert=system",
        "a/db?connect_timeout=%32&keepalives=0&tcp_user_timeout=-1",
        "a,b/db?target_session_attrs=read-write&load_balance_hosts=random",
        "a,b/db?target_session_attrs=prefer-standby",
        "a/db?gssencmode=prefer&channel_binding=require&require_auth=!password",
    ],
)
@pytest.mark.parametrize("scheme", [SCHEME, "postgresql://"])
def test_a_uri_has_the_meaning_that_it_has_for_libpq(scheme: str, uri: str) -> None:
    expected = in_one_way(conninfo_to_dict(f"postgresql://{uri}"))

    assert arguments(scheme + uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "/db?host=a:1&host=b:2",
        "/db?host=a:1,b:2",
        "/db?host=a&host=b&port=1,2",
        "c:3/db?host=a:1&host=b:2",
    ],
)
def test_hosts_with_ports_may_be_in_the_query_as_for_sqlalchemy(uri: str) -> None:
    assert arguments(SCHEME + uri) == {"dbname": "db", **HOSTS}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/db?host=[2001:db8::1]:1&host=b", {"host": "2001:db8::1,b", "port": "1,"}),
        ("/db?host=/run&host=b:2", {"host": "/run,b", "port": ",2"}),
        ("u:p/a#?s@a/db", {"host": "a", "user": "u", "password": "p/a#?s"}),
        ("a/db?options=-c+jit%3Doff", {"host": "a", "options": "-c jit=off"}),
        ("a/db?sslmode=", {"host": "a"}),
        (
            "/db?hostaddr=192.0.2.1,192.0.2.2&port=1,2",
            {"hostaddr": "192.0.2.1,192.0.2.2", "host": "192.0.2.1,192.0.2.2", "port": "1,2"},
        ),
    ],
)
def test_a_uri_may_also_be_one_of_sqlalchemy(uri: str, expected: dict[str, str]) -> None:
    assert arguments(SCHEME + uri) == {"dbname": "db", **expected}


HOST = "must have hosts such as"
PORT = "must have ports from 1 to 65535"
COUNT = "must have one port, or as many as hosts"
PAIR = "has a parameter that is not NAME=VALUE"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("a:0/db", PORT),
        ("a:65536/db", PORT),
        ("a:x/db", PORT),
        ("a:-1/db", PORT),
        ("a:\u0663/db", PORT),
        ("a:1,b:x/db", PORT),
        ("a:1:2/db", PORT),
        ("/db?port=x", PORT),
        ("/db?host=a,b&port=1,x", PORT),
        ("/db?host=a,b&port=1,2,3", COUNT),
        ("/db?port=1,2", COUNT),
        ("a:1,b:2/db?host=c", COUNT),
        ("/db?host=a:1&host=b:2&port=3", "must have the ports either beside the hosts or in port"),
        ("[::1/db", HOST),
        ("::1]/db", PORT),
        ("[]/db", HOST),
        ("[a]/db", HOST),
        ("[::1]x/db", HOST),
        ("a b/db", HOST),
        ("a%2Fb/db", HOST),
        ("/db?host=a/b", HOST),
        ("u:p@ss@a/db", "must write @ in a user or a password as %40"),
        ("a,b/db?hostaddr=192.0.2.1", "must have as many hosts as addresses in hostaddr"),
        ("a/db?hostaddr=b", "must have IP addresses as hostaddr"),
        ("a/db?sslmode", PAIR),
        ("a/db?sslmode=require&connect_timeout", PAIR),
        ("a/db%00", "must not have %00"),
        ("a/db?sslmode=require&sslmode=disable", "has the parameter sslmode twice"),
        ("a/db?service=nosuch", "must have a valid value of service"),
        ("a/db?sslmode=full", "must have a valid value of sslmode"),
        ("a/db?sslrootcert=system&sslmode=require", "must have a valid value of sslmode"),
        ("a/db?sslnegotiation=direct", "must have a valid value of sslnegotiation"),
        ("a/db?gssencmode=maybe", "must have a valid value of gssencmode"),
        ("a/db?target_session_attrs=readwrite", "must have a valid value of target_session_attrs"),
        ("a/db?load_balance_hosts=on", "must have a valid value of load_balance_hosts"),
        ("a/db?scram_client_key=x", "must have a valid value of each parameter"),
        ("a/db?connect_timeout=2.5", "must have an integer as connect_timeout"),
        ("a/db?keepalives=yes", "must have an integer as keepalives"),
        ("a/db?prepare_threshold=1", "has a parameter that libpq does not know"),
        (
            "a/db?conect_timeout=1",
            "has a parameter that libpq does not know; did you mean connect_timeout?",
        ),
    ],
)
def test_any_other_uri_is_refused_in_one_line(uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings({"DATABASE_URI": SCHEME + uri})

    line = str(refusal.value)
    assert line.startswith(f"The environment variable DATABASE_URI is invalid: {said}")
    assert "\n" not in line


@pytest.mark.parametrize(
    "uri",
    ["u:hush@a:hush/db", "u:hush@hush@a/db", "u:hush?hush@a b/db", "a/db?hush=1&sslmode=hush"],
)
def test_a_refusal_has_nothing_of_the_uri(uri: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings({"DATABASE_URI": SCHEME + uri})

    assert "hush" not in str(refusal.value)


def test_a_variable_of_libpq_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "readwrite")

    with pytest.raises(ConfigurationError, match="a valid value of PGTARGETSESSIONATTRS"):
        load_settings({"DATABASE_URI": SCHEME})


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGPORT"])
def test_the_check_connects_to_no_server(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "192.0.2.1,192.0.2.2" if name != "PGPORT" else "1,2")

    assert load_settings({"DATABASE_URI": SCHEME}).DATABASE_URI == SCHEME


@pytest.mark.parametrize("uri", ["u:p%2Ba%25@a:1,[::2]:2/d%3Fb?options=-c%20jit%3Doff", "u@%2Fa/b"])
def test_a_checked_uri_stays_as_it_is(uri: str) -> None:
    checked = checked_uri(SCHEME + uri)

    assert checked_uri(checked) == checked
    assert re.match(re.escape(SCHEME), checked)
