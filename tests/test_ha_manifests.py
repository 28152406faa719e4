"""The manifests in k8s-ha/: valid, also the custom resources, and at one with one another."""

import ipaddress
import re
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from sqlalchemy import make_url

from service.config import Settings, load_settings
from service.database.postgresql import ANSWER_SECONDS, SERVER_TIMEOUTS
from tests.manifests import (
    K8S,
    K8S_HA,
    OLDEST_KUBERNETES,
    ROOT,
    Manifest,
    containers,
    environment,
    find,
    labels,
    pod,
    read,
    rendered,
)

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
SCHEMAS = ROOT / "tests" / "schemas"
CUSTOM = {
    "Cluster": "postgresql.cnpg.io",
    "Pooler": "postgresql.cnpg.io",
    "ScheduledBackup": "postgresql.cnpg.io",
    "ObjectStore": "barmancloud.cnpg.io",
    "PodMonitor": "monitoring.coreos.com",
    "PrometheusRule": "monitoring.coreos.com",
}
PROMTOOL = shutil.which("promtool")
# By libpq, in the place of DATABASE_URI.
LIBPQ = {"PGHOST", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE"}
# Of max_connections: for superusers, for the operator and its backups, and for people.
RESERVED = 3 + 5 + 5
# A pooler looks a password up in the database by a connection of its own.
LOOKUPS_OF_A_POOLER = 1
# psycopg keeps so many of a connection.
PREPARED_STATEMENTS = 100
DATABASE, POOLER = "products-db", "products-pooler"

needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="the schemas are not there: make schemas"
)


@cache
def validator(kind: str) -> Draft202012Validator:
    """Return what checks a custom resource as strictly as kubectl does."""
    (file,) = SCHEMAS.glob(f"{CUSTOM[kind]}_{kind.lower()}s.yaml")
    definition = yaml.load(file.read_text(), yaml.CSafeLoader)  # it is safe, and fast
    (version,) = [each for each in definition["spec"]["versions"] if each["storage"]]
    schema = version["schema"]["openAPIV3Schema"]
    return Draft202012Validator(strict(schema))


