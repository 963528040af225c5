"""The Helm chart as it was rendered: what holds of every object in every case, without Helm."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from gpuwatch import config, plugins
from gpuwatch.devices.tpu import TpuDevices
from gpuwatch.errors import Absent
from gpuwatch.model import Site
from gpuwatch.web import web_config
from tests.deploy import chart
from tests.deploy.kinds import unknown_keys

Thing = dict[str, Any]
OBJECTS = {name: chart.objects((chart.GOLDEN / f"{name}.yaml").read_text()) for name in chart.CASES}
EVERY: list[Any] = [pytest.param(each, id=f"{name}-{each['kind']}-{each['metadata']['name']}")
         for name, found in OBJECTS.items() for each in found]  # fmt: skip
WORKLOADS = [each for each in EVERY if each.values[0]["kind"] in {"DaemonSet", "Deployment"}]
CONFIGURED = [each for each in EVERY if "gpuwatch.toml" in each.values[0].get("data", {})]
HELPERS = {"prepare", "access"}
"""The containers that are root, with one capability, so that the agent need not be."""
OTHERS = ["SETUID", "SETGID", "SYS_PTRACE", "DAC_READ_SEARCH"]
"""With what an agent begins that shall see other users' processes, before it becomes nobody."""


def pod_of(workload: Thing) -> Thing:
    spec: Thing = workload["spec"]["template"]["spec"]
    return spec


def containers(pod: Thing) -> Iterator[Thing]:
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def one(case: str, kind: str, part: str = "") -> Thing:
    found = [each for each in OBJECTS[case] if each["kind"] == kind and part in each["metadata"]["name"]]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """deploy/helm/generate.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("generate_chart", chart.CHART.parent / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_kept_is_of_the_chart_as_it_is() -> None:
    """`make charts` was run after the last change of a template, of the values or of a case."""
    assert chart.digest() == chart.SOURCES.read_text(), (
        "run `make charts` (it builds Helm) and review the difference"
    )


def test_rules_dashboards_and_schema_are_those_of_their_sources(generate: ModuleType) -> None:
    """`make generate` was run after the last change of a rule, a dashboard or a setting; nothing else is there."""
    made = dict(generate.files())
    there = [path for folder in ("rules", "dashboards") for path in (chart.CHART / "files" / folder).iterdir()]

    stale = [
        path.name for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]

    assert [] == stale, "run `make generate`"
    assert {*there, chart.CHART / "values.schema.json"} == set(made)


@pytest.mark.parametrize("thing", EVERY)
def test_every_key_is_one_that_kubernetes_knows(thing: Thing) -> None:
    """By the models of Kubernetes' own client."""
    assert [] == unknown_keys(thing)


