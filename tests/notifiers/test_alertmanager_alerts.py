"""Alerts as Alertmanager has them: the same as by the rules for Prometheus, and values nowhere but in words."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.model import Alert, Scope
from gpuwatch.notifiers.alertmanager_alerts import FIXED, Dress, Entry, Moment, document, labels_of
from gpuwatch.notifiers.kinds import KINDS

NOW = 1_764_000_000.0
MOMENT = Moment(NOW, NOW + 240.0)
WITHOUT_RULE = "health"
"""The rules for gpuwatch itself say what it does, and more."""

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
ALERT = Alert(
    "projected", Scope("job", "4711"), "energy", "warning", NOW - 60.0, 7.2e6, 3.6e6, "job 4711 needs 2 kWh"
)


def documented(
    alert: Alert = ALERT, ended: float | None = None, ahead: float = 0.0, dress: Dress | None = None
) -> dict[str, Any]:
    chosen = dress or Dress()
    return document(Entry(labels_of(alert, chosen), alert, ended), MOMENT, ahead, chosen)


def times(described: dict[str, Any]) -> tuple[float, float]:
    """When it starts and ends, as seconds from now."""
    parsed = [datetime.fromisoformat(described[name]).timestamp() - NOW for name in ("startsAt", "endsAt")]
    return parsed[0], parsed[1]


def rules() -> dict[str, dict[str, Any]]:
    """The rules of deploy/prometheus that are about what accounting decided, by kind."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in DEPLOY.glob("*.rules.yml")]
    found = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    kinds = [(re.search(r'gpuwatch_alert_active\{kind="(\w+)"\}', rule["expr"]), rule) for rule in found]
    return {match[1]: rule for match, rule in kinds if match}


def test_an_alert_has_all_that_alertmanager_asks_for() -> None:
    """Times as RFC 3339 has them, and the sentence that says it all."""
    dress = Dress({"cluster": "hydra"}, "https://wiki.example.org/gpuwatch/", "https://accounting:9839/")

    assert {
        "labels": {
            "alertname": "GpuwatchOverrunProjected", "cluster": "hydra", "kind": "projected", "quantity": "energy",
            "scope": "4711", "scope_kind": "job", "severity": "warning",
        },
        "annotations": {
            "summary": "A job, campaign or account is projected to use more than was declared for it.",
            "description": "job 4711 needs 2 kWh",
            "runbook_url": "https://wiki.example.org/gpuwatch/GpuwatchOverrunProjected",
            "value": "7.2e+06",
            "declared": "3.6e+06",
        },
        "startsAt": "2025-11-24T15:59:00.000Z",
        "endsAt": "2025-11-24T16:04:00.000Z",
        "generatorURL": "https://accounting:9839/",
    } == documented(dress=dress)  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != WITHOUT_RULE])
def test_names_and_summaries_are_those_of_the_rules(kind: str) -> None:
    """An alert that comes by Prometheus as well is the same one, with the same page."""
    rule = rules()[kind]
    ours = documented(replace(ALERT, kind=kind), dress=Dress(runbooks="https://gpuwatch.dev/runbooks"))

    assert (rule["alert"], rule["annotations"]["summary"]) == KINDS[kind][:2]
    assert rule["alert"] == ours["labels"]["alertname"]
    for name in ("summary", "runbook_url"):
        assert rule["annotations"][name] == ours["annotations"][name]
    assert {} == rule.get("labels", {})
    by = re.search(r"max by \(([^)]*)\)", rule["expr"])
    assert by is not None
    assert set(FIXED) == {"alertname", *by[1].split(", ")}


def test_every_kind_but_one_has_a_rule() -> None:
    """A kind that has none would come by accounting alone."""
    assert set(KINDS) - {WITHOUT_RULE} == set(rules())


def test_what_is_wrong_with_gpuwatch_itself_has_a_page_as_well() -> None:
    """Although no rule of Prometheus has its name."""
    health = replace(ALERT, kind=WITHOUT_RULE, scope=Scope("cluster", "hydra"), quantity="nodes")
    described = documented(health, dress=Dress(runbooks="https://r.example.org"))

    assert "GpuwatchHealth" == described["labels"]["alertname"]
    assert "https://r.example.org/GpuwatchHealth" == described["annotations"]["runbook_url"]


