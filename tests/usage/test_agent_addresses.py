"""Where agents are: ranges, files of targets, names with an address for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuwatch.model import Site
from gpuwatch.usage.agent_addresses import MOST_AGENTS, Addresses, expanded
from gpuwatch.usage.agents import AgentsUsage
from gpuwatch.usage.base import Asking, Delivery, Failure
from tests.usage.fake_agent import FakeAgent, document, packed


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://gpu1:9838", ["http://gpu1:9838"]),
        ("http://gpu[1-3]:9838", ["http://gpu1:9838", "http://gpu2:9838", "http://gpu3:9838"]),
        ("http://gpu[08-10,12]:1/", ["http://gpu08:1", "http://gpu09:1", "http://gpu10:1", "http://gpu12:1"]),
        ("https://r[1-2]n[1-2]:1", [f"https://r{rack}n{node}:1" for rack in (1, 2) for node in (1, 2)]),
        ("http://[::1]:9838", ["http://[::1]:9838"]),
    ],
)
def test_ranges_are_written_as_the_batch_system_writes_them(url: str, addresses: list[str]) -> None:
    """With leading zeros where there are some; an address of IPv6 is no range."""
    assert addresses == list(expanded(url))


@given(st.integers(0, 9999), st.integers(0, 200), st.integers(1, 6))
def test_a_range_has_each_of_its_hosts_once(first: int, more: int, width: int) -> None:
    """As many as it says, all of them different, and as wide as the first one."""
    low = str(first).zfill(width)

    hosts = expanded(f"http://n[{low}-{first + more}]:1")

    assert more + 1 == len(set(hosts)) == len(hosts)
    assert f"http://n{low}:1" == hosts[0]


@pytest.mark.parametrize("url", ["http://gpu[3-1]:1", f"http://gpu[1-{MOST_AGENTS + 1}]:1", "gpu[1-3]:1"])
def test_what_is_no_range_of_addresses_is_a_mistake_of_the_configuration(url: str) -> None:
    """One that falls, one that is too long, one without a scheme."""
    with pytest.raises(ValidationError, match="must be"):
        AgentsUsage.Settings(urls=(url,))


def test_too_many_addresses_are_counted_before_they_are_made() -> None:
    """Ranges multiply."""
    with pytest.raises(ValueError, match="is 1,000,000,000"):
        expanded("http://a[1-1000]b[1-1000]c[1-1000]:1")


def test_agents_beyond_the_most_are_told_and_not_read() -> None:
    """Never in silence."""
    found, failures = Addresses([f"http://n{number}:1" for number in range(MOST_AGENTS + 2)]).now()

    assert MOST_AGENTS == len(found)
    assert {"usage.agents": "50,002 agents are named; those beyond 50,000 are not read"} == failures


def test_targets_of_prometheus_are_read_as_it_reads_them(tmp_path: Path) -> None:
    """JSON and YAML, by a pattern, over TLS where the label says so; a target of two files is one agent."""
    (tmp_path / "a.json").write_text(
        json.dumps([{"targets": ["gpu1:9838", "gpu2:9838"], "labels": {"rack": "7"}}])
    )
    (tmp_path / "b.yml").write_text(
        "- targets: ['gpu2:9838']\n- targets: ['gpu3:1']\n  labels: {__scheme__: https}\n"
    )

    found, failures = Addresses((), [str(tmp_path / "*")]).now()

    assert ("http://gpu1:9838", "http://gpu2:9838", "https://gpu3:1") == found
    assert {} == failures


@pytest.mark.parametrize("text", ["{", '{"targets": []}', '[{"targets": "gpu1:1"}]', '[{"targets": ["a b"]}, 7]'])
def test_a_file_that_cannot_be_read_is_told_and_what_it_said_last_holds(tmp_path: Path, text: str) -> None:
    """As with Prometheus, half a file takes no agent away."""
    path = tmp_path / "targets.json"
    path.write_text('[{"targets": ["gpu1:9838"]}]')
    addresses = Addresses((), [str(path)])
    before, _ = addresses.now()
    path.write_text(text)

    found, failures = addresses.now()

    assert before == found == ("http://gpu1:9838",)
    assert [str(path)] == list(failures)


def test_an_agent_that_is_no_longer_listed_is_no_longer_asked(tmp_path: Path) -> None:
    """What a file says now is what counts."""
    path = tmp_path / "targets.json"
    path.write_text('[{"targets": ["gpu1:9838", "gpu2:9838"]}]')
    addresses = Addresses((), [str(path)])
    addresses.now()
    path.write_text('[{"targets": ["gpu2:9838"]}]')

    assert ("http://gpu2:9838",) == addresses.now()[0]


def test_a_name_is_an_agent_for_each_of_its_addresses() -> None:
    """By the resolver, with the port of the name."""
    found, failures = Addresses((), names=["http://localhost:9838"]).now()

    assert {} == failures
    assert set(found) <= {"http://127.0.0.1:9838", "http://[::1]:9838"}
    assert found


def test_a_name_that_is_not_known_is_told() -> None:
    """And nothing is asked."""
    found, failures = Addresses((), names=["http://nobody.invalid:9838"]).now()

    assert () == found
    assert "cannot be resolved" in failures["http://nobody.invalid:9838"]


def test_agents_of_a_file_are_read_and_its_mistakes_told(tmp_path: Path) -> None:
    """The default address is not asked beside them."""
    with FakeAgent(lambda _since: packed(document())) as agent:
        (tmp_path / "a.json").write_text(json.dumps([{"targets": [agent.url.removeprefix("http://")]}]))
        (tmp_path / "b.json").write_text("{")
        usage = AgentsUsage(AgentsUsage.Settings(files=(str(tmp_path / "*.json"),)), Site())

        found = list(usage.collect(Asking(0.0, {})))

    assert [str(tmp_path / "b.json")] == [each.origin for each in found if isinstance(each, Failure)]
    assert [agent.url] == [each.origin for each in found if isinstance(each, Delivery)]