def test_a_key_that_is_none_is_found() -> None:
    """Deep in a pod, in a list."""
    pod = {
        "containers": [{"name": "a", "livenesProbe": {}}],
        "volumes": [{"name": "b", "hostPath": {"file": "/"}}],
    }

    assert [
        "DaemonSet.spec.template.spec.containers[0].livenesProbe",
        "DaemonSet.spec.template.spec.volumes[0].hostPath.file",
    ] == unknown_keys({"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"template": {"spec": pod}}})


@pytest.mark.parametrize("thing", CONFIGURED)
def test_the_configuration_loads(thing: Thing, tmp_path: Path) -> None:
    """With every plugin that is named, as the daemon reads it."""
    file = tmp_path / "gpuwatch.toml"
    file.write_text(thing["data"]["gpuwatch.toml"])

    settings = config.load(file, {}, plugins.ROOMS)

    assert tomllib.loads(file.read_text())["site"]["cluster"] == settings.site.cluster


def test_settings_of_a_site_arrive_as_they_were_written(tmp_path: Path) -> None:
    """Whole numbers stay whole, names are quoted, and what the chart sets is overridden by what the site says."""
    file = tmp_path / "gpuwatch.toml"
    file.write_text(one("full", "ConfigMap", "-agent")["data"]["gpuwatch.toml"])
    settings = config.load(file)

    assert 536870912 == settings.sinks["influxdb"]["spool_bytes"]
    assert "lo|veth.*" == settings.host["network"]["exclude"]
    assert 0.12 == settings.meter.models["H100"].near_idle_ratio
    assert ("prometheus", "influxdb") == settings.agent.sinks


@pytest.mark.parametrize("workload", WORKLOADS)
def test_no_container_is_root_but_the_helper(workload: Thing) -> None:
    """Nothing is privileged; the helper has one capability, and who begins as root with more does not stay root.

    Every container has a limit of memory.
    """
    for each in containers(pod_of(workload)):
        security = each["securityContext"]
        begins = each.get("command", [""])[:2] == ["setpriv", "--reuid=65534"]
        added = ["CHOWN"] if each["name"] in HELPERS else OTHERS if begins else []
        assert (not added, 0 if added else 65534) == (security["runAsNonRoot"], security["runAsUser"])
        assert {"drop": ["ALL"], **({"add": added} if added else {})} == security["capabilities"]
        assert (True, False) == (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"])
        assert {"type": "RuntimeDefault"} == security["seccompProfile"]
        assert "privileged" not in security
        assert "memory" in each["resources"]["limits"] and "cpu" not in each["resources"]["limits"]


def test_where_policies_are_strict_no_container_is_root() -> None:
    """agent.hostAccess can be switched off."""
    names = [each["name"] for each in containers(pod_of(one("strict", "DaemonSet")))]

    assert ["agent"] == names


def test_only_where_it_is_asked_for_an_agent_begins_as_root() -> None:
    """agent.otherUsers is off by itself."""
    begins = {name for name, found in OBJECTS.items() for each in found if each["kind"] == "DaemonSet"
              and any(one.get("command", [""])[0] == "setpriv" for one in containers(pod_of(each)))}  # fmt: skip

    assert {"tpu"} == begins


def test_only_where_it_is_asked_for_the_helper_can_write_below_sys() -> None:
    """agent.hostPower is off by itself, and the agent's own mounts of the node are read-only whatever is on."""
    writable = {
        (name, container["name"], mount["mountPath"])
        for name, found in OBJECTS.items()
        for each in found
        if each["kind"] == "DaemonSet"
        for container in containers(pod_of(each))
        for mount in container["volumeMounts"]
        if mount["mountPath"].startswith("/host/") and not mount.get("readOnly")
    }

    assert {("power", helper, "/host/virtual") for helper in HELPERS} == writable


def test_an_agent_on_gke_asks_the_device_plugin_of_its_own_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the address that the kubelet puts into the pod, which every agent has; without a TPU it asks nobody."""
    file = tmp_path / "gpuwatch.toml"
    file.write_text(one("tpu", "ConfigMap", "-agent")["data"]["gpuwatch.toml"])
    table = config.load(file, {}, plugins.ROOMS).devices["tpu"]
    variables = [pod_of(one(case, "DaemonSet"))["containers"][0]["env"] for case in ("default", "tpu")]
    monkeypatch.setenv("HOST_IP", "192.0.2.7")
    source = TpuDevices(TpuDevices.Settings.model_validate(table), Site(sysfs=str(tmp_path)))

    assert "http://{HOST_IP}:2112/metrics" == table["device_plugin_url"]
    assert [{"fieldRef": {"fieldPath": "status.hostIP"}}] * 2 == [
        each["valueFrom"] for found in variables for each in found if each["name"] == "HOST_IP"
    ]
    with pytest.raises(Absent, match="no TPU"):
        source.scan(0.0)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_selectors_match_and_name_no_version(workload: Thing) -> None:
    """A selector cannot be changed by an upgrade, so nothing that changes is in it."""
    selector = workload["spec"]["selector"]["matchLabels"]
    labels = workload["spec"]["template"]["metadata"]["labels"]

    assert selector.items() <= labels.items()
    assert not any(word in key for key in selector for word in ("version", "chart"))


@pytest.mark.parametrize("case", OBJECTS)
def test_services_and_monitors_find_what_they_are_for(case: str) -> None:
    """Each selector of a Service, monitor or policy fits a workload or Service; each named port is there."""
    workloads = [each for each in OBJECTS[case] if each["kind"] in {"DaemonSet", "Deployment"}]
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in workloads]
    services = [each["metadata"]["labels"] for each in OBJECTS[case] if each["kind"] == "Service"]
    for each in OBJECTS[case]:
        spec = each.get("spec", {})
        if each["kind"] in {"Service", "PodMonitor", "NetworkPolicy"}:
            wanted = spec.get("podSelector", spec.get("selector"))
            assert 1 == sum(wanted.get("matchLabels", wanted).items() <= labels.items() for labels in pods)
        elif each["kind"] == "ServiceMonitor":
            assert 1 == sum(spec["selector"]["matchLabels"].items() <= labels.items() for labels in services)
    assert all("http" in [port["name"] for port in pod_of(each)["containers"][0]["ports"]] for each in workloads)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_mount_has_its_volume_and_every_volume_is_mounted(workload: Thing) -> None:
    """And no two are mounted at one place."""
    pod = pod_of(workload)
    mounted = [[mount["name"] for mount in each["volumeMounts"]] for each in containers(pod)]
    places = [[mount["mountPath"] for mount in each["volumeMounts"]] for each in containers(pod)]

    assert {each["name"] for each in pod["volumes"]} == {name for names in mounted for name in names}
    assert all(len(set(each)) == len(each) for each in places)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_secrets_are_files_that_their_user_alone_reads(workload: Thing) -> None:
    """No variable comes from a Secret or looks like one, and no Secret is readable by everybody."""
    pod = pod_of(workload)
    variables = [each for container in containers(pod) for each in container.get("env", [])]

    assert not [each for each in variables if "secretKeyRef" in str(each)]
    assert not [each for each in variables if re.search("token|secret|password", each["name"], re.IGNORECASE)]
    assert {0o440} >= {each["secret"]["defaultMode"] for each in pod["volumes"] if "secret" in each}
    assert 65534 == pod["securityContext"]["fsGroup"]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_probes_ask_for_the_main_loop_and_wait_longer_than_it(workload: Thing) -> None:
    """None asks for a device; a pod is given up after more than a minute without its main loop."""
    daemon = pod_of(workload)["containers"][0]
    liveness, readiness = daemon["livenessProbe"], daemon["readinessProbe"]

    assert {"/-/healthy", None} >= {liveness.get("httpGet", {}).get("path")}
    assert {"/-/ready", None} >= {readiness.get("httpGet", {}).get("path")}
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > 60


def test_the_kubelet_is_not_asked_for_what_it_has_not() -> None:
    """With users or client certificates probes look at the port; with TLS alone they speak it."""
    web = pod_of(one("web", "DaemonSet"))["containers"][0]
    full = pod_of(one("full", "DaemonSet"))["containers"][0]

    assert {"port": "http"} == web["livenessProbe"]["tcpSocket"]
    assert "HTTPS" == full["livenessProbe"]["httpGet"]["scheme"]


def test_a_node_never_asks_the_api_server() -> None:
    """The agents have no token; accounting has one, and may read what docs/kubernetes.md says."""
    page = (chart.REPOSITORY / "docs" / "kubernetes.md").read_text()
    documented = next(
        yaml.safe_load(each) for each in re.findall("```yaml\n(.*?)```", page, re.S) if "rules:" in each
    )

    assert False is pod_of(one("default", "DaemonSet"))["automountServiceAccountToken"]
    assert True is pod_of(one("default", "Deployment"))["automountServiceAccountToken"]
    assert documented["rules"] == one("default", "ClusterRole")["rules"]


def test_where_namespaces_are_named_no_role_is_wider() -> None:
    """A Role in each, and no ClusterRole."""
    kinds = [(each["kind"], each["metadata"].get("namespace")) for each in OBJECTS["strict"]]

    assert [("Role", "vision"), ("Role", "speech")] == [each for each in kinds if each[0] == "Role"]
    assert not [each for each in kinds if "ClusterRole" in each[0]]


def test_one_accounting_writes_the_ledger() -> None:
    """The old pod is gone before the new one begins; the claim outlives the release."""
    deployment, claim = one("default", "Deployment"), one("default", "PersistentVolumeClaim")

    assert (1, {"type": "Recreate"}) == (deployment["spec"]["replicas"], deployment["spec"]["strategy"])
    assert "keep" == claim["metadata"]["annotations"]["helm.sh/resource-policy"]


def test_accounting_finds_the_agents_by_their_service() -> None:
    """The name it asks is that of the headless Service."""
    told = one("default", "ConfigMap", "-accounting")["data"]["gpuwatch.toml"]
    service = one("default", "Service", "-agent")

    assert "None" == service["spec"]["clusterIP"]
    assert 'names = ["http://gw-gpuwatch-agent.monitoring.svc:9838"]' in told


def test_the_web_configuration_is_one_that_the_daemons_read() -> None:
    """As web_config says of the rendered Secret."""
    secret = one("web", "Secret")
    document = yaml.safe_load(secret["stringData"]["web-config.yml"])

    assert ["prometheus"] == list(document["basic_auth_users"])
    assert web_config.validated(document, Path("/etc/gpuwatch/web/web-config.yml")).tls is not None


def test_monitors_name_nodes_and_jobs_as_the_rules_do() -> None:
    """`instance` and `node` are the node, `job` is what rules and dashboards ask for."""
    agents, accounting = one("full", "PodMonitor")["spec"], one("full", "ServiceMonitor")["spec"]
    of_agents = {each["targetLabel"]: each for each in agents["podMetricsEndpoints"][0]["relabelings"]}
    of_accounting = {each["targetLabel"]: each for each in accounting["endpoints"][0]["relabelings"]}

    for label in ("instance", "node"):
        assert ["__meta_kubernetes_pod_node_name"] == of_agents[label]["sourceLabels"]
    assert "gpuwatch-agent" == of_agents["job"]["replacement"]
    assert "gpuwatch-accounting" == of_accounting["job"]["replacement"]
    assert not agents["podMetricsEndpoints"][0]["honorLabels"] and not accounting["endpoints"][0]["honorLabels"]


def test_a_pinned_image_is_pinned() -> None:
    """By its digest in every container."""
    images = {each["image"] for each in containers(pod_of(one("full", "DaemonSet")))}

    assert {f"registry.example.org/gpuwatch@sha256:{'0123456789abcdef' * 4}"} == images
