"""The Prometheus rules and the example configuration: what promtool says, and a runbook for each alert."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuwatch.notifiers.kinds import KINDS
from tests.integration.debian import REPOSITORY, run
from tests.integration.metrics import exported, named_in

DEPLOY = REPOSITORY / "deploy" / "prometheus"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
FILES = {path.name.removesuffix(".rules.yml"): path for path in sorted(DEPLOY.glob("*.rules.yml"))}
"""The rule files, by the part of their names that their tests have too."""


def rules_of(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def cases_of(name: str) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "tests" / f"{name}.test.yml").read_text())["tests"]
    return tests


ALL = [rule for path in FILES.values() for rule in rules_of(path)]
RECORDED = {rule["record"]: rule for rule in ALL if "record" in rule}
RULES = [rule for rule in ALL if "alert" in rule]
ALERTS = sorted({rule["alert"] for rule in RULES})
BY_ACCOUNTING_ALONE = "health"
"""A kind of alert without a rule: gpuwatch-self.rules.yml says the same, and also where accounting is gone."""
PAGES = sorted({*ALERTS, KINDS[BY_ACCOUNTING_ALONE].alertname})
FILE_OF = {rule["alert"]: name for name, path in FILES.items() for rule in rules_of(path) if "alert" in rule}


def seen_to_fire(alert: str) -> list[dict[str, str]]:
    """The labels of each instance of an alert that its tests expect."""
    return [
        found["exp_labels"]
        for test in cases_of(FILE_OF[alert])
        for each in test["alert_rule_test"]
        if each["alertname"] == alert
        for found in each["exp_alerts"]
    ]


CODES_AND_NAMES = {"uuid", "xid", "scope", "instance", "job"}


def recorded_in(text: str) -> set[str]:
    """The names with colons in a text: those of recording rules."""
    return set(re.findall(r"\b[a-z_]+:[a-z_]+:[a-z0-9_]+\b", text))


def without_recorded(text: str) -> str:
    """A text without the names of recording rules, which lack the `_total` of what they are of."""
    return re.sub(r"\b[a-z_]+:[a-z_]+:[a-z0-9_]+\b", " ", text)


@pytest.mark.integration
@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_rules_are_valid(promtool: Path, path: Path) -> None:
    """promtool reads the rule file, and has no lint to report."""
    checked = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", path)

    assert (0, "") == (checked.returncode, checked.stderr)


@pytest.mark.integration
@pytest.mark.parametrize("name", FILES)
def test_alerts_fire_when_they_should_and_not_before(promtool: Path, name: str) -> None:
    """The rule tests pass in Prometheus' own engine."""
    tested = run(promtool, "test", "rules", f"{name}.test.yml", cwd=DEPLOY / "tests")

    assert 0 == tested.returncode, tested.stdout + tested.stderr


@pytest.mark.integration
def test_example_configuration_is_valid(promtool: Path) -> None:
    """promtool reads the example configuration, finds its rule file, and warns of nothing."""
    checked = run(promtool, "check", "config", "--lint=all", "--lint-fatal", DEPLOY / "prometheus.yml")

    assert (0, "") == (checked.returncode, checked.stderr)
    assert f"{len(FILES)} rule files found" in checked.stdout


def test_example_configuration_loads_each_rule_file() -> None:
    """None is forgotten there, and each is named in the README."""
    loaded = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["rule_files"]
    readme = (DEPLOY / "README.md").read_text()

    assert {path.name for path in FILES.values()} == set(loaded)
    assert all(f"({each})" in readme for each in loaded)


def test_no_alert_is_in_two_files() -> None:
    """Who loads one of the files has all rules of its alerts."""
    names = [{rule["alert"] for rule in rules_of(path) if "alert" in rule} for path in FILES.values()]

    assert len(ALERTS) == sum(len(each) for each in names)


