"""The example configuration for Alertmanager: who is told of what, and which alerts silence others."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gpuwatch.model import Scope
from gpuwatch.notifiers.alertmanager_alerts import Dress, labels_of
from gpuwatch.notifiers.kinds import KINDS
from tests.integration.alertmanager import GROUP_SECONDS, Alertmanager, Hook
from tests.integration.debian import REPOSITORY, run, wait_until
from tests.integration.test_alertmanager import SOON, alert, notifier, renew

pytestmark = pytest.mark.integration

SAMPLE = REPOSITORY / "deploy" / "alertmanager" / "alertmanager.yml"
Start = Callable[..., Alertmanager]


def test_the_sample_configuration_is_valid(amtool: Path) -> None:
    """As it is shipped."""
    checked = run(amtool, "check-config", SAMPLE)

    assert 0 == checked.returncode, checked.stderr
    assert "4 receivers" in checked.stdout


def test_the_samples_of_receivers_are_valid(amtool: Path, tmp_path: Path) -> None:
    """With every example switched on."""
    text = re.sub(r"(?m)^    # ((?:\w+_configs:|  ).*)$", r"    \1", SAMPLE.read_text(encoding="utf-8"))
    path = tmp_path / "alertmanager.yml"
    path.write_text(text, encoding="utf-8")

    checked = run(amtool, "check-config", path)

    assert 0 == checked.returncode, checked.stderr
    configured = [key for each in yaml.safe_load(text)["receivers"] for key in each if key.endswith("_configs")]
    assert ["pagerduty_configs", "email_configs", "slack_configs", "webhook_configs"] == configured


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (
            "alertname=GpuwatchSomethingNew kind=something_new scope_kind=job severity=critical",
            "operators-messages",
        ),
        ("alertname=GpuwatchDeviceLost severity=critical", "operators-pages"),
        ("alertname=GpuwatchDeviceLost severity=warning", "operators-messages"),
        ("alertname=GpuwatchSinkDown severity=info", "nobody"),
        ("alertname=SomebodyElses severity=critical", "operators-messages"),
    ],
)
def test_pages_are_for_operators_only(amtool: Path, labels: str, receiver: str) -> None:
    """Nobody is woken for an estimate that was wrong."""
    routed = run(amtool, "config", "routes", "test", f"--config.file={SAMPLE}", *labels.split())

    assert receiver == routed.stdout.strip()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("severity", ["info", "warning", "critical"])
def test_an_alert_of_accounting_goes_to_whoever_can_do_something_about_it(
    amtool: Path, kind: str, severity: str
) -> None:
    """By its kind: a job that is throttled is no affair of its owner. It pages nobody, however grave."""
    expected = {"owner": "researchers-messages", "operators": "operators-messages"}[KINDS[kind].audience]
    scopes = ["cluster"] if kind == "health" else ["job", "campaign", "account"]

    for scope in scopes:
        one = alert(kind=kind, scope=Scope(scope, "4711"), severity=severity)
        labels = [f"{name}={value}" for name, value in labels_of(one, Dress({"cluster": "hydra"}))]
        routed = run(amtool, "config", "routes", "test", f"--config.file={SAMPLE}", *labels)
        assert expected == routed.stdout.strip()


def test_one_alert_silences_another_of_the_same_job(alertmanager_server: Start, webhook: Hook) -> None:
    """By the rules of the sample: what hangs is idle as well, and nobody is told so twice."""
    told = notifier(alertmanager_server(webhook, inhibit=inhibit_rules()))
    quiet = [alert(name, kind="idle", quantity="device-hours") for name in ("1", "2", "3")]
    loud = [alert("1", kind="hung", quantity="device-hours"), alert("2", kind="no_start", quantity="device-hours")]
    over = [alert("4", kind="projected"), alert("4", kind="exceeded")]
    part = [alert("5", kind="idle", severity="info"), alert("5", kind="idle")]

    renew(told, *quiet, *loud, *over, *part)
    wait_until(lambda: len(webhook.told()) >= 5, SOON, "told")
    time.sleep(3 * GROUP_SECONDS)

    told_of = [tuple(each["labels"][name] for name in ("scope", "kind", "severity")) for each in webhook.alerts()]
    assert [
        ("1", "hung", "warning"), ("2", "no_start", "warning"), ("3", "idle", "warning"),
        ("4", "exceeded", "warning"), ("5", "idle", "warning"),
    ] == sorted(told_of)  # fmt: skip


def inhibit_rules() -> str:
    """Those of the sample."""
    return yaml.safe_dump({"inhibit_rules": yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))["inhibit_rules"]})


def test_the_sample_groups_by_labels_that_there_are() -> None:
    """A name that is wrong would put every alert into one message."""
    sample = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    ours = {name for name, _ in labels_of(alert(), Dress({"cluster": "hydra"}))} | {"instance", "uuid"}

    assert set(sample["route"]["group_by"]) <= ours
    assert {label for rule in sample["inhibit_rules"] for label in rule["equal"]} <= ours
