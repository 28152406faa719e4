"""Who may write: tokens from the environment, from a file, and none at all."""

import io
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from os import mkfifo
from pathlib import Path
from tempfile import mkdtemp

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from service import create_app
from service.config import ConfigurationError, load_settings, parse_tokens
from service.http.auth import refuse_invalid_file
from tests.factories import product_body
from tests.helpers import logged, wait_for
from tests.server import Server, serving

ROOT = Path(__file__).parent.parent
SHOP, STOCK, LATER = (character * 43 for character in "abc")
PAIRS = f"shop={SHOP},stock={STOCK}"
WRITES = [
    ("POST", "/products"),
    ("PUT", "/products/1"),
    ("PATCH", "/products/1"),
    ("DELETE", "/products/1"),
]
READS = [
    (method, path)
    for method in ("GET", "HEAD", "OPTIONS")
    for path in ("/products", "/products/1", "/health", "/openapi.json")
]

MakeClient = Callable[..., FlaskClient]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def make_client(sqlite_app: Flask) -> MakeClient:
    """Give what makes an app with tokens on a catalogue of one product."""
    assert sqlite_app.test_client().post("/products", json=product_body()).status_code == 201
    uri = sqlite_app.config["DATABASE_URI"]
    return lambda **tokens: create_app({"DATABASE_URI": uri, **tokens}).test_client()


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client(API_TOKENS=PAIRS)


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer(LATER),
        bearer(SHOP[:-1]),
        bearer(f"{SHOP}x"),
        bearer(f"{SHOP},"),
        bearer(f"shop={SHOP}"),
        bearer("é" * 43),
        bearer("shop"),
        {"Authorization": SHOP},
        {"Authorization": f"Basic {SHOP}"},
        {"X-API-Key": SHOP},
    ],
    ids=lambda headers: str(headers)[:45],
)
def test_nobody_writes_without_a_token_that_is_known(
    client: FlaskClient, method: str, path: str, headers: dict[str, str]
) -> None:
    before = client.get("/products").get_data()

    response = client.open(path, method=method, json=product_body(), headers=headers)

    assert (response.status_code, response.mimetype) == (401, "application/problem+json")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="products API"'
    assert response.get_json()["title"] == "Unauthorized"
    assert client.get("/products").get_data() == before


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("token", [SHOP, STOCK])
def test_each_holder_of_a_token_writes(
    client: FlaskClient, method: str, path: str, token: str
) -> None:
    response = client.open(path, method=method, json=product_body(), headers=bearer(token))

    assert response.status_code in (200, 201, 204)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_is_read_without_regard_to_case(client: FlaskClient, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {SHOP}"}

    assert client.delete("/products/1", headers=headers).status_code == 204


def test_a_token_may_end_with_padding(make_client: MakeClient) -> None:
    client = make_client(API_TOKENS=f"shop={SHOP}==")

    assert client.delete("/products/1", headers=bearer(f"{SHOP}==")).status_code == 204


@pytest.mark.parametrize(("method", "path"), READS)
def test_reading_stays_open(client: FlaskClient, method: str, path: str) -> None:
    assert client.open(path, method=method).status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/products/x", "/health"])
def test_a_write_to_where_nothing_is_written_needs_a_token_too(
    client: FlaskClient, path: str
) -> None:
    assert client.post(path).status_code == 401
    assert client.post(path, headers=bearer(SHOP)).status_code in (404, 405)


def test_a_body_is_not_read_before_the_token_is_known(client: FlaskClient) -> None:
    body = io.BytesIO(b"{" * 100)

    response = client.post("/products", input_stream=body, content_length=100)

    assert (response.status_code, body.tell()) == (401, 0)


def test_the_log_names_the_writer(client: FlaskClient) -> None:
    with logged(client.application) as lines:
        client.post("/products", json=product_body(), headers=bearer(STOCK), buffered=True)
        client.post("/products", json=product_body(), headers=bearer(LATER), buffered=True)
        client.get("/products", headers=bearer(STOCK), buffered=True)
        written = [json.loads(line) for line in lines.getvalue().splitlines()]

    assert [line.get("writer") for line in written] == ["stock", None, None]


def test_without_tokens_everybody_writes_and_the_log_says_so(
    make_client: MakeClient, capfd: pytest.CaptureFixture[str]
) -> None:
    client = make_client()

    assert client.delete("/products/1").status_code == 204
    assert capfd.readouterr().err.count("Writes require no token") == 1


def test_the_log_says_who_may_write_but_no_token(
    make_client: MakeClient, capfd: pytest.CaptureFixture[str]
) -> None:
    client = make_client(API_TOKENS=PAIRS, LOG_LEVEL="DEBUG")
    client.post("/products", json=product_body(), headers=bearer(SHOP))
    client.post("/products", json=product_body(), headers=bearer(LATER))

    written = capfd.readouterr().err
    assert "Writes require a token; tokens: shop, stock" in written
    assert not [token for token in (SHOP, STOCK, LATER) if token in written]
    assert SHOP not in repr(client.application.config)


def test_a_command_prints_a_new_token_and_reads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKENS_FILE", "/no/such/file")
    flask = [sys.executable, "-m", "flask", "token-create", "shop"]

    printed = [subprocess.run(flask, cwd=ROOT, capture_output=True, check=True) for _ in "12"]

    assert [run.stderr for run in printed] == [b"", b""]
    tokens = [parse_tokens(run.stdout.decode()) for run in printed]
    assert [token.keys() for token in tokens] == [{"shop"}, {"shop"}]
    assert tokens[0] != tokens[1]
    assert min(len(token["shop"]) for token in tokens) >= 43


@pytest.mark.parametrize("name", ["", "the shop", "a=b", "a,b", "x" * 65, "caf\u00e9"])
def test_no_token_is_made_for_a_name_that_would_be_refused(sqlite_app: Flask, name: str) -> None:
    made = sqlite_app.test_cli_runner().invoke(args=["token-create", name])

    assert made.exit_code == 2
    assert "must be 1 to 64 characters of" in made.output


@pytest.mark.parametrize(
    "pairs",
    [
        SHOP,
        f"={SHOP}",
        "shop=",
        "shop",
        f"shop={SHOP[1:]}",
        f"shop={SHOP[1:]}=",
        f"shop:{SHOP}",
        f"the shop={SHOP}",
        f"sh\u00f6p={SHOP}",
        f"{'x' * 65}={SHOP}",
        f"shop={SHOP}\u00e9",
        f"shop={SHOP}=x",
        f"shop={SHOP},shop={STOCK}",
        f"shop={SHOP},stock={SHOP}",
        f"shop={SHOP};stock={STOCK}",
        f"shop={SHOP},# stock={STOCK[1:]}",
        f"shop={SHOP[:20]}#{SHOP}",
    ],
)
def test_unsound_tokens_are_refused_and_not_told(pairs: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(pairs)

    with pytest.raises(ConfigurationError, match="API_TOKENS is invalid") as refusal:
        load_settings({"API_TOKENS": pairs})
    with pytest.raises(ConfigurationError, match="API_TOKENS_FILE is invalid") as refusal_of_file:
        refuse_invalid_file(str(file))

    refusals = (refusal.value, refusal_of_file.value)
    told = "".join(line for error in refusals for line in traceback.format_exception(error))
    assert not [part for part in (SHOP[1:], STOCK[1:]) if part in told]


@pytest.mark.parametrize("name", ["API_TOKENS", "API_TOKENS_FILE"])
@pytest.mark.parametrize("blank", [" ", "\n"])
def test_blank_tokens_are_refused(name: str, blank: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is invalid: must not be white space"):
        load_settings({name: blank})


def test_tokens_that_are_set_are_some() -> None:
    with pytest.raises(ConfigurationError, match="must have at least one NAME=TOKEN pair"):
        load_settings({"API_TOKENS": ","})


def test_tokens_come_from_one_place_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        create_app({"API_TOKENS": PAIRS, "API_TOKENS_FILE": tmp_path / "tokens"})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Mount a secret as Kubernetes does: a link to a directory that is exchanged at once."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "tokens").symlink_to("..data/tokens")
    exchange(mounted / "tokens", f"shop={SHOP}\nstock={STOCK}\n")
    return mounted / "tokens"


def exchange(secret: Path, tokens: str | None) -> None:
    """Put another version of the secret into its place."""
    version = Path(mkdtemp(dir=secret.parent))
    if tokens is not None:
        (version / "tokens").write_text(tokens)
    (secret.parent / "..new").symlink_to(version.name)
    (secret.parent / "..new").rename(secret.parent / "..data")


def events(lines: io.StringIO) -> list[dict[str, str]]:
    """Return what the log says, without the lines of requests."""
    return [line for line in map(json.loads, lines.getvalue().splitlines()) if "message" in line]


def answers(client: FlaskClient, *tokens: str) -> list[int]:
    return [client.patch("/products/1", json={}, headers=bearer(t)).status_code for t in tokens]


def test_a_token_is_rotated_without_a_restart(make_client: MakeClient, secret: Path) -> None:
    client = make_client(API_TOKENS_FILE=secret)
    assert answers(client, SHOP, STOCK, LATER) == [200, 200, 401]

    with logged(client.application) as lines:
        exchange(secret, f"stock={STOCK}\nshop={LATER}\n")
        seen = answers(client, SHOP, STOCK, LATER)
        written = lines.getvalue()

    assert seen == [401, 200, 200]
    assert written.count("Writes require a token; tokens: stock, shop") == 1
    assert not [token for token in (SHOP, STOCK, LATER) if token in written]


def test_a_file_that_is_rewritten_in_place_is_read_again(
    make_client: MakeClient, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"shop={SHOP}\n")
    client = make_client(API_TOKENS_FILE=file)

    file.write_text(f"shop={LATER}\n")

    assert answers(client, SHOP, LATER) == [401, 200]


def test_comments_and_blank_lines_are_no_tokens(make_client: MakeClient, secret: Path) -> None:
    exchange(secret, f"# The shop's\r\n\n  # old={LATER}\nshop={SHOP} # Ann's\n\nstock={STOCK}")

    assert answers(make_client(API_TOKENS_FILE=secret), SHOP, STOCK, LATER) == [200, 200, 401]


@pytest.mark.parametrize("tokens", ["", "\n", f"# shop={SHOP}\n\n#stock={STOCK}"])
def test_nobody_writes_with_a_file_without_tokens(
    make_client: MakeClient, secret: Path, tokens: str
) -> None:
    client = make_client(API_TOKENS_FILE=secret)

    with logged(client.application) as lines:
        exchange(secret, tokens)
        seen = answers(client, SHOP, STOCK, "")
        written = events(lines)

    assert seen == [401] * 3
    assert [event["level"] for event in written] == ["WARNING"]
    assert written[0]["message"].endswith("has no token: nobody can write")
    assert client.get("/products/1").status_code == 200
    assert client.get("/readyz").get_json() == {"status": "OK"}


UNSOUND = {
    "nothing": lambda file: None,
    "a directory": lambda file: file.mkdir(),
    "a pipe": mkfifo,
    "bytes": lambda file: file.write_bytes(b"shop=\xff"),
    "a line without a token": lambda file: file.write_text(f"shop={LATER}\nstock"),
    "half a token": lambda file: file.write_text(f"shop={LATER}\nstock={STOCK[1:]}"),
    "a name twice": lambda file: file.write_text(f"shop={LATER}\nshop={STOCK}"),
}


@pytest.mark.parametrize("put", UNSOUND.values(), ids=UNSOUND)
def test_writes_are_an_outage_and_reads_are_not_while_the_file_is_unsound(
    make_client: MakeClient, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"shop={SHOP}\nstock={STOCK}")
    client = make_client(API_TOKENS_FILE=file)

    with logged(client.application) as lines:
        file.unlink()
        put(file)
        ready = client.get("/readyz")
        at_once = events(lines)
        seen = answers(client, SHOP, STOCK, LATER, "")
        written = events(lines)

    assert seen == [503] * 4
    assert (ready.status_code, ready.get_json()["status"]) == (200, "OK")
    assert ready.get_json()["detail"].startswith("Writes are 503: The file of API_TOKENS_FILE ")
    assert [event["level"] for event in at_once] == ["ERROR"]
    assert at_once == written
    assert LATER not in f"{written}{ready.text}"
    assert int(client.delete("/products/1").headers["Retry-After"]) > 0
    assert client.get("/products/1").status_code == 200
    if file.is_dir():
        file.rmdir()
    file.unlink(missing_ok=True)
    file.write_text(f"stock={LATER}")
    assert answers(client, SHOP, STOCK, LATER) == [401, 401, 200]
    assert client.get("/readyz").get_json() == {"status": "OK"}


def test_a_service_starts_without_its_file_of_tokens(
    make_client: MakeClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = make_client(API_TOKENS_FILE=tmp_path / "tokens")

    (event,) = map(json.loads, capfd.readouterr().err.splitlines()[-1:])
    assert (event["level"], "cannot be read (No such file" in event["message"]) == ("ERROR", True)
    assert client.get("/products/1").status_code == 200
    assert answers(client, SHOP) == [503]
    (tmp_path / "tokens").write_text(f"shop={SHOP}")
    assert answers(client, SHOP) == [200]


@pytest.mark.parametrize(
    ("tokens", "required"),
    [({}, [{}, {"token": []}]), ({"API_TOKENS": PAIRS}, [{"token": []}])],
)
def test_the_document_says_where_a_token_is_needed(
    make_client: MakeClient, tokens: dict[str, str], required: list[dict[str, list[str]]]
) -> None:
    document = make_client(**tokens).get("/openapi.json").get_json()

    validate(document)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    secured = {
        (method.upper(), path): operation["security"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "security" in operation
    }
    documented = [*WRITES, ("POST", "/products/import"), ("GET", "/products/history")]
    assert secured == {(method, path.replace("1", "{id}")): required for method, path in documented}
    for method, path in secured:
        assert "401" in document["paths"][path][method.lower()]["responses"]


@pytest.fixture
def guarded(client: FlaskClient, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """Serve one product in two workers, with a file of tokens."""
    file = tmp_path / "tokens"
    file.write_text(f"shop={SHOP}")
    uri = client.application.config["DATABASE_URI"]
    with serving(uri, tmp_path / "log", WEB_CONCURRENCY="2", API_TOKENS_FILE=str(file)) as server:
        wait_for(lambda: len(server.workers()) == 2)
        yield server, file


def seen_by_workers(server: Server, token: str) -> set[int]:
    """Change the product many times, so that each worker does it; return the statuses."""
    return {server.ask("PATCH", "/products/1", {}, bearer(token))[0].status for _ in range(20)}


def test_workers_agree_on_the_tokens_and_a_new_one_serves_without(
    guarded: tuple[Server, Path],
) -> None:
    server, file = guarded
    assert seen_by_workers(server, SHOP) == {200}

    file.write_text(f"shop={LATER}")
    assert [seen_by_workers(server, token) for token in (SHOP, LATER)] == [{401}, {200}]
    file.unlink()
    assert seen_by_workers(server, LATER) == {503}
    before = server.workers()
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: len(set(server.workers()) - set(before)) == 2)
    assert server.ask("GET", "/products/1")[0].status == 200
    assert server.ask("GET", "/readyz")[1]["detail"].startswith("Writes are 503")
    file.write_text(f"shop={SHOP}")
    assert [seen_by_workers(server, token) for token in (SHOP, LATER)] == [{200}, {401}]


def test_half_a_token_is_refused_at_the_start_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"shop={SHOP}\nstock={STOCK[:16]}")

    ended = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "wsgi:app"],
        cwd=ROOT, env=os.environ | {"API_TOKENS_FILE": str(file)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    *_, line = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert line.startswith("Error: The file of API_TOKENS_FILE is invalid (pair 2 must be")
    assert STOCK[:16] not in ended.stderr