def strict(schema: Any) -> Any:
    """Return a schema of Kubernetes in which no object may have an unknown member."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(value) for name, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not is_open:
        closed.setdefault("additionalProperties", False)
    return closed


def validate(manifest: Manifest, version: str = OLDEST_KUBERNETES) -> None:
    """Raise ``ValidationError`` for what an API server or kubectl refuses."""
    if manifest["kind"] in CUSTOM:
        assert manifest["apiVersion"].startswith(f"{CUSTOM[manifest['kind']]}/")
        validator(manifest["kind"]).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_each_object_of_kubernetes_is_valid(ha_manifests: list[Manifest], version: str) -> None:
    for manifest in ha_manifests:
        if manifest["kind"] not in CUSTOM:
            validate(manifest, version)


@needs_schemas
def test_each_custom_resource_is_valid(ha_manifests: list[Manifest]) -> None:
    found = [manifest for manifest in ha_manifests if manifest["kind"] in CUSTOM]
    assert {manifest["kind"] for manifest in found} == CUSTOM.keys()

    for manifest in [*found, *read(K8S_HA / "restore.yaml")]:
        validate(manifest)


def test_it_is_k8s_with_another_database(
    manifests: list[Manifest], ha_manifests: list[Manifest]
) -> None:
    def names(found: list[Manifest]) -> set[tuple[str, str]]:
        return {(m["kind"], m["metadata"]["name"]) for m in found}

    assert names(manifests) - names(ha_manifests) == {
        ("ConfigMap", "postgresql-init"),
        ("NetworkPolicy", "postgresql"),
        ("Service", "postgresql"),
        ("StatefulSet", "postgresql"),
        ("StorageClass", "products-database"),
    }
    written = [m for name in overlay()["resources"][1:] for m in read(K8S_HA / name)]
    assert names(ha_manifests) - names(manifests) == names(written)
    assert {m["metadata"].get("namespace", "products") for m in ha_manifests} == {"products"}
    assert "Secret" not in {m["kind"] for m in ha_manifests}


def overlay() -> Manifest:
    (kustomization,) = read(K8S_HA / "kustomization.yaml")
    return kustomization


def test_one_tag_is_that_of_every_pod_of_the_service(tmp_path: Path) -> None:
    for folder in (K8S, K8S_HA):
        shutil.copytree(folder, tmp_path / folder.name)
    kustomization = tmp_path / "k8s" / "kustomization.yaml"
    text, places = re.subn('newTag: ".*"', 'newTag: "9.9"', kustomization.read_text())
    kustomization.write_text(text)

    assert places == 1
    for name in ("k8s", "k8s-ha"):
        deployment = find(rendered(tmp_path / name), "Deployment")
        images = {container["image"] for container in containers(deployment)}
        assert images == {"cluster-registry:32000/prod:9.9"}


def variables(container: Manifest) -> dict[str, Any]:
    """Return each variable with its value, or the Secret and the key that it comes from."""
    found = {}
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
        found[variable["name"]] = variable.get("value") or (reference["name"], reference["key"])
    return found


def check_names(manifests: list[Manifest]) -> None:
    """Fail if one of the objects names another that is not there."""
    cluster = find(manifests, "Cluster", DATABASE)["spec"]
    pooler = find(manifests, "Pooler", POOLER)["spec"]
    (migrate,), (serve,) = (
        pod(find(manifests, "Deployment"))[kind] for kind in ("initContainers", "containers")
    )
    initdb = cluster["bootstrap"]["initdb"]
    (role,) = cluster["managed"]["roles"]
    for container, host, secret in (
        (migrate, f"{DATABASE}-rw", initdb["secret"]["name"]),
        (serve, POOLER, role["passwordSecret"]["name"]),
    ):
        given = variables(container)
        assert given["DATABASE_URI"] == "postgresql+psycopg://"
        assert (given["PGHOST"], given["PGDATABASE"]) == (host, initdb["database"])
        assert given["PGUSER"] == (secret, "username")
        assert given["PGPASSWORD"] == (secret, "password")
    standby = make_url(variables(serve)["DATABASE_READ_URI"])
    assert (standby.host, standby.database) == (f"{DATABASE}-ro", initdb["database"])
    assert pooler["cluster"]["name"] == DATABASE
    backup = find(manifests, "ScheduledBackup", "products-nightly")["spec"]
    (plugin,) = cluster["plugins"]
    assert backup["cluster"]["name"] == DATABASE
    assert backup["pluginConfiguration"]["name"] == plugin["name"]
    find(manifests, "ObjectStore", plugin["parameters"]["barmanObjectName"])


def check_durability(manifests: list[Manifest]) -> None:
    """Fail if the loss of a node can lose a write that was acknowledged."""
    cluster = find(manifests, "Cluster", DATABASE)["spec"]
    assert cluster["instances"] == 3
    assert cluster["postgresql"]["synchronous"] == {
        "method": "any",
        "number": 1,
        "dataDurability": "required",
        "failoverQuorum": True,
    }
    affinity = cluster["affinity"]
    assert (affinity["podAntiAffinityType"], affinity["topologyKey"]) == (
        "required",
        "kubernetes.io/hostname",
    )
    (spread,) = cluster["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["labelSelector"]["matchLabels"].items() <= PODS["instance"].items()
    (plugin,) = cluster["plugins"]
    assert plugin["isWALArchiver"] is True


class Flow(NamedTuple):
    """A connection from pods, or a namespace's pods, to others, or an address."""

    source: str
    target: str
    port: int


# The labels of the pods of CloudNativePG are those that its operator gives them.
PODS = {
    "service": {"app.kubernetes.io/name": "products"},
    "instance": {"cnpg.io/cluster": DATABASE, "cnpg.io/podRole": "instance"},
    "job": {"cnpg.io/cluster": DATABASE, "cnpg.io/jobRole": "join"},
    "restored": {"cnpg.io/cluster": f"{DATABASE}-restored", "cnpg.io/podRole": "instance"},
    "pooler": {
        "cnpg.io/cluster": DATABASE,
        "cnpg.io/podRole": "pooler",
        "cnpg.io/poolerName": POOLER,
    },
}
# Namespaces, and labels of pods in them; what these may send is not ours to say.
OTHERS = {
    "stranger": ("products", {"app.kubernetes.io/name": "stranger"}),
    "operator": ("cnpg-system", {"app.kubernetes.io/name": "cloudnative-pg"}),
    "prometheus": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "ingress": ("kube-system", {"app.kubernetes.io/name": "traefik"}),
    "names": ("kube-system", {"k8s-app": "kube-dns"}),
}
ADDRESSES = {
    "kubernetes": "10.43.0.1",
    "node": "172.18.0.3",
    "store": "203.0.113.10",
    "internet": "192.0.2.1",
}
ALLOWED = {
    Flow("service", "pooler", 5432),
    Flow("service", "instance", 5432),
    Flow("pooler", "instance", 5432),
    *(Flow(source, "names", 53) for source in ("service", "instance", "job", "restored", "pooler")),
    *(
        Flow(source, "instance", port)
        for source in ("instance", "job", "operator")
        for port in (5432, 8000)
    ),
    *(
        Flow(source, target, port)
        for source in ("instance", "job", "restored", "pooler")
        for target, port in (("kubernetes", 443), ("node", 6443))
    ),
    *(Flow(source, "store", 443) for source in ("instance", "job", "restored")),
    Flow("operator", "restored", 8000),
    Flow("prometheus", "instance", 9187),
    Flow("prometheus", "pooler", 9127),
    Flow("ingress", "service", 8080),
}
DENIED = {
    *(Flow("stranger", target, 5432) for target in ("pooler", "instance", "restored")),
    *(Flow("ingress", target, 5432) for target in ("pooler", "instance")),
    *(Flow("service", target, 443) for target in ("kubernetes", "store", "internet")),
    *(Flow(source, "internet", 443) for source in ("instance", "pooler", "job")),
    Flow("service", "instance", 8000),
    Flow("stranger", "instance", 8000),
    Flow("pooler", "store", 443),
    Flow("pooler", "pooler", 5432),
    Flow("instance", "service", 8080),
}