@pytest.mark.parametrize("alert", ALERTS)
def test_rule_tests_cover_firing_and_silence(alert: str) -> None:
    """Each alert is asserted not to fire at some time, and to fire at a later one of the same test."""
    asserted = [
        [bool(each["exp_alerts"]) for each in test["alert_rule_test"] if each["alertname"] == alert]
        for test in cases_of(FILE_OF[alert])
    ]

    assert any(each[:1] == [False] and True in each for each in asserted)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_severity_of_an_alert_is_seen_to_fire(rule: dict[str, Any]) -> None:
    """An alert of two rules, or two severities, has a case for each."""
    expected = rule.get("labels", {})

    assert any(expected.items() <= labels.items() for labels in seen_to_fire(rule["alert"]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_follows_the_conventions(rule: dict[str, Any]) -> None:
    """A static summary, a description of this case, a runbook by name, and a severity."""
    annotations = rule["annotations"]
    severity = rule.get("labels", {}).get("severity", "the metric's own")

    assert rule["alert"].startswith("Gpuwatch")
    assert re.fullmatch(r"[A-Z][^{}]*\.|gpuwatch [^{}]*\.", annotations["summary"])
    assert "{{ $labels." in annotations["description"]
    assert annotations["runbook_url"].endswith(f"/runbooks/{rule['alert']}")
    assert severity in {"critical", "warning", "info", "the metric's own"}
    assert severity != "the metric's own" or "severity" in rule["expr"]


def test_only_devices_wake_anybody() -> None:
    """What is wrong with telemetry waits for the morning; about jobs accounting decides."""
    critical = {rule["alert"] for rule in RULES if rule.get("labels", {}).get("severity") == "critical"}

    assert {"gpuwatch-devices"} == {FILE_OF[alert] for alert in critical}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_no_label_of_an_alert_is_a_value(rule: dict[str, Any]) -> None:
    """A value in a label would be a new alert each time that it changes."""
    numbers = {
        name
        for labels in seen_to_fire(rule["alert"])
        for name, value in labels.items()
        if re.fullmatch(r"[-+.\d]+%?", str(value))
    }

    assert not any("{{" in value for value in rule.get("labels", {}).values())
    assert set() == numbers - CODES_AND_NAMES


def test_xids_that_page_are_no_faults_of_programs() -> None:
    """Critical and other codes are apart, and what a program can do to itself is in neither; all are explained."""
    page = (RUNBOOKS / "GpuwatchDeviceXid.md").read_text()
    lists = [
        re.findall(r'xid=~"([\d|]+)"', rule["expr"])[0].split("|") for rule in RULES if "xid=~" in rule["expr"]
    ]
    codes = [code for each in lists for code in each]
    explained = {
        str(code) for row in re.findall(r"^\| ([\d, to]+) \|", page, flags=re.MULTILINE) for code in _numbers(row)
    }

    assert len(codes) == len(set(codes))
    assert set() == set(codes) & {"13", "31", "32", "43", "45", "63", "68", "69", "154"}
    assert explained == set(codes)


def _numbers(row: str) -> Iterable[int]:
    first, _, last = row.partition(" to ")
    return range(int(first), int(last) + 1) if last else [int(each) for each in row.split(",")]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule_names_only_exported_metrics(rule: dict[str, Any]) -> None:
    """No rule waits for a metric that nobody exports, or records."""
    text = rule["expr"] + rule.get("annotations", {}).get("description", "")

    assert set() == named_in(without_recorded(text)) - exported()
    assert set() == recorded_in(rule["expr"]) - set(RECORDED)


def test_recorded_series_are_named_by_the_conventions_and_used() -> None:
    """level:metric:operations, of a metric that is exported, for a rule that reads it."""
    used = {name for rule in RULES for name in recorded_in(rule["expr"])}

    assert set(RECORDED) == used
    for name, rule in RECORDED.items():
        level, metric, operations = name.split(":")
        assert {metric} <= {each.removesuffix("_total") for each in named_in(rule["expr"])}, name
        assert level and operations


def test_alerts_about_jobs_are_what_accounting_decided() -> None:
    """No rule on jobs has a threshold or a delay of its own."""
    about_jobs = [rule for rule in RULES if "gpuwatch_alert_active" in rule["expr"]]
    decided = "max by (kind, scope_kind, scope, quantity, severity) (gpuwatch_alert_active{kind="

    assert about_jobs == rules_of(FILES["gpuwatch-jobs"])
    assert all(rule["expr"].startswith(decided) and "for" not in rule for rule in about_jobs)
    assert {"2m"} == {rule["keep_firing_for"] for rule in about_jobs}


def test_there_is_a_rule_for_each_kind_of_alert_in_its_words() -> None:
    """One each, in the order of the catalogue, but for what is wrong with gpuwatch itself."""
    rules = [
        (re.findall(r'kind="(\w+)"', rule["expr"]), rule["alert"], rule["annotations"]["summary"])
        for rule in rules_of(FILES["gpuwatch-jobs"])
    ]
    kinds = {name: kind for name, kind in KINDS.items() if name != BY_ACCOUNTING_ALONE}

    assert [([name], kind.alertname, kind.summary) for name, kind in kinds.items()] == rules


def test_no_rule_reads_what_is_only_observed() -> None:
    """Nobody is told of it, not by Prometheus either: no rule names its metric, and none asks for any metric."""
    text = "".join(path.read_text() for path in FILES.values())

    assert {"gpuwatch_alert_active"} == {name for name in named_in(text) if name.startswith("gpuwatch_alert_")}
    assert "__name__" not in text


def test_there_is_a_runbook_for_each_alert_and_no_other() -> None:
    """The pages are named as the alerts."""
    assert PAGES == sorted(page.stem for page in RUNBOOKS.glob("Gpuwatch*.md"))
    assert {kind.alertname for kind in KINDS.values()} <= set(PAGES)


@pytest.mark.integration
def test_queries_of_runbooks_are_valid(promtool: Path, tmp_path: Path) -> None:
    """Each line of a runbook that asks Prometheus is an expression that it reads."""
    lines = {
        line.strip()
        for page in RUNBOOKS.glob("Gpuwatch*.md")
        for line in re.findall(r"^ {4}(\S.+)$", page.read_text(), flags=re.MULTILINE)
        if named_in(line) & exported()
    }
    rules = [{"record": f"runbook:line:{number}", "expr": line} for number, line in enumerate(sorted(lines))]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))

    checked = run(promtool, "check", "rules", tmp_path / "rules.yml")

    assert (0, "") == (checked.returncode, checked.stderr)
    assert rules


@pytest.mark.parametrize("alert", PAGES)
def test_runbook_is_specific(alert: str) -> None:
    """A runbook says what the alert means, what to look at and what to do, and names a metric of its rule."""
    page = (RUNBOOKS / f"{alert}.md").read_text()
    expressions = " ".join(rule["expr"] for rule in RULES if rule["alert"] == alert)
    expressions += " ".join(RECORDED[name]["expr"] for name in recorded_in(expressions))
    headings = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    about = named_in(without_recorded(expressions)) or ({'up{job="'} if expressions else exported())

    assert page.startswith(f"# {alert}\n")
    assert ["Meaning", "Impact", "Diagnosis", "Mitigation"] == headings
    assert any(name in page for name in about)
    assert set() == named_in(page) - exported()
    assert re.search(r"^ {4}\S", page, flags=re.MULTILINE), "no command to run"
