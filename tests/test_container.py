"""The image and the development container: linted, and run by hand as Docker would."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from service.config import load_settings
from tests.helpers import wait_for

ROOT = Path(__file__).parent.parent
SECONDS = 30
SCRIPTS = Path(sys.executable).parent
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
STAGES = DOCKERFILE.split("FROM ")[1:]
BUILD, FINAL = STAGES


def instructions(stage: str, name: str) -> list[str]:
    """Return what stands behind each instruction of that name."""
    return re.findall(rf"^{name} (.+)$", stage, re.MULTILINE)


def copied() -> list[str]:
    """Return what the image takes from the checkout."""
    return [source for line in instructions(BUILD, "COPY") for source in line.split()[:-1]]


@pytest.mark.parametrize("file", ["Dockerfile", ".devcontainer/Dockerfile"])
def test_hadolint_finds_nothing(file: str) -> None:
    linted = subprocess.run(
        [SCRIPTS / "hadolint", file], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (linted.returncode, linted.stdout) == (0, "")


def test_nothing_but_what_is_copied_goes_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == set(copied())
    assert instructions(FINAL, "COPY") == [
        "--from=build /opt/venv /opt/venv",
        "--from=build /app ./",
    ]


def test_packages_are_taken_by_their_hashes_and_never_built() -> None:
    (install,) = [run for run in instructions(BUILD, "RUN") if "pip" in run]

    for option in ("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir"):
        assert f" {option} " in install


def test_images_are_pinned_by_their_digests() -> None:
    kubernetes, container = (ROOT / "k8s").glob("*.yaml"), (ROOT / ".devcontainer").iterdir()
    text = "".join(path.read_text() for path in (ROOT / "Dockerfile", *kubernetes, *container))
    images = re.findall(r"^(?:FROM| *image:) (\S+)", text, re.MULTILINE)
    foreign = {image for image in images if image != "cluster-registry:32000/prod:1.0"}

    assert {image.partition(":")[0] for image in foreign} == {"python", "postgres"}
    assert len(foreign) == 2
    assert all(re.search("@sha256:[0-9a-f]{64}$", image) for image in foreign)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Lay out /app as the Dockerfile does."""
    for name in set(copied()) - {"requirements.txt"}:
        place = tmp_path / "app" / name
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, place)
    assert "/app/instance" in FINAL
    (tmp_path / "app" / "instance").mkdir()
    return tmp_path / "app"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give the variables of the image, on a free port and with the packages of the tests."""
    (line,) = instructions(FINAL, "ENV")
    given = dict(pair.split("=", 1) for pair in line.split())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    return {**given, "PATH": f"{SCRIPTS}:/usr/bin:/bin", "PORT": port, "HOME": str(tmp_path)}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def process(
    root: Path, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the image's command."""
    (command,) = instructions(FINAL, "CMD")
    with (
        log.open("wb") as errors,
        subprocess.Popen(json.loads(command), cwd=root, env=environment, stderr=errors) as running,
    ):
        yield running
        running.kill()


def is_healthy(environment: dict[str, str]) -> bool:
    """Run the image's health check."""
    (line,) = instructions(FINAL, "HEALTHCHECK")
    check = line.partition(" CMD ")[2]
    checked = subprocess.run(
        json.loads(check), env=environment, check=False, capture_output=True, timeout=SECONDS
    )
    return checked.returncode == 0


def wait_until_healthy(environment: dict[str, str], process: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: is_healthy(environment) or process.poll() is not None)
    assert process.poll() is None


def files(root: Path) -> dict[Path, float]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_the_image_serves_writes_nothing_and_ends_at_sigterm(
    root: Path, environment: dict[str, str], process: subprocess.Popen[bytes]
) -> None:
    before = files(root)
    assert not is_healthy({**environment, "PORT": "1"})

    wait_until_healthy(environment, process)
    process.send_signal(signal.SIGTERM)

    assert process.wait(SECONDS) == 0
    assert files(root) == before


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_clients_of_ipv4_and_of_ipv6_are_served_and_logged_by_their_address(
    environment: dict[str, str], process: subprocess.Popen[bytes], log: Path, address: str
) -> None:
    wait_until_healthy(environment, process)
    try:
        connection = socket.create_connection((address, int(environment["PORT"])), SECONDS)
    except OSError as error:
        if address == "::1" and not socket.has_dualstack_ipv6():
            pytest.skip(f"this machine has no IPv6: {error}")
        raise
    with connection:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 404 ")
    lines = map(json.loads, log.read_text().splitlines())
    assert [line["client"] for line in lines if line.get("path") == "/nowhere"] == [address]


def test_the_development_container_has_the_postgresql_of_production() -> None:
    folder = ROOT / ".devcontainer"
    container = json.loads((folder / "devcontainer.json").read_text())
    services = yaml.safe_load((folder / container["dockerComposeFile"]).read_text())["services"]
    service, postgresql = services[container["service"]], services["postgresql"]

    manifest = (ROOT / "k8s" / "postgresql.yaml").read_text()
    assert f"image: {postgresql['image']}\n" in manifest
    assert postgresql["environment"]["POSTGRES_INITDB_ARGS"] in manifest
    assert load_settings(service["environment"]).DATABASE_URI.endswith("@postgresql:5432/products")
    assert os.fspath(container["workspaceFolder"]) in service["volumes"][0]
