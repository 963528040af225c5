"""What `gpuwatch check` says of whom accounting is to tell."""

from __future__ import annotations

from typing import Any

from gpuwatch import config
from gpuwatch.cli.notifier_inspection import notifiers
from gpuwatch.settings import Settings
from tests.notifiers.fake_alertmanager import fake_alertmanager


def said(probe: bool, **overrides: Any) -> list[tuple[str, str, str]]:
    settings = config.with_overrides(Settings(), overrides)
    return [(each.what, each.status, each.detail) for each in notifiers(settings, probe, 5.0, 1_764_000_000.0)]


def test_a_node_where_none_is_chosen_is_not_told_of_any() -> None:
    """The log is there by default, and needs no trial."""
    assert [] == said(True)


def test_one_that_needs_no_trial_is_loaded() -> None:
    """As the log."""
    assert [("notifiers.log", "ok", "loaded")] == said(True, **{"accounting.notifiers": ["log"]})


def test_an_alertmanager_is_tried_out_with_probe_alone() -> None:
    """A look at the configuration asks nobody."""
    with fake_alertmanager() as fake:
        chosen = {"accounting.notifiers": ["alertmanager"], "notifiers.alertmanager.urls": [fake.url]}
        looked, asked = said(False, **chosen), list(fake.asked)
        tried = said(True, **chosen)

    assert ([("notifiers.alertmanager", "ok", "loaded; --probe tries it out")], []) == (looked, asked)
    assert [(f"ask notifiers.alertmanager: {fake.url}", "ok", "takes alerts; Alertmanager 0.25.0")] == [
        tried[0]
    ]  # fmt: skip


def test_one_that_cannot_be_built_is_a_warning() -> None:
    """The agent of this node runs all the same."""
    ((what, status, _detail),) = said(False, **{"accounting.notifiers": ["carrier-pigeon"]})

    assert ("notifiers.carrier-pigeon", "warning") == (what, status)
