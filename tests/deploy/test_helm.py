"""The Helm chart with Helm itself and with Kubernetes' published schemas, where they are to be had."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import chart

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("helm")]

MODELS = Path(__file__).resolve().parent / "kubernetes_models"
NPM_SECONDS = 120
NODE_SECONDS = 60


@pytest.fixture(scope="module")
def helm() -> Path:
    """Helm; without it these tests are skipped, and what was rendered once is all that is looked at."""
    found = chart.helm()
    if found is None:
        pytest.skip("no helm: the chart is NOT rendered anew; `make charts` builds Helm (three minutes)")
    return found


@pytest.fixture(scope="module")
def models() -> Path:
    """The published schemas as npm installs them; without npm or its registry the tests are skipped."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no npm: the rendered chart is NOT held to the published schemas")
    folder = chart.REPOSITORY / ".cache" / "kubernetes_models"
    shutil.copytree(MODELS, folder, dirs_exist_ok=True)
    command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
    if not (folder / "node_modules" / ".package-lock.json").exists():
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
        )
        if done.returncode:
            pytest.skip(f"npm ci failed, the chart is NOT held to the published schemas: {done.stderr[-300:]}")
    return folder


def validated(models: Path, things: list[dict[str, Any]]) -> str:
    """What the schemas have against the objects."""
    return subprocess.run(
        ["node", "validate.mjs"],
        cwd=models,
        input=json.dumps(things),
        capture_output=True,
        text=True,
        timeout=NODE_SECONDS,
        check=False,
    ).stdout


@pytest.mark.parametrize("case", chart.CASES)
def test_what_is_kept_is_what_helm_renders(helm: Path, case: str) -> None:
    """The golden files that all other tests read."""
    rendered = chart.rendered(helm, "--values", str(chart.CASES[case]))

    assert (chart.GOLDEN / f"{case}.yaml").read_text() == chart.kept(rendered)


@pytest.mark.parametrize("case", chart.CASES)
def test_helm_has_nothing_to_say(helm: Path, case: str) -> None:
    """`helm lint --strict`."""
    linted = chart.run(helm, "lint", "--strict", "--quiet", str(chart.CHART), "--values", str(chart.CASES[case]))

    assert (0, "") == (linted.returncode, linted.stderr)


@pytest.mark.parametrize("case", chart.CASES)
def test_published_schemas_accept_every_object(models: Path, case: str) -> None:
    """Kubernetes' and the Prometheus operator's, with the rules where Helm is there."""
    helm = chart.helm()
    kept = (chart.GOLDEN / f"{case}.yaml").read_text()
    text = kept if helm is None else chart.rendered(helm, "--values", str(chart.CASES[case]))

    assert "" == validated(models, chart.objects(text))


