"""The Prometheus rules and the example configuration: what promtool says, and a runbook for each alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuwatch.accounting.alerts import KINDS
from tests.integration.debian import REPOSITORY, run
from tests.integration.metrics import exported, named_in

DEPLOY = REPOSITORY / "deploy" / "prometheus"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "gpuwatch.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = sorted({rule["alert"] for rule in RULES})
TESTS = yaml.safe_load((DEPLOY / "tests" / "gpuwatch.rules.test.yml").read_text())["tests"]


@pytest.mark.integration
def test_rules_are_valid(promtool: Path) -> None:
    """promtool reads the rule file, and has no lint to report."""
    checked = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", DEPLOY / "gpuwatch.rules.yml")

    assert (0, "") == (checked.returncode, checked.stderr)


@pytest.mark.integration
def test_alerts_fire_when_they_should_and_not_before(promtool: Path) -> None:
    """The rule tests pass in Prometheus' own engine."""
    tested = run(promtool, "test", "rules", "gpuwatch.rules.test.yml", cwd=DEPLOY / "tests")

    assert 0 == tested.returncode, tested.stdout + tested.stderr


@pytest.mark.integration
def test_example_configuration_is_valid(promtool: Path) -> None:
    """promtool reads the example configuration, finds its rule file, and warns of nothing."""
    checked = run(promtool, "check", "config", "--lint=all", "--lint-fatal", DEPLOY / "prometheus.yml")

    assert (0, "") == (checked.returncode, checked.stderr)
    assert "1 rule files found" in checked.stdout


@pytest.mark.parametrize("alert", ALERTS)
def test_rule_tests_cover_firing_and_silence(alert: str) -> None:
    """Each alert is asserted to fire at some time and not to fire at some other."""
    asserted = [each for test in TESTS for each in test["alert_rule_test"] if each["alertname"] == alert]

    assert {True, False} == {bool(each["exp_alerts"]) for each in asserted}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_follows_the_conventions(rule: dict[str, Any]) -> None:
    """A static summary, a description of this case, a runbook by name, and a severity."""
    annotations = rule["annotations"]
    severity = rule.get("labels", {}).get("severity", "the metric's own")

    assert rule["alert"].startswith("Gpuwatch")
    assert re.fullmatch(r"[A-Z][^{}]*\.|gpuwatch [^{}]*\.", annotations["summary"])
    assert "{{ $labels." in annotations["description"]
    assert annotations["runbook_url"].endswith(f"/runbooks/{rule['alert']}")
    assert severity in {"warning", "the metric's own"}
    assert severity == "warning" or "severity" in rule["expr"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rule_names_only_exported_metrics(rule: dict[str, Any]) -> None:
    """No rule waits for a metric that nobody exports."""
    text = rule["expr"] + rule["annotations"]["description"]

    assert set() == named_in(text) - exported()


def test_alerts_about_jobs_are_what_accounting_decided() -> None:
    """No rule on jobs has a threshold or a delay of its own."""
    about_jobs = [rule for rule in RULES if "gpuwatch_alert_active" in rule["expr"]]
    decided = "max by (kind, scope_kind, scope, quantity, severity) (gpuwatch_alert_active{kind="

    assert set(KINDS) == {re.findall(r'kind="(\w+)"', rule["expr"])[0] for rule in about_jobs}
    assert all(rule["expr"].startswith(decided) and "for" not in rule for rule in about_jobs)


def test_there_is_a_runbook_for_each_alert_and_no_other() -> None:
    """The pages are named as the alerts."""
    assert ALERTS == sorted(page.stem for page in RUNBOOKS.glob("Gpuwatch*.md"))


@pytest.mark.parametrize("alert", ALERTS)
def test_runbook_is_specific(alert: str) -> None:
    """A runbook says what the alert means, what to look at and what to do, and names a metric of its rule."""
    page = (RUNBOOKS / f"{alert}.md").read_text()
    expressions = " ".join(rule["expr"] for rule in RULES if rule["alert"] == alert)
    headings = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    about = named_in(expressions) or {'up{job="'}

    assert page.startswith(f"# {alert}\n")
    assert ["Meaning", "Impact", "Diagnosis", "Mitigation"] == headings
    assert any(name in page for name in about)
    assert set() == named_in(page) - exported()
    assert re.search(r"^ {4}\S", page, flags=re.MULTILINE), "no command to run"
