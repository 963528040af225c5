"""Bytes over the links of an AMD card: what a link's count may do, and to which jobs they go."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.devices.amd import AmdDevices
from gpuwatch.devices.amd_links import MOST_BYTES, LinkBytes
from gpuwatch.devices.amd_metrics import Table
from gpuwatch.meter import Holding, Meter
from gpuwatch.model import JobKey, Site, Usage
from tests.devices.test_amd import Ticks
from tests.fake_sysfs import amd

KIB = 1024.0


def received(*looks: tuple[float | None, ...]) -> list[float | None]:
    """What is said to be received, a second after the other, of these counts of each link."""
    links = LinkBytes()
    tables = [Table("1.6", xgmi_bytes={"transmit": (0.0,), "receive": counts}) for counts in looks]
    return [links.advance(float(now), table).get("receive") for now, table in enumerate(tables)]


def test_first_look_has_all_since_the_driver_was_loaded() -> None:
    """Then what each link counted on top."""
    assert [30.0, 37.0] == received((10.0, 20.0), (12.0, 25.0))


def test_link_that_is_gone_for_a_while_takes_nothing_away() -> None:
    """What it counted meanwhile is added once it is back."""
    assert [30.0, 31.0, 36.0] == received((10.0, 20.0), (11.0, None), (12.0, 24.0))


def test_link_that_appears_later_brings_nothing_of_before() -> None:
    """Nobody knows when it counted that."""
    assert [10.0, 11.0, 14.0] == received((10.0, None), (11.0, 5e9), (12.0, 5e9 + 2))


def test_count_of_one_link_that_began_anew_is_added() -> None:
    """The sum of all does not fall."""
    assert [300.0, 304.0] == received((100.0, 200.0), (101.0, 3.0))


def test_driver_that_was_loaded_anew_begins_a_new_sum() -> None:
    """All links fall together."""
    assert [300.0, 5.0, 7.0] == received((100.0, 200.0), (2.0, 3.0), (3.0, 4.0))


def test_rise_that_no_link_can_carry_is_left_out() -> None:
    """A count that is garbage for one look."""
    assert [10.0, 10.0, 12.0] == received((10.0,), (10.0 + 9 * MOST_BYTES,), (12.0,))[:1] + received(
        (10.0, 0.0), (10.0 + 9 * MOST_BYTES, 0.0), (12.0 + 9 * MOST_BYTES, 0.0)
    )[1:]


def test_card_without_a_table_says_nothing() -> None:
    """And neither does one whose table has no links."""
    links = LinkBytes()

    assert ({}, {}) == (dict(links.advance(0.0, None)), dict(links.advance(1.0, Table("1.3"))))


counts = st.lists(
    st.lists(st.none() | st.integers(0, 10**9), min_size=3, max_size=3).map(tuple), min_size=2, max_size=30
)


@given(counts)
def test_sum_falls_only_where_all_counts_did(looks: list[tuple[int | None, ...]]) -> None:
    """Whatever single links do."""
    links, known, before = LinkBytes(), {}, 0.0
    for now, look in enumerate(looks):
        told = {place: count for place, count in enumerate(look) if count is not None}
        fell = [told[place] < known[place] for place in told if known.get(place)]
        found = links.advance(float(now), Table("1.6", xgmi_bytes={"receive": look}))["receive"]
        assert found >= before or (fell and all(fell))
        known, before = {**({} if fell and all(fell) else known), **told}, found


def test_bytes_go_to_the_jobs_that_held_the_card(tmp_path: Path) -> None:
    """From the driver's table to the job's row: each second to its holder, what was before to nobody."""
    card, ticks, meter = amd.mi300x(tmp_path), Ticks(), Meter()
    source = AmdDevices(AmdDevices.Settings(), Site(sysfs=str(tmp_path), procfs=str(tmp_path)), clock=ticks)
    (device,) = source.scan(0.0)
    sent = [0, 100, 300, 600, 1000]
    for now, kilobytes in enumerate(sent):
        card.metrics("1.6", xgmi_read_data_acc=[5] * 8, xgmi_write_data_acc=[7000 + kilobytes] * 7 + [2**64 - 1])
        job = JobKey("a" if now < 2 else "b", 1)
        meter.advance(ticks.now, {device.uid: source.read(device, 0.0)}, [Holding(job, device.uid, 1.0, "whole")])
        ticks.now += 1.0

    rows = {row.job_id: usage for row, usage in meter.rows.items()}
    rises = [7 * KIB * (after - before) for before, after in pairwise(sent)]
    assert rows["a"].link_bytes == {"xgmi_transmit": sum(rises[:2]), "xgmi_receive": 0.0}
    assert sum(rows.values(), Usage()).link_bytes["xgmi_transmit"] == sum(rises)