def test_published_schemas_do_not_accept_anything(models: Path) -> None:
    """A port that is an object, and a monitor whose interval is none."""
    things = chart.objects((chart.GOLDEN / "web.yaml").read_text())
    for each in things:
        if each["kind"] == "DaemonSet":
            each["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "http"
        if each["kind"] == "PodMonitor":
            each["spec"]["podMetricsEndpoints"][0]["interval"] = "soon"

    told = validated(models, things)
    assert ["DaemonSet/gw-gpuwatch-agent", "PodMonitor/gw-gpuwatch-agent"] == sorted(
        line.partition(":")[0] for line in told.splitlines() if "/" in line.partition(":")[0]
    )


def test_rules_are_those_of_the_files(helm: Path) -> None:
    """Every alert and record with its expression, times and words; the templates in them are Prometheus' own."""
    text = chart.rendered(helm, "--set", "prometheusRule.enabled=true")
    things = {each["metadata"]["name"]: each for each in chart.objects(text) if each["kind"] == "PrometheusRule"}
    files = {path.name: yaml.safe_load(path.read_text()) for path in
             (chart.REPOSITORY / "deploy" / "prometheus").glob("*.rules.yml")}  # fmt: skip

    assert {f"gw-{name.removesuffix('.rules.yml')}": document["groups"] for name, document in files.items()} == {
        name: each["spec"]["groups"] for name, each in things.items()
    }


def test_rules_can_be_left_out_and_labelled(helm: Path) -> None:
    """And their pages may be a site's own."""
    text = chart.rendered(helm, "--values", str(chart.CASES["full"]))
    rules = [
        rule
        for each in chart.objects(text)
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    pages = {rule["annotations"]["runbook_url"] for rule in rules}

    assert rules and "GpuwatchDeviceXid" not in {rule["alert"] for rule in rules}
    assert {"hpc"} == {rule["labels"]["team"] for rule in rules}
    assert {f"https://wiki.example.org/gpuwatch/{rule['alert']}" for rule in rules} == pages


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("agent.confg.x=1", "agent: Additional property confg is not allowed"),
        ("agent.config.meter.busy_ratoi=0.1", "agent.config.meter: Additional property busy_ratoi is not allowed"),
        ("agent.config.agent.listen=:1", "agent.config.agent: Additional property listen is not allowed"),
        ("agent.config.meter.busy_ratio=2", "agent.config.meter.busy_ratio: Must be less than or equal to 1"),
        ("accounting.config.usage.promql.headres=1", "promql: Additional property headres is not allowed"),
        ("agent.tpu.devicePlugin.port=0", "agent.tpu.devicePlugin.port: Must be greater than or equal to 1"),
        ("agent.hostPower.enabled=true,agent.hostAccess.enabled=false", "agent.hostPower.enabled: the helper of"),
        ("agent.gpuAccess=all", "agent.gpuAccess must be one of the following"),
        ("podMonitor.interval=soon", "podMonitor.interval: Does not match pattern"),
        ("accounting.postgresql.url=postgresql://u:p@h/d", "accounting.postgresql.url: has a password in it"),
        ("web.tls.enabled=true", "web.tls.existingSecret: there must be a Secret with tls.crt and tls.key"),
        ("web.basicAuth.users.ada=hunter2", "web.basicAuth.users.ada: is no bcrypt hash"),
    ],
)
def test_mistakes_are_told_before_anything_is_installed(helm: Path, setting: str, words: str) -> None:
    """By the name of the value, and without a password."""
    told = chart.run(helm, "template", "gw", str(chart.CHART), "--set", setting)

    assert 1 == told.returncode
    assert words in told.stderr
    assert "hunter2" not in told.stderr


def test_the_notes_say_what_is_missing(helm: Path, tmp_path: Path) -> None:
    """The label that kube-prometheus-stack wants, a node that must be prepared, a ledger that is not kept."""

    notes = '{{ include "gpuwatch.notes" . | toJson }}'
    extra = f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: notes}}, data: {{notes: {notes}}}}}"

    def told(*settings: str, version: str = chart.KUBERNETES) -> str:
        (tmp_path / "notes.yaml").write_text(json.dumps({"extraManifests": [extra]}))
        sets = [word for each in settings for word in ("--set", each)]
        text = chart.rendered(helm, "--values", str(tmp_path / "notes.yaml"), *sets, version=version)
        found = [each["data"]["notes"] for each in chart.objects(text) if "notes" in each.get("data", {})]
        return str(found[0])

    monitors, plugin = "podMonitor.enabled=true", "agent.tpu.devicePlugin.enabled=true"
    others = "agent.otherUsers.enabled=true"
    gke = "1.31.5-gke.1023000"
    assert "Nothing scrapes this yet" in told()
    assert "--set podMonitor.additionalLabels.release=NAME" in told(monitors)
    assert "release=NAME" not in told(monitors, "podMonitor.additionalLabels.release=monitoring")
    assert "agent.hostAccess is off" in told("agent.hostAccess.enabled=false")
    assert (False, True, False) == tuple(
        "This is GKE" in each for each in (told(), told(version=gke), told(plugin, version=gke))
    )
    assert "-- setpriv --reuid=65534" in told(others) and "-- gpuwatch check" in told()
    assert "shows the processes of this pod alone" in told(others, "agent.hostPID=false")
    assert "The ledger is gone with the pod" in told("accounting.persistence.enabled=false")


def test_schemas_are_pinned_and_name_no_registry() -> None:
    """Versions are exact, and the lock says what the bytes are but not from where they come."""
    wanted = json.loads((MODELS / "package.json").read_text())["dependencies"]
    locked = (MODELS / "package-lock.json").read_text()
    packages = json.loads(locked)["packages"]

    assert "://" not in locked
    assert wanted == {name: packages[f"node_modules/{name}"]["version"] for name in wanted}
    assert all("integrity" in each for name, each in packages.items() if name)
