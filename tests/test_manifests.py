"""The manifests in k8s/: valid, at one with one another, and at one with the code."""

import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from flask import Flask

from service.config import Settings, load_settings
from tests.manifests import (
    FILES,
    K8S,
    OLDEST_KUBERNETES,
    ROOT,
    Manifest,
    containers,
    environment,
    find,
    image_of_the_kustomization,
    labels,
    pod,
    read,
    workloads,
)

BY_HAND = ("pv.yaml", "postgresql.yaml", "deployment.yaml", "service.yaml", "ingress.yaml")
CLUSTER_SCOPED = {"Namespace", "StorageClass"}
INSIDE = {"/metrics", "/readyz"}  # for Prometheus and the kubelet alone
SUPERUSER_RESERVED_CONNECTIONS = 3
CONNECTIONS_BY_HAND = 5
FAILOVER_SECONDS = 40


def seconds(setting: str) -> int:
    """Return a setting of gunicorn.conf.py as gunicorn understands it."""
    printed = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--print-config", "wsgi:app"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    return int(re.findall(rf"^{setting}\s*= (\d+)$", printed, re.MULTILINE)[0])


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_valid(file: Path, version: str) -> None:
    for manifest in read(file):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_kustomization_leaves_nothing_out(manifests: list[Manifest]) -> None:
    def names(found: list[Manifest]) -> list[tuple[str, str]]:
        return sorted((m["kind"], m["metadata"]["name"]) for m in found)

    assert names(manifests) == names([m for file in FILES for m in read(file)])


