"""FLOP by tags: of what was done, once for a chain, and not of a part of the time."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch import specs
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.records import allocated_seconds
from gpuwatch.model import Progress
from gpuwatch.reports.figures import summed
from gpuwatch.reports.flop import Computed, computed
from gpuwatch.reports.material import Asked, Material, Tagged
from gpuwatch.reports.pieces import pieces_of
from tests.ledger import made as jobs
from tests.ledger.batch import HOUR, T0, record

TAGS = {"params": "7B", "tokens": "1e12"}
FLOP = 6 * 7e9 * 1e12
H100 = "NVIDIA H100 80GB HBM3"


def job(name: str, begins: float, state: str = "COMPLETED", progress: Progress | None = None) -> Job:
    """A job of two H100 for an hour."""
    told = record(name, started=T0 + begins, ended=T0 + begins + HOUR, state=state, name="train")
    run = jobs.run(
        started=int(T0 + begins), last_seen=T0 + begins + HOUR, outcome=state, progress=progress,
        allocated_seconds=allocated_seconds(told, T0 + 100 * HOUR),
    )  # fmt: skip
    return jobs.job(run, name=name, state="ended", record=told, models=(H100,), progress=progress)


def flop(*tagged: tuple[Job, dict[str, str]], given: float | None = None, whole: bool = True) -> Computed:
    material = Material(Asked("campaign", "x"), T0 + 100 * HOUR, tuple(Tagged(*each) for each in tagged), {}, {})
    pieces = pieces_of(material)
    return computed(pieces, summed(pieces), given, specs.lookup, whole)


def at(step: float, begin: float, time: float) -> Progress:
    """So many of 100 steps."""
    return Progress(step, 100.0, begin, T0 + time)


def test_a_job_that_ended_well_did_all_of_it() -> None:
    """6ND, of the peak that the tag's precision has."""
    found = flop((job("1", 0), {**TAGS, "precision": "fp8"}))

    assert (FLOP, 1, 0, 7e9, 1e12) == (found.flop, found.jobs, found.left_out, found.parameters, found.tokens)
    assert found.utilization == pytest.approx(FLOP / (2 * HOUR * 1979e12))
    assert "1,979 TFLOP/s fp8 dense" in found.peak


def test_a_job_that_failed_without_a_report_is_left_out() -> None:
    """Its time is in the utilization all the same."""
    found = flop((job("1", 0), TAGS), (job("2", 2 * HOUR, "FAILED"), TAGS))

    assert (FLOP, 1) == (found.flop, found.left_out)
    assert found.utilization == pytest.approx(FLOP / (4 * HOUR * 989e12))


def test_a_chain_counts_once_however_many_jobs_it_took() -> None:
    """Three jobs of one training of 100 steps, which is at step 80."""
    chain = [
        (job("1", 0, "TIMEOUT", at(40, 0, HOUR)), TAGS),
        (job("2", 2 * HOUR, "TIMEOUT", at(70, 40, 3 * HOUR)), TAGS),
        (job("3", 4 * HOUR, "TIMEOUT", at(80, 70, 5 * HOUR)), TAGS),
    ]

    assert (pytest.approx(0.8 * FLOP), 1) == (flop(*chain).flop, flop(*chain).jobs)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"flop": "8.1e22"}, 8.1e22),
        ({"params": "7B"}, None),
        ({"params": "many", "tokens": "1T"}, None),
        ({"params": "-7B", "tokens": "1T"}, None),
        ({"params": "7B ", "tokens": "1 T"}, None),
        ({}, None),
    ],
)
def test_tags_that_say_no_number_say_nothing(tags: dict[str, str], expected: float | None) -> None:
    """And the reason is named."""
    found = flop((job("1", 0), tags))

    assert expected == found.flop
    assert (expected is None) == bool(found.why)


def test_what_the_author_counted_goes_before_tags() -> None:
    """Also of a part of the time, of which tags say nothing."""
    assert 3e20 == flop((job("1", 0), TAGS), given=3e20).flop
    assert 3e20 == flop((job("1", 0), TAGS), given=3e20, whole=False).flop
    part = flop((job("1", 0), TAGS), whole=False)
    assert (None, "tags are of whole runs, and this statement is of a part of the time") == (part.flop, part.why)


def test_without_a_peak_there_is_no_utilization() -> None:
    """Of a device that nobody knows."""
    unknown: Any = job("1", 0)
    found = flop((jobs.job(*unknown.runs, name="1", state="ended", record=unknown.record, models=("Acme",)), TAGS))

    assert (FLOP, None, "no dense peak is known of Acme") == (found.flop, found.utilization, found.why)