def selects(selector: Manifest, labelled: dict[str, str]) -> bool:
    """Return whether a selector of Kubernetes selects these labels."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    expressions = selector.get("matchExpressions", [])
    assert {each["operator"] for each in expressions} <= {"Exists", "DoesNotExist"}
    return selector.get("matchLabels", {}).items() <= labelled.items() and all(
        (each["key"] in labelled) is (each["operator"] == "Exists") for each in expressions
    )


def is_peer(peer: Manifest, name: str) -> bool:
    """Return whether a peer of a rule is what has this name above."""
    if "ipBlock" in peer:
        network = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return name in ADDRESSES and ipaddress.ip_address(ADDRESSES[name]) in network
    if name in ADDRESSES:
        return False
    namespace, labelled = OTHERS.get(name) or ("products", PODS[name])
    chosen = peer.get("namespaceSelector", {}).get("matchLabels", {})
    wanted = chosen.get("kubernetes.io/metadata.name", "products")
    return wanted == namespace and selects(peer.get("podSelector", {}), labelled)


def allows(manifests: list[Manifest], direction: str, of: str, peer: str, port: int) -> bool:
    """Return whether the policies of pods allow a connection; those of other namespaces do."""
    if of not in PODS:
        return True
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    ours = [policy for policy in policies if selects(policy["podSelector"], PODS[of])]
    rules = [rule for policy in ours for rule in policy.get(direction, [])]
    end = "to" if direction == "egress" else "from"
    return any(
        port in {each["port"] for each in rule["ports"]}
        and any(is_peer(each, peer) for each in rule[end])
        for rule in rules
    )


def is_open(manifests: list[Manifest], flow: Flow) -> bool:
    return allows(manifests, "egress", flow.source, flow.target, flow.port) and allows(
        manifests, "ingress", flow.target, flow.source, flow.port
    )


def check_network(manifests: list[Manifest]) -> None:
    """Fail if a connection is not possible that must be, or the other way round."""
    assert {flow for flow in ALLOWED if not is_open(manifests, flow)} == set()
    assert {flow for flow in DENIED if is_open(manifests, flow)} == set()
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    peers = [peer for each in policies for rule in each.get("egress", []) for peer in rule["to"]]
    blocks = [ipaddress.ip_network(peer["ipBlock"]["cidr"]) for peer in peers if "ipBlock" in peer]
    assert min(block.prefixlen for block in blocks) >= 12


CHECKS: list[Callable[[list[Manifest]], None]] = [check_names, check_durability, check_network]


@pytest.mark.parametrize("check", CHECKS)
def test_the_objects_fit_together(
    ha_manifests: list[Manifest], check: Callable[[list[Manifest]], None]
) -> None:
    check(ha_manifests)


def slip(manifests: list[Manifest], kind: str, name: str, path: str, value: Any) -> list[Manifest]:
    """Return the objects with another value at a path in one of them."""
    changed = deepcopy(manifests)
    place: Any = find(changed, kind, name)
    *folders, last = path.split("/")
    for folder in folders:
        place = place[int(folder) if folder.isdecimal() else folder]
    place[int(last) if last.isdecimal() else last] = value
    return changed


def pods(role: str) -> Manifest:
    return {"podSelector": {"matchLabels": {"app.kubernetes.io/name": role}}}


@pytest.mark.parametrize(
    ("check", "kind", "name", "path", "value"),
    [
        (check_names, "Pooler", POOLER, "spec/cluster/name", "products"),
        (check_names, "Cluster", DATABASE, "spec/managed/roles/0/passwordSecret/name", "products"),
        (check_durability, "Cluster", DATABASE, "spec/instances", 2),
        (check_durability, "Cluster", DATABASE, "spec/postgresql/synchronous/number", 0),
        (check_network, "NetworkPolicy", "products", "spec/egress/0/to/0", pods("postgresql")),
        (
            check_network,
            "NetworkPolicy",
            "database",
            "spec/egress/1/to/0/ipBlock/cidr",
            "0.0.0.0/0",
        ),
        (check_network, "NetworkPolicy", "pooler", "spec/ingress/0/from/0", {"podSelector": {}}),
    ],
)
def test_a_slip_between_objects_is_caught(
    ha_manifests: list[Manifest],
    check: Callable[[list[Manifest]], None],
    kind: str,
    name: str,
    path: str,
    value: Any,
) -> None:
    with pytest.raises(AssertionError):
        check(slip(ha_manifests, kind, name, path, value))


@needs_schemas
@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("Cluster", DATABASE, "spec/postgresql/synchronous/dataDurabilty", "required"),
        ("Cluster", DATABASE, "spec/postgresql/synchronous/method", "some"),
        ("Cluster", DATABASE, "spec/instances", "three"),
        ("Pooler", POOLER, "spec/pgbouncer/parameters/default_pool_size", 20),
        ("Pooler", POOLER, "spec/template/spec/containers/0/resource", {}),
        ("ObjectStore", "products-backups", "spec/retentionPolicy", "a month"),
        ("ScheduledBackup", "products-nightly", "spec/cron", "0 30 2 * * *"),
        ("PodMonitor", "database", "spec/selector/matchLabel", {}),
        ("PrometheusRule", "database", "spec/groups/0/rules/0/for", "1 minute"),
    ],
)
def test_a_slip_in_a_custom_resource_is_caught(
    ha_manifests: list[Manifest], kind: str, name: str, path: str, value: Any
) -> None:
    changed = find(slip(ha_manifests, kind, name, path, value), kind, name)

    with pytest.raises(ValidationError):
        validate(changed)


def test_the_variables_are_settings_of_the_service_or_of_libpq(
    ha_manifests: list[Manifest],
) -> None:
    for container in containers(find(ha_manifests, "Deployment")):
        names = variables(container).keys()
        assert LIBPQ <= names <= LIBPQ | Settings.model_fields.keys()
        settings = load_settings(environment(container))
        is_behind_pooler = container["name"] == "products"
        assert ("prepared" if is_behind_pooler else False) == settings.DATABASE_PGBOUNCER
    pooler = find(ha_manifests, "Pooler", POOLER)["spec"]["pgbouncer"]
    assert int(pooler["parameters"]["max_prepared_statements"]) >= PREPARED_STATEMENTS
    assert int(pooler["parameters"]["query_wait_timeout"]) < ANSWER_SECONDS


def test_the_connections_of_all_poolers_fit_into_postgresql(ha_manifests: list[Manifest]) -> None:
    pooler = find(ha_manifests, "Pooler", POOLER)["spec"]
    parameters = pooler["pgbouncer"]["parameters"]
    cluster = find(ha_manifests, "Cluster", DATABASE)["spec"]
    autoscaler = find(ha_manifests, "HorizontalPodAutoscaler")["spec"]

    poolers = pooler["instances"] + pooler["deploymentStrategy"]["rollingUpdate"]["maxSurge"]
    pooled = poolers * (int(parameters["default_pool_size"]) + LOOKUPS_OF_A_POOLER)
    migrations = autoscaler["maxReplicas"]
    # The standby that is promoted keeps a connection of each worker, for reads.
    given = environment(pod(find(ha_manifests, "Deployment"))["containers"][0])
    kept = (2 * autoscaler["maxReplicas"] + 1) * int(given["WEB_CONCURRENCY"])
    most = int(cluster["postgresql"]["parameters"]["max_connections"])
    total = pooled + migrations + kept + RESERVED
    assert total <= most
    assert f"{pooled} + {migrations} + {kept} + {RESERVED} = {total} of the {most}" in GUIDE


def test_a_pooler_has_a_place_for_every_connection_of_the_service(
    ha_manifests: list[Manifest],
) -> None:
    given = environment(pod(find(ha_manifests, "Deployment"))["containers"][0])
    autoscaler = find(ha_manifests, "HorizontalPodAutoscaler")["spec"]
    connections = int(given["WEB_CONCURRENCY"]) * int(given["WEB_THREADS"]) + 1

    parameters = find(ha_manifests, "Pooler", POOLER)["spec"]["pgbouncer"]["parameters"]
    most = (2 * autoscaler["maxReplicas"] + 1) * connections
    # One pooler is enough for all of them.
    assert int(parameters["max_client_conn"]) >= most


def test_the_role_of_the_service_has_the_timeouts_of_the_service(
    ha_manifests: list[Manifest],
) -> None:
    initdb = find(ha_manifests, "Cluster", DATABASE)["spec"]["bootstrap"]["initdb"]

    setting = r"ALTER ROLE products SET (\w+) = '(\d+)s'"
    found = re.findall(setting, "\n".join(initdb["postInitApplicationSQL"]))
    assert {name: int(seconds) * 1000 for name, seconds in found} == SERVER_TIMEOUTS


def test_a_restored_cluster_runs_what_the_backup_is_of(ha_manifests: list[Manifest]) -> None:
    (restored,) = read(K8S_HA / "restore.yaml")
    cluster = find(ha_manifests, "Cluster", DATABASE)["spec"]
    (source,) = restored["spec"]["externalClusters"]
    recovery = restored["spec"]["bootstrap"]["recovery"]
    initdb = cluster["bootstrap"]["initdb"]
    parameters = restored["spec"]["postgresql"]["parameters"]

    assert restored["spec"]["imageName"] == cluster["imageName"]
    assert recovery["source"] == source["name"]
    assert source["plugin"]["parameters"] == {
        "serverName": DATABASE,
        **cluster["plugins"][0]["parameters"],
    }
    for name in ("database", "owner", "secret"):
        assert recovery[name] == initdb[name]
    assert parameters.items() <= cluster["postgresql"]["parameters"].items()
    for volume in ("storage", "walStorage"):
        assert restored["spec"][volume] == cluster[volume]


def test_the_images_of_the_database_do_not_move(ha_manifests: list[Manifest]) -> None:
    cluster = find(ha_manifests, "Cluster", DATABASE)["spec"]["imageName"]
    pooler = find(ha_manifests, "Pooler", POOLER)["spec"]["pgbouncer"]["image"]

    assert re.fullmatch(
        r"ghcr.io/cloudnative-pg/postgresql:18\.\d+-.+@sha256:[0-9a-f]{64}", cluster
    )
    assert re.fullmatch(
        r"ghcr.io/cloudnative-pg/pgbouncer:\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", pooler
    )


def alerts() -> list[Manifest]:
    (rules,) = [m for m in read(K8S_HA / "monitoring.yaml") if m["kind"] == "PrometheusRule"]
    return [alert for group in rules["spec"]["groups"] for alert in group["rules"]]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("command", [["check", "rules", "rules"], ["test", "rules", "cases"]])
def test_an_alert_fires_when_it_must(tmp_path: Path, command: list[str]) -> None:
    rules = {"groups": [{"name": "database", "rules": alerts()}]}
    (tmp_path / "rules").write_text(yaml.safe_dump(rules))
    shutil.copy(ROOT / "tests" / "alerts.yaml", tmp_path / "cases")

    ran = subprocess.run(
        [str(PROMTOOL), *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_guide_explains_each_file_and_each_alert() -> None:
    files = {path.name for path in K8S_HA.glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in files if f"`{name}`" not in GUIDE} == set()
    names = {alert["alert"] for alert in alerts()}
    assert set(re.findall(r"^\| `(Database\w+)` \|", GUIDE, re.MULTILINE)) == names


@pytest.mark.parametrize("kind", ["Cluster", "Pooler"])
def test_the_guide_names_the_versions_whose_schemas_are_checked(kind: str) -> None:
    sources = (ROOT / "tests" / "schemas.txt").read_text()
    versions = set(re.findall(rf"/v([\d.]+)/.*_{kind.lower()}s\.yaml", sources))

    assert len(versions) == 1
    assert f"CloudNativePG {versions.pop()}" in GUIDE


def test_the_labels_of_the_poolers_select_nothing_else(ha_manifests: list[Manifest]) -> None:
    template = find(ha_manifests, "Pooler", POOLER)["spec"]["template"]

    assert (
        template["metadata"]["labels"]
        .items()
        .isdisjoint(labels(find(ha_manifests, "Deployment")).items())
    )