def test_everything_is_in_the_namespace_that_enforces_restricted_pods(
    manifests: list[Manifest],
) -> None:
    namespaced = [m for m in manifests if m["kind"] not in CLUSTER_SCOPED]

    assert {m["metadata"].get("namespace") for m in namespaced} == {"products"}
    enforced = find(manifests, "Namespace")["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"


def test_there_is_no_secret_in_them(manifests: list[Manifest]) -> None:
    assert "Secret" not in {m["kind"] for m in manifests}
    for workload in workloads(manifests):
        for container in containers(workload):
            given = environment(container)
            assert not [name for name in given if name.endswith(("PASSWORD", "URI", "TOKENS"))]


def test_each_file_needs_only_those_applied_before_it() -> None:
    there: set[tuple[str, str]] = set()
    for name in BY_HAND:
        found = read(K8S / name)
        there |= {(m["kind"], m["metadata"]["name"]) for m in found}
        for workload in workloads(found):
            for volume in pod(workload)["volumes"]:
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in there
            for claim in workload["spec"].get("volumeClaimTemplates", []):
                assert ("StorageClass", claim["spec"]["storageClassName"]) in there
        for ingress in (m for m in found if m["kind"] == "Ingress"):
            for path in paths(ingress):
                assert ("Service", path["backend"]["service"]["name"]) in there


def paths(ingress: Manifest) -> list[Manifest]:
    (rule,) = ingress["spec"]["rules"]
    assert "host" not in rule  # localhost:8080 is to answer
    found: list[Manifest] = rule["http"]["paths"]
    return found


@pytest.mark.parametrize(
    ("kind", "workload", "name"),
    [
        ("Service", "Deployment", "products"),
        ("Service", "StatefulSet", "postgresql"),
        ("NetworkPolicy", "Deployment", "products"),
        ("NetworkPolicy", "StatefulSet", "postgresql"),
        ("PodDisruptionBudget", "Deployment", "products"),
    ],
)
def test_selectors_select_the_pods_they_are_meant_for(
    manifests: list[Manifest], kind: str, workload: str, name: str
) -> None:
    spec = find(manifests, kind, name)["spec"]
    selector = spec["podSelector"] if kind == "NetworkPolicy" else spec["selector"]
    selected = selector.get("matchLabels", selector)

    template = find(manifests, workload, name)
    matching = [w for w in workloads(manifests) if selected.items() <= labels(w).items()]
    assert matching == [template]
    assert template["spec"]["selector"]["matchLabels"] == labels(template)


def test_pods_are_spread_over_nodes_and_zones(manifests: list[Manifest]) -> None:
    deployment = find(manifests, "Deployment")

    constraints = pod(deployment)["topologySpreadConstraints"]
    assert [constraint["topologyKey"] for constraint in constraints] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    for constraint in constraints:
        assert constraint["labelSelector"]["matchLabels"] == labels(deployment)


def test_one_port_leads_from_the_ingress_to_the_container(manifests: list[Manifest]) -> None:
    container = pod(find(manifests, "Deployment"))["containers"][0]
    service = find(manifests, "Service")

    (port,) = container["ports"]
    (service_port,) = service["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    for path in paths(find(manifests, "Ingress")):
        backend = path["backend"]["service"]
        assert (backend["name"], backend["port"]["name"]) == ("products", service_port["name"])
    image = (ROOT / "Dockerfile").read_text()
    assert f"EXPOSE {port['containerPort']}\n" in image
    assert re.findall(r"\bPORT=(\d+)", image) == [str(port["containerPort"])]
    assert "PORT" not in environment(container)
    scrape = find(manifests, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert scrape["prometheus.io/port"] == str(port["containerPort"])


def test_clients_reach_every_path_but_those_for_inside(
    manifests: list[Manifest], sqlite_app: Flask
) -> None:
    served = {path["path"]: path["pathType"] for path in paths(find(manifests, "Ingress"))}

    def reaches(path: str) -> bool:
        prefixes = [prefix for prefix, kind in served.items() if kind == "Prefix"]
        return path in served or any(path.startswith(f"{prefix}/") for prefix in prefixes)

    routes = {rule.rule for rule in sqlite_app.url_map.iter_rules()}
    assert routes >= INSIDE
    assert {route for route in routes if not reaches(route)} == INSIDE


def test_probes_ask_what_the_service_answers(manifests: list[Manifest], sqlite_app: Flask) -> None:
    container = pod(find(manifests, "Deployment"))["containers"][0]

    probed = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert {get["port"] for get in probed.values()} == {container["ports"][0]["name"]}
    assert {kind: get["path"] for kind, get in probed.items()} == {
        "startup": "/health",
        "liveness": "/health",
        "readiness": "/readyz",
    }
    for path in ("/health", "/readyz"):
        assert sqlite_app.test_client().get(path).status_code == 200


def test_no_outage_of_the_database_restarts_the_service(manifests: list[Manifest]) -> None:
    container = pod(find(manifests, "Deployment"))["containers"][0]
    liveness, readiness = container["livenessProbe"], container["readinessProbe"]

    def patience(probe: Manifest) -> int:
        return int(probe["periodSeconds"] * probe["failureThreshold"])

    assert patience(readiness) < patience(liveness)
    # The first probe may fail at once.
    assert patience(readiness) - readiness["periodSeconds"] > FAILOVER_SECONDS
    assert liveness["timeoutSeconds"] > 8  # the longest that a request may wait for the database


def test_a_pod_has_the_time_to_finish_what_it_has_begun(manifests: list[Manifest]) -> None:
    spec = pod(find(manifests, "Deployment"))
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert pause >= 5
    assert spec["terminationGracePeriodSeconds"] >= pause + seconds("graceful_timeout") + 5


def test_the_migration_runs_before_the_service_and_from_its_image(
    manifests: list[Manifest],
) -> None:
    spec = pod(find(manifests, "Deployment"))
    (migrate,), (serve,) = spec["initContainers"], spec["containers"]

    *command, wait = migrate["args"]
    assert command == ["flask", "db", "upgrade", "-x"]
    assert (
        int(wait.removeprefix("wait="))
        < find(manifests, "Deployment")["spec"]["progressDeadlineSeconds"]
    )
    assert migrate["image"] == serve["image"] == image_of_the_kustomization()
    assert database_key(migrate) == "OWNER_DATABASE_URI"
    assert database_key(serve) == "DATABASE_URI"


def database_key(container: Manifest) -> str:
    """Return the key of the Secret that is the container's DATABASE_URI."""
    (variable,) = [each for each in container["env"] if each["name"] == "DATABASE_URI"]
    key: str = variable["valueFrom"]["secretKeyRef"]["key"]
    return key


@pytest.mark.parametrize(
    ("workload", "name"), [("Deployment", "products"), ("StatefulSet", "postgresql")]
)
def test_pods_are_restricted_and_bounded(
    manifests: list[Manifest], workload: str, name: str
) -> None:
    found = find(manifests, workload, name)
    spec = pod(found)

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {kind for v in spec["volumes"] for kind in v if kind != "name"} <= {
        "configMap",
        "emptyDir",
        "secret",
    }
    for container in containers(found):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert re.fullmatch(r".+:\d+\.\d+(@sha256:[0-9a-f]{64})?", container["image"])
        for bound in ("requests", "limits"):
            assert container["resources"][bound].keys() == {"cpu", "memory"}
    for volume in spec["volumes"]:
        assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]


def test_the_pod_runs_as_the_user_of_the_image(manifests: list[Manifest]) -> None:
    context = pod(find(manifests, "Deployment"))["securityContext"]

    assert re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == [
        f"{context['runAsUser']}:{context['runAsGroup']}"
    ]


def test_what_is_written_has_a_volume(manifests: list[Manifest]) -> None:
    spec = pod(find(manifests, "Deployment"))
    container = spec["containers"][0]
    empty = {volume["name"] for volume in spec["volumes"] if "emptyDir" in volume}
    writable = {m["mountPath"] for m in container["volumeMounts"] if m["name"] in empty}

    assert writable == {"/tmp", environment(container)["PROMETHEUS_MULTIPROC_DIR"]}  # noqa: S108
    mounted = {m["name"] for m in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_the_variables_are_settings_of_the_service(manifests: list[Manifest]) -> None:
    for container in containers(find(manifests, "Deployment")):
        given = environment(container)

        assert {variable["name"] for variable in container["env"]} <= Settings.model_fields.keys()
        settings = load_settings(given)
        assert {name: str(getattr(settings, name)) for name in given} == given


def test_all_pods_together_stay_below_the_connections_of_postgresql(
    manifests: list[Manifest],
) -> None:
    deployment = find(manifests, "Deployment")
    given = environment(pod(deployment)["containers"][0])
    # In a roll-out under full load every pod ends beside its successor. One that migrates does not
    # serve yet; one that serves opens a connection more for each probe of its readiness.
    autoscaler = find(manifests, "HorizontalPodAutoscaler")["spec"]
    surge = deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    pods = 2 * autoscaler["maxReplicas"] + surge
    connections = pods * (int(given["WEB_CONCURRENCY"]) * int(given["WEB_THREADS"]) + 1)

    arguments = containers(find(manifests, "StatefulSet", "postgresql"))[0]["args"]
    (most,) = [int(a.partition("=")[2]) for a in arguments if a.startswith("max_connections=")]
    assert connections <= most - SUPERUSER_RESERVED_CONNECTIONS - CONNECTIONS_BY_HAND


def test_the_autoscaler_alone_says_how_many_pods_there_are(manifests: list[Manifest]) -> None:
    deployment = find(manifests, "Deployment")
    autoscaler = find(manifests, "HorizontalPodAutoscaler")["spec"]

    target = autoscaler["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert 2 <= autoscaler["minReplicas"] < autoscaler["maxReplicas"]
    assert "replicas" not in deployment["spec"]
    assert find(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_examples_of_limits_fit_together_when_they_are_uncommented() -> None:
    text = re.sub(r"(?m)^#(?! \S)", "", (K8S / "ingress.yaml").read_text())

    ingress, *middlewares = yaml.safe_load_all(text)

    annotation = ingress["metadata"]["annotations"][
        "traefik.ingress.kubernetes.io/router.middlewares"
    ]
    metadata = [middleware["metadata"] for middleware in middlewares]
    names = [f"{each['namespace']}-{each['name']}@kubernetescrd" for each in metadata]
    assert annotation.split(",") == names
    assert [list(middleware["spec"]) for middleware in middlewares] == [
        ["rateLimit"],
        ["inFlightReq"],
    ]
    assert all(middleware["kind"] == "Middleware" for middleware in middlewares)


def policy(manifests: list[Manifest], name: str) -> Manifest:
    spec: Manifest = find(manifests, "NetworkPolicy", name)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    return spec


def peers(rule: Manifest, direction: str) -> list[tuple[str, str]]:
    """Return the namespaces and pods of a rule; those of the same namespace have no name."""
    found = []
    for peer in rule[direction]:
        selectors = [peer.get(kind, {}) for kind in ("namespaceSelector", "podSelector")]
        namespace, selected = ("".join(s.get("matchLabels", {}).values()) for s in selectors)
        found.append((namespace, selected))
    return found


def ports(rule: Manifest) -> set[int]:
    return {port["port"] for port in rule["ports"]}


def test_whatever_is_not_allowed_is_denied(manifests: list[Manifest]) -> None:
    deny = policy(manifests, "default-deny")

    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_service_is_reached_by_the_ingress_controller_and_prometheus_alone(
    manifests: list[Manifest],
) -> None:
    (rule,) = policy(manifests, "products")["ingress"]

    assert peers(rule, "from") == [("kube-system", "traefik"), ("monitoring", "prometheus")]
    (port,) = pod(find(manifests, "Deployment"))["containers"][0]["ports"]
    assert ports(rule) == {port["containerPort"]}
    assert find(manifests, "Ingress")["spec"]["ingressClassName"] == "traefik"


def test_the_service_reaches_the_database_and_names_alone(manifests: list[Manifest]) -> None:
    to_database, to_names = policy(manifests, "products")["egress"]
    postgresql = policy(manifests, "postgresql")
    (from_service,) = postgresql["ingress"]

    (port,) = pod(find(manifests, "StatefulSet", "postgresql"))["containers"][0]["ports"]
    assert peers(to_database, "to") == [("", "postgresql")]
    assert peers(from_service, "from") == [("", "products")]
    assert ports(to_database) == ports(from_service) == {port["containerPort"]}
    assert "egress" not in postgresql
    assert peers(to_names, "to") == [("kube-system", "kube-dns")]
    assert {(p["port"], p["protocol"]) for p in to_names["ports"]} == {(53, "UDP"), (53, "TCP")}
