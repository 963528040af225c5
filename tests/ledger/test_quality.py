"""How far figures can be trusted, and what they miss."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.facts import Line
from gpuwatch.ledger.jobs import Campaign
from gpuwatch.ledger.quality import Quality, difference_text, partial_text, quality_document, quality_of
from gpuwatch.model import Scope, Usage
from tests.ledger.batch import HOUR, record, running
from tests.ledger.made import job, line, run

ALL = frozenset({("default", "gw0"), ("default", "gw1"), ("default", "gw2")})


def held(hours: float = 1.0, unmeasured: float = 0.0, unknown: float = 0.0, **changed: Any) -> Line:
    """A device held for so many hours, without a measurement of energy and of its state for some."""
    usage = Usage(
        held_seconds=hours * HOUR,
        energy_unmeasured_seconds=unmeasured * HOUR,
        state_seconds={"working": (hours - unknown) * HOUR, "unknown": unknown * HOUR},
        energy_joules={"counter": 1e6} if unmeasured < hours else {},
        energy_gap_seconds=unmeasured * HOUR / 2,
    )
    return line(usage, **changed)


def test_a_job_that_was_measured_all_of_the_time_is_whole() -> None:
    """Its energy by the counter, its hours by the batch system."""
    quality = quality_of(job(run([held()], allocated_seconds=HOUR), record=record()), ALL)

    assert {"allocated": HOUR} == quality.hours.amounts
    assert ({"counter": 1e6}, HOUR, 1.0, None) == (
        quality.energy.amounts, quality.energy.covered_seconds, quality.energy.coverage, quality.energy.longest_gap
    )  # fmt: skip
    assert ({"measured": HOUR}, 1.0) == (quality.states.amounts, quality.states.coverage)
    assert ("", "") == (partial_text(quality.energy), difference_text(quality))
    assert not any((figure.partial, figure.gaps) != (False, ()) for figure in quality.figures)


def test_a_node_without_an_agent_is_named() -> None:
    """One of two nodes has none: half is measured, and half of the allocation was seen to be held."""
    made = job(run([held(4)], allocated_seconds=8 * HOUR), nodes=("gw0", "gw2"), record=running(devices=8.0))

    quality = quality_of(made, ALL - {("default", "gw2")})

    assert "partial: 50 % of the charged time measured; node gw2 has no agent" == partial_text(quality.energy)
    assert "held less than allocated: 50 % of it; node gw2 has no agent" == difference_text(quality)
    assert not quality.hours.partial


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (("gw0", "gw2"), "no agent saw it on gw2"),
        (("gw0",), "agents were away, or did not see all of its devices"),
        (("gw0", "gw7", "gw8"), "nodes gw7, gw8 have no agent"),
    ],
)
def test_time_that_no_agent_saw_has_a_reason(nodes: tuple[str, ...], why: str) -> None:
    """Its agent saw nothing, or not all; nobody is there."""
    made = job(run([held(1)], allocated_seconds=2 * HOUR), nodes=nodes, record=record())

    assert [why] == [gap.why for gap in quality_of(made, ALL).energy.gaps]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([held(1, 1, 1)], "no measurement of device GPU-0 on gw0"),
        ([held(1, 1)], "no energy to be read of device GPU-0 on gw0"),
        ([held(1, 0.5, 0.5)], "the agent was away, or could not read device GPU-0 on gw0"),
        ([held(1, 0.5)], "the energy of device GPU-0 on gw0 could not be read all of the time"),
        ([held(1, 1), held(1, 1, uuid="GPU-1")], "no energy to be read of 2 devices on gw0"),
    ],
)
def test_held_time_without_energy_has_a_reason(lines: list[Line], why: str) -> None:
    """By what is known of its state at the time."""
    (gap,) = quality_of(job(run(lines)), ALL).energy.gaps

    assert (why, sum(each.usage.energy_unmeasured_seconds for each in lines)) == gap


def test_below_nine_tenths_is_partial() -> None:
    """Ten per cent may be missing, a little more may not."""
    qualities = [quality_of(job(run([held(1, unmeasured)]))) for unmeasured in (0.1, 0.11)]

    assert [(0.9, False), (0.89, True)] == [
        (pytest.approx(each.energy.coverage), each.energy.partial) for each in qualities
    ]
    assert 0.055 * HOUR == pytest.approx(qualities[1].energy.longest_gap)


def test_devices_that_the_batch_system_does_not_tell_make_hours_partial() -> None:
    """Nothing is charged, and that is not the whole."""
    quality = quality_of(job(run(), record=record(devices=None)), ALL)

    assert (None, True) == (quality.hours.coverage, quality.hours.partial)
    assert "partial: the batch system does not say how many devices it had" == partial_text(quality.hours)


@pytest.mark.parametrize(
    ("held_hours", "allocated_hours", "differs"),
    [
        (98.0, 100.0, True),
        (102.0, 100.0, True),
        (99.5, 100.0, False),
        (0.12, 0.15, False),  # a job of minutes: 108 s apart
        (1.0, 1.06, True),
    ],
)
def test_held_and_allocated_differ_by_more_than_their_edges(
    held_hours: float, allocated_hours: float, differs: bool
) -> None:
    """More than one per cent, and more than two minutes of each device."""
    made = job(run([held(held_hours)], allocated_seconds=allocated_hours * HOUR), record=running(devices=1.0))

    assert differs == quality_of(made).differs


def test_edges_are_those_of_each_device() -> None:
    """64 devices seen 90 s late are 96 device-minutes, and no difference."""
    allocated = 64 * HOUR

    made = job(run([held(64 - 64 * 90 / HOUR)], allocated_seconds=allocated), record=running(devices=64.0))

    assert not quality_of(made).differs


@pytest.mark.parametrize("made", [job(run([held()])), job(run(allocated_seconds=HOUR), record=record())])
def test_one_of_the_two_alone_is_not_compared(made: Any) -> None:
    """No batch system; no agent."""
    quality = quality_of(made)

    assert (None, False) == (quality.difference, quality.differs)


def test_what_is_held_beyond_the_allocation_is_said() -> None:
    """More than it was given, or anything where it was given nothing."""
    more, none = (
        quality_of(job(run([held(3)], allocated_seconds=hours * HOUR), record=record())) for hours in (2, 0)
    )

    assert ("held more than allocated: 150 % of it", 0.5) == (difference_text(more), more.difference)
    assert ("held without an allocation", None) == (difference_text(none), none.difference)


def test_a_campaign_is_the_sum_of_its_jobs() -> None:
    """What one job was seen to hold beyond its charge does not cover what another lacks."""
    more = job(run([held(3)], allocated_seconds=2 * HOUR), name="7", record=record())
    none = job(run(allocated_seconds=2 * HOUR), name="8", nodes=("gw7",), record=record("8"))

    quality = quality_of(Campaign(Scope("campaign", "llama"), (more, none)), ALL)

    assert (2 * HOUR, 4 * HOUR, 0.5) == (
        quality.energy.covered_seconds, quality.energy.charged_seconds, quality.energy.coverage
    )  # fmt: skip
    assert [("node gw7 has no agent", 2 * HOUR)] == list(quality.energy.gaps)
    assert (2 * HOUR, 3 * HOUR) == (quality.allocated_seconds, quality.held_seconds)


def test_what_is_not_explained_is_judged_the_same() -> None:
    """Metrics need no reasons."""
    made = job(run([held(1, 0.5)], allocated_seconds=2 * HOUR), nodes=("gw0", "gw7"), record=record())

    full, brief = quality_of(made, ALL), quality_of(made, explain=False)

    assert (full.energy.partial, full.differs) == (brief.energy.partial, brief.differs) == (True, True)
    assert () == brief.energy.gaps


_parts = st.floats(0, 100)
_lines = st.builds(
    lambda hours, unmeasured, unknown: held(hours, hours * unmeasured, hours * unknown),
    _parts, st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
_qualities = st.builds(
    lambda lines, allocated: quality_of(job(run(lines, allocated_seconds=allocated), record=record()), ALL),
    st.lists(_lines, max_size=3),
    st.none() | _parts.map(lambda hours: hours * HOUR),
)


@given(_qualities)
def test_every_quality_is_a_document(quality: Quality) -> None:
    """Coverage lies between 0 and 1, and what is partial says so in words and in JSON."""
    document = json.loads(json.dumps(quality_document(quality), allow_nan=False))

    for figure in quality.figures:
        assert figure.coverage is None or 0 <= figure.coverage <= 1
        assert figure.partial == bool(partial_text(figure)) == document["figures"][figure.kind]["partial"]
    assert quality.differs == bool(difference_text(quality)) == document["allocation_differs"]


def test_the_document_has_all_that_is_known() -> None:
    """Units are base units; null is what nobody knows."""
    made = job(run([held(4)], allocated_seconds=8 * HOUR), nodes=("gw0", "gw7"), record=running(devices=8.0))

    document = quality_document(quality_of(made, ALL))

    assert {
        "unit": "J",
        "by_method": {"counter": 1e6},
        "covered_device_seconds": 4 * HOUR,
        "charged_device_seconds": 8 * HOUR,
        "coverage_ratio": 0.5,
        "partial": True,
        "longest_gap_seconds": None,
        "missing": [{"why": "node gw7 has no agent", "device_seconds": 4 * HOUR}],
    } == document["figures"]["energy"]
    assert (-0.5, True) == (document["allocation_difference_ratio"], document["allocation_differs"])
