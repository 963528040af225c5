"""AMD's `gpu_metrics`: each layout that is known, and anything else that the file may contain."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.devices.amd_metrics import Residencies, is_integrated, parse, version
from tests.fake_sysfs.gpu_metrics import FIELDS, gpu_metrics

KNOWN = tuple(each for each in FIELDS if each.startswith("1."))


@pytest.mark.parametrize("which", KNOWN)
def test_energy_is_in_steps_of_a_65536th_of_a_joule(which: str) -> None:
    """The same in every layout, wherever the counter stands in it."""
    table = parse(gpu_metrics(which, energy_accumulator=3 * 2**16))

    assert table is not None and (table.version, table.energy_joules) == (which, 3.0)


@pytest.mark.parametrize("which", KNOWN)
def test_all_ones_are_no_value(which: str) -> None:
    """A table in which the driver set nothing says nothing."""
    table = parse(gpu_metrics(which))

    assert table is not None
    assert (table.energy_joules, table.throttled, table.residencies, table.xgmi_bytes) == (None,) * 4


def test_energy_of_nothing_is_no_value() -> None:
    """The second die of a module counts nothing."""
    table = parse(gpu_metrics("1.3", energy_accumulator=0))

    assert table is not None and table.energy_joules is None


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [(0, set()), (1 << 0, {"sw_power_cap"}), (1 << 17, {"other"}), (1 << 36, {"hw_thermal"}), (1 << 57, {"other"}),
     (1 << 2 | 1 << 34, {"sw_power_cap", "hw_thermal"})],
)  # fmt: skip
def test_what_holds_the_clocks_down_is_told_by_kind(bits: int, reasons: set[str]) -> None:
    """The bits that mean the same on all chips: power, current, temperature, other."""
    table = parse(gpu_metrics("1.3", indep_throttle_status=bits))

    assert table is not None and table.throttled == reasons


def test_residencies_are_by_reason_and_heat_has_four() -> None:
    """How many of the cycles each reason held the clocks down."""
    table = parse(
        gpu_metrics(
            "1.7", accumulation_counter=100, prochot_residency_acc=1, ppt_residency_acc=50,
            socket_thm_residency_acc=3, vr_thm_residency_acc=4, hbm_thm_residency_acc=5,
        )
    )  # fmt: skip

    assert table is not None
    assert table.residencies == Residencies(100, {"sw_power_cap": (50,), "hw_thermal": (1, 3, 4, 5)})


@pytest.mark.parametrize("which", ["1.4", "1.5", "1.6", "1.7", "1.8"])
def test_xgmi_has_a_count_for_each_link_that_there_is(which: str) -> None:
    """Kilobytes, written and read; a link that is not there has no number."""
    none = 2**64 - 1
    table = parse(gpu_metrics(which, xgmi_write_data_acc=[2] * 7 + [none], xgmi_read_data_acc=[1] * 7 + [none]))

    assert table is not None
    assert table.xgmi_bytes == {"transmit": (2048.0,) * 7 + (None,), "receive": (1024.0,) * 7 + (None,)}


def test_length_decides_what_a_version_means() -> None:
    """1.6 was changed without a new number before it came out; a length that is not known is not read."""
    changed = pack("<HBB", 352, 1, 6) + bytes(348)

    assert parse(changed) is None
    assert "1.6 of 352 bytes" in version(changed)


@pytest.mark.parametrize("blob", [b"", b"\x78", gpu_metrics("1.3")[:-1], pack("<HBB", 80, 1, 0) + bytes(76)])
def test_what_is_short_or_old_is_not_read(blob: bytes) -> None:
    """A table that was cut, or 1.0, whose counter turns over within minutes."""
    assert parse(blob) is None


def test_graphics_within_a_processor_are_told_by_the_format() -> None:
    """Revisions 2 and 3 are theirs; an empty file says nothing."""
    blobs = [gpu_metrics("2.1"), pack("<HBB", 264, 3, 0), gpu_metrics("1.3"), b"", b"\0\0\x02"]

    assert [True, True, False, False, False] == [is_integrated(blob) for blob in blobs]


@given(st.binary(max_size=400) | st.sampled_from(KNOWN).flatmap(
    lambda which: st.binary(min_size=len(gpu_metrics(which)) - 4, max_size=len(gpu_metrics(which))).map(
        lambda rest: gpu_metrics(which)[:4] + rest)))  # fmt: skip
def test_any_bytes_are_a_table_or_none(blob: bytes) -> None:
    """Whatever the file contains, the numbers are from 0 up and finite."""
    table = parse(blob)

    links = (table.xgmi_bytes if table else None) or {}
    numbers = [
        table.energy_joules or 0.0 if table else 0.0,
        *(count or 0.0 for each in links.values() for count in each),
    ]
    assert all(0 <= number < float("inf") for number in numbers)
    assert version(blob)
