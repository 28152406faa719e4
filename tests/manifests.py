"""The manifests in k8s/ and k8s-ha/ as objects, and how to find one's way in them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

ROOT = Path(__file__).parent.parent
K8S = ROOT / "k8s"
K8S_HA = ROOT / "k8s-ha"
FILES = sorted(path for path in K8S.glob("*.yaml") if path.name != "kustomization.yaml")
# The one of the README, where each file is applied alone.
IMAGE = "cluster-registry:32000/prod:1.0"
OLDEST_KUBERNETES = "1.30"


def read(file: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(file.read_text()))


def rendered(folder: Path = K8S) -> list[Manifest]:
    """Return all objects, as `kubectl apply -k` sends those of a folder; no cluster is asked."""
    kubectl = Path(sys.executable).with_name("kubectl")
    kustomized = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=True, timeout=60
    )
    return list(yaml.safe_load_all(kustomized.stdout))


def image_of_the_kustomization() -> str:
    """Return the image that `make deploy` deploys."""
    (kustomization,) = read(K8S / "kustomization.yaml")
    (image,) = kustomization["images"]
    return f"{image['name']}:{image['newTag']}"


def find(manifests: list[Manifest], kind: str, name: str = "products") -> Manifest:
    (found,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    return [m for m in manifests if "template" in m.get("spec", {})]


def pod(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def containers(workload: Manifest) -> list[Manifest]:
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def labels(workload: Manifest) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def environment(container: Manifest) -> dict[str, str]:
    """Return the variables that the manifest itself gives a value."""
    return {v["name"]: v["value"] for v in container["env"] if "value" in v}