def test_a_kind_that_nobody_knows_has_a_name_and_no_page() -> None:
    """A plugin may have made it up."""
    described = documented(replace(ALERT, kind="cold_feet"), dress=Dress(runbooks="https://r.example.org"))

    assert "GpuwatchColdFeet" == described["labels"]["alertname"]
    assert "runbook_url" not in described["annotations"]


def test_a_value_is_no_part_of_the_identity() -> None:
    """In a label it would make another alert of it, each time."""
    later = replace(ALERT, value=9e6, declared=4e6, since=NOW, text="job 4711 needs 2.5 kWh")

    assert labels_of(ALERT, Dress()) == labels_of(later, Dress())


def test_the_labels_of_a_site_do_not_replace_ours() -> None:
    """What is empty is no label."""
    alert = replace(ALERT, quantity="")

    labels = dict(labels_of(alert, Dress({"cluster": "hydra", "kind": "x"})))
    assert ("hydra", "projected", False) == (labels["cluster"], labels["kind"], "quantity" in labels)


def test_an_active_alert_ends_where_it_is_not_renewed() -> None:
    """And begins when it was raised."""
    assert (-60.0, 240.0) == times(documented())


def test_an_alert_that_is_over_has_ended_when_it_did() -> None:
    """However late that is told."""
    assert (-60.0, -30.0) == times(documented(ended=NOW - 30.0))


def test_times_are_those_of_a_server_whose_clock_is_another() -> None:
    """By its own clock it would be over before it began."""
    assert (-60.0, 3840.0) == times(documented(ahead=3600.0))
    assert (-3600.0, -3360.0) == times(documented(ahead=-3600.0))


@given(
    st.floats(), st.none() | st.floats(NOW - 1e9, NOW + 1e9), st.floats(-1e8, 1e8),
)  # fmt: skip
def test_nothing_ends_before_it_starts(since: float, ended: float | None, ahead: float) -> None:
    """Whatever clocks did: an Alertmanager would refuse it."""
    starts, ends = times(documented(replace(ALERT, since=since), ended, ahead))

    assert starts <= ends
    assert ends <= ahead + (240.001 if ended is None else 0.001)


@given(st.text(max_size=300), st.text(max_size=300), st.floats())
def test_whatever_an_alert_says_it_is_one_that_alertmanager_takes(name: str, text: str, value: float) -> None:
    """Names are fixed, values valid UTF-8 on one line, and none is empty."""
    described = documented(replace(ALERT, scope=Scope("job", name), text=text, value=value))

    words = [*described["labels"].values(), *described["annotations"].values()]
    assert set(described["labels"]) <= set(FIXED)
    assert all(isinstance(each, str) and each and "\n" not in each and each.encode() for each in words)


def test_a_long_name_leaves_room_for_what_is_said_of_it() -> None:
    """Ten thousand letters of a name are no reason to lose the numbers behind it."""
    name = "x" * 10_000
    described = documented(replace(ALERT, scope=Scope("campaign", name), text=f"campaign {name} needs 2 kWh"))

    assert described["annotations"]["description"].endswith("x… needs 2 kWh")
    assert 128 == len(described["labels"]["scope"])


def test_markup_stays_as_it_was_written() -> None:
    """It is for whoever shows it to escape it in his own way; Alertmanager's pages and e-mails do."""
    name = "<!channel> <b>x</b> &amp; *bold* {{ .Labels }}"
    described = documented(replace(ALERT, scope=Scope("campaign", name), text=f"campaign {name} needs 2 kWh"))

    assert name == described["labels"]["scope"]
    assert f"campaign {name} needs 2 kWh" == described["annotations"]["description"]


def test_what_is_no_number_is_not_told() -> None:
    """Unknown is absent."""
    annotations = documented(replace(ALERT, value=float("nan"), declared=float("inf")))["annotations"]

    assert {"summary", "description"} == set(annotations)
