"""A week in which no server takes anything: what waits fits, and an hour more costs the oldest hour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.sinks.batches import Batch
from gpuwatch.sinks.pushing import Pushing
from gpuwatch.sinks.spool import SEGMENT_SECONDS, Limits, Spool
from gpuwatch.sinks.spool_disk import Disk
from tests.sinks.node_at_work import NodeAtWork
from tests.sinks.spools import Clock

pytestmark = pytest.mark.integration

HOUR = 3600
WEEK = 7 * 24 * HOUR
PART = 600


class Unsynced(Disk):
    """A disk that need not be waited for: no power is cut here."""

    def sync(self, path: Path) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def part() -> list[Batch]:
    """What ten minutes of a node with eight devices at work come to, every field and the noise of sensors."""
    pushing = Pushing()
    return [batch for snapshot in NodeAtWork(jobs=8).seconds(PART) for batch in pushing.take(snapshot)]


def pushed(part: list[Batch], start: int, seconds: int) -> Iterator[tuple[float, Batch]]:
    """The same ten minutes again and again."""
    for turn in range(seconds // PART):
        for batch in part:
            yield start + turn * PART + (batch.time - part[0].time), batch


def test_a_week_fits_and_an_hour_more_drops_the_oldest(tmp_path: Path, part: list[Batch]) -> None:
    """Eight devices, the default limits; what was dropped is said, and what is left is delivered."""
    clock = Clock()
    spool = Spool(tmp_path, ["site"], Limits(), Unsynced(), clock, clock)
    spool.open()
    for time, batch in pushed(part, 0, WEEK):
        clock.now = time
        spool.append(time, batch.points, batch.lines)
    after_a_week = spool.counts("site")
    for time, batch in pushed(part, WEEK, HOUR):
        clock.now = time
        spool.append(time, batch.points, batch.lines)
    after = spool.counts("site")
    spool.close()

    points = sum(batch.points for batch in part)
    assert (points * WEEK // PART, {}) == (after_a_week.queued, dict(after_a_week.dropped))
    assert after_a_week.queued_bytes < Limits().bytes / 2
    assert ["age"] == list(after.dropped)
    # By whole files, of which the last may be young enough.
    hour = points * HOUR / PART
    assert hour * (1 - SEGMENT_SECONDS / HOUR) - points < after.dropped["age"] <= hour
    assert after.taken == after.queued + after.dropped["age"]
