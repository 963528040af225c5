"""What `gpuwatch check` says of where accounting is to read usage."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch import config
from gpuwatch.cli.usage_inspection import probed, usage
from gpuwatch.model import Probe
from gpuwatch.settings import Settings
from tests.integration.debian import free_port
from tests.usage.fake_agent import FakeAgent, document, packed

NOW = 100.0


def said(probe: bool, **overrides: Any) -> list[tuple[str, str, str]]:
    settings = config.with_overrides(Settings(), overrides)
    return [(each.what, each.status, each.detail) for each in usage(settings, probe, 5.0, NOW)]


def test_a_node_where_accounting_does_not_run_is_not_asked() -> None:
    """Its configuration says nothing of it."""
    assert [] == said(True)


def test_nothing_is_asked_without_probe() -> None:
    """A thousand agents are not disturbed by a look at the configuration."""
    with FakeAgent(lambda _since: packed(document())) as agent:
        found = said(False, **{"usage.agents.urls": [agent.url]})

    assert ([("usage.agents", "ok", "loaded; --probe asks it")], []) == (found, agent.asked)


def test_each_agent_says_which_node_it_is() -> None:
    """One that does not answer is one warning."""
    gone = f"http://127.0.0.1:{free_port()}"
    with FakeAgent(lambda _since: packed(document())) as agent:
        found = said(True, **{"usage.agents.urls": [agent.url, gone]})

    assert [
        (f"ask usage.agents: {agent.url}", "ok", "node gw0, cluster default"),
        (f"ask usage.agents: {gone}", "warning", "Connection refused"),
    ] == found


@pytest.mark.parametrize(("now", "says"), [(400.0, "300 s ahead of ours"), (20.0, "80 s behind ours")])
def test_an_agent_whose_clock_is_wrong_is_a_warning(now: float, says: str) -> None:
    """Its jobs would not fit those of the batch system."""
    with FakeAgent(lambda _since: packed(document(now=now))) as agent:
        ((_, status, detail),) = said(True, **{"usage.agents.urls": [agent.url]})

    assert ("warning", f"its clock is {says}") == (status, detail)


def test_asking_takes_nothing_from_an_agent() -> None:
    """Only what is after everything is asked for, and nothing is acknowledged."""
    with FakeAgent(lambda _since: packed(document())) as agent:
        said(True, **{"usage.agents.urls": [agent.url]})

    assert ([2**63 - 1], []) == (agent.asked, agent.acknowledged)


def test_a_plugin_that_raises_stays_alone() -> None:
    """What it raises is the finding."""

    def check(_now: float) -> list[Probe]:
        raise RuntimeError("no such thing")

    ((what, status, detail),) = [
        (each.what, each.status, each.detail) for each in probed("sinks.mine", check, 5.0, NOW)
    ]
    assert ("ask sinks.mine", "warning", "RuntimeError: no such thing") == (what, status, detail)
