"""Modules of two dies (MI250, MI250X): each die has half of what only the module is measured for."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.devices.amd import AmdDevices
from gpuwatch.meter import Holding, Meter
from gpuwatch.meter.host import only_modules
from gpuwatch.meter.states import power_of
from gpuwatch.model import JobKey, Reading, Site, Usage
from tests.devices.test_amd import Ticks
from tests.fake_sysfs import amd

FIRST, SECOND = "amd:52a00e3b6f2ad5f1", "amd:52a00e3b6f2ad5f2"
# Two modules whose dies are no neighbours by address.
CROSSED = (("0000:29:00.0", "0000:32:00.0"), ("0000:2c:00.0", "0000:2f:00.0"))


def source_of(root: Path, clock: Ticks | None = None) -> AmdDevices:
    """A source over the tree, whose clock stands still unless it is given."""
    return AmdDevices(
        AmdDevices.Settings(), Site("c", "n1", str(root / "proc"), str(root)), clock=clock or Ticks()
    )


def readings(source: AmdDevices) -> dict[str, Reading]:
    """One reading of each device, by uid."""
    return {device.uid: source.read(device, 0.0) for device in source.scan(0.0)}


def watts(found: Mapping[str, Reading]) -> dict[str, float]:
    """What each device draws; devices without power are not in it."""
    return {
        uid: each.power_watts["average", "device"]
        for uid, each in found.items()
        if ("average", "device") in each.power_watts
    }


def test_each_die_has_half_of_power_and_limit(tmp_path: Path) -> None:
    """The module's own power stands beside it at the die that measures it; load and heat are each die's own."""
    first, _ = amd.mi250(tmp_path)
    first.load(12, 3)
    found = readings(source_of(tmp_path))

    assert found[FIRST].power_watts == {("average", "device"): 250.0, ("average", "module"): 500.0}
    assert found[SECOND].power_watts == {("average", "device"): 250.0}
    assert [each.power_limit_watts for each in found.values()] == [280.0, 280.0]
    assert [each.utilization_ratio for each in found.values()] == [0.12, 0.97]


def test_die_that_measures_may_be_the_second_one(tmp_path: Path) -> None:
    """Whichever gives power: the order of addresses says nothing of it."""
    amd.mi250(tmp_path, pcis=("0000:c6:00.0", "0000:c1:00.0"))
    found = readings(source_of(tmp_path))

    assert list(found) == [SECOND, FIRST]
    assert watts(found) == {SECOND: 250.0, FIRST: 250.0}


def test_power_of_a_package_with_its_processor_is_the_modules(tmp_path: Path) -> None:
    """An MI300A: what it draws is metered, and is known to have the processor in it."""
    amd.mi300x(tmp_path).write("device", "0x74a0")
    (found,) = readings(source_of(tmp_path)).values()

    assert {("instant", "module"): 600.0} == found.power_watts
    assert power_of(found) == 600.0
    assert {found.device} == only_modules({found.device: found}, frozenset())


@pytest.mark.parametrize("hidden", ["power1_average", "power1_cap"])
def test_second_die_without_a_file_is_as_one_that_says_0(tmp_path: Path, hidden: str) -> None:
    """A driver may leave out what a die cannot tell."""
    _, second = amd.mi250(tmp_path)
    second.forget(f"{second.hwmon.relative_to(second.path)}/{hidden}")
    source = source_of(tmp_path)
    found = readings(source)

    assert watts(found) == {FIRST: 250.0, SECOND: 250.0}
    assert found[SECOND].power_limit_watts == 280.0
    assert [True, True] == [told.ok for told in source.report() if told.what.endswith(" power")]


def test_four_modules_are_paired_by_their_addresses(tmp_path: Path) -> None:
    """Where the compute driver does not say how they are linked: neighbours."""
    buses = ("c1", "c6", "c9", "ce", "d1", "d6", "d9", "de")
    for number in range(4):
        pair = (f"0000:{buses[2 * number]}:00.0", f"0000:{buses[2 * number + 1]}:00.0")
        first, _ = amd.mi250(tmp_path, 1 + 2 * number, pair, module=number)
        first.power(100.0 * (number + 1))

    assert [50.0, 50.0, 100.0, 100.0, 150.0, 150.0, 200.0, 200.0] == list(
        watts(readings(source_of(tmp_path))).values()
    )


def linked(root: Path) -> amd.FakeCompute:
    """Two modules that cross by address: four links within each, one or two between their dies."""
    compute = amd.FakeCompute(root)
    for number, pair in enumerate(CROSSED):
        dies = amd.mi250(root, 1 + 2 * number, pair, module=number)
        dies[0].power(300.0 * (number + 1))
        for die, card in enumerate(dies):
            node = 1 + 2 * number + die
            compute.gpu(node, 1000 + node, card, unique_id=int((card.path / "unique_id").read_text(), 16))
    for one, other, width in ((1, 2, 200_000), (3, 4, 200_000), (1, 3, 100_000), (2, 4, 50_000)):
        compute.link(one, other, width)
    return compute


def test_links_tell_which_dies_are_one_module(tmp_path: Path) -> None:
    """Against the order of their addresses."""
    linked(tmp_path)

    assert [150.0, 300.0, 300.0, 150.0] == list(watts(readings(source_of(tmp_path))).values())


@pytest.mark.parametrize("width", [0, 50_000])
def test_links_that_do_not_tell_leave_it_to_the_addresses(tmp_path: Path, width: int) -> None:
    """Older kernels give no bandwidth, or the same to all."""
    compute = amd.FakeCompute(tmp_path)
    for number, pair in enumerate((("0000:c1:00.0", "0000:c6:00.0"), ("0000:c9:00.0", "0000:ce:00.0"))):
        for die, card in enumerate(amd.mi250(tmp_path, 1 + 2 * number, pair, module=number)):
            node = 1 + 2 * number + die
            compute.gpu(node, 1000 + node, card)
    for one, other in ((1, 2), (3, 4), (1, 3), (2, 4)):
        compute.link(one, other, width)

    assert [250.0] * 4 == list(watts(readings(source_of(tmp_path))).values())


def test_die_alone_has_the_whole_module(tmp_path: Path) -> None:
    """One that was given to a virtual machine without the other: what is measured is there once."""
    first, second = amd.mi250(tmp_path)
    (tmp_path / "class" / "drm" / f"card{second.number}" / "device").unlink()
    source = source_of(tmp_path)
    found = readings(source)

    assert found[FIRST].power_watts == {("average", "device"): 500.0, ("average", "module"): 500.0}
    assert found[FIRST].power_limit_watts == 560.0
    assert "average of the module, whose other die is not seen" in [told.detail for told in source.report()]
    assert first.path.exists()


def test_second_die_alone_is_not_measured(tmp_path: Path) -> None:
    """Its 0 is no reading."""
    first, _ = amd.mi250(tmp_path)
    (tmp_path / "class" / "drm" / f"card{first.number}" / "device").unlink()
    (found,) = readings(source_of(tmp_path)).values()

    assert (dict(found.power_watts), found.power_limit_watts, found.energy_joules) == ({}, None, None)


def test_dies_that_both_measure_have_each_its_own(tmp_path: Path) -> None:
    """Should a driver ever tell them apart: nothing is halved then, also when one is silent for a moment."""
    _, second = amd.mi250(tmp_path)
    second.power(120.0)
    source = source_of(tmp_path)
    both = watts(readings(source))
    second.power(0.0)

    assert both == {FIRST: 500.0, SECOND: 120.0}
    assert watts(readings(source)) == {FIRST: 500.0}


def test_die_that_sleeps_is_not_asked_for_the_other(tmp_path: Path) -> None:
    """It would wake up: the other one is not measured meanwhile."""
    first, _ = amd.mi250(tmp_path)
    source = source_of(tmp_path)
    readings(source)
    first.write("power/runtime_status", "suspended")
    found = readings(source)

    assert watts(found) == {}
    assert found[SECOND].utilization_ratio == 0.97


def test_monitor_of_the_other_die_is_found_again(tmp_path: Path) -> None:
    """Loaded anew it has another number: by the next scan, or within 10 s."""
    first, _ = amd.mi250(tmp_path)
    ticks = Ticks()
    source = source_of(tmp_path, ticks)
    devices = {device.uid: device for device in source.scan(0.0)}
    source.read(devices[SECOND], 0.0)
    first.hwmon.rename(first.hwmon.with_name("hwmon99"))
    lost = source.read(devices[SECOND], 1.0)
    ticks.now += 10.0
    source.read(devices[SECOND], 11.0)
    found = source.read(devices[SECOND], 12.0)

    assert (dict(lost.power_watts), found.power_watts) == ({}, {("average", "device"): 250.0})


draws = st.lists(st.floats(1.0, 560.0), min_size=40, max_size=70)
holders = st.lists(st.sampled_from(["", "1", "2"]), min_size=2, max_size=2)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=25,
)
@given(draws, st.lists(holders, min_size=1, max_size=4), st.sampled_from([1.0, 1.05, 3.0]))
def test_dies_are_the_module_whoever_holds_them(
    tmp_path: Path, module_watts: list[float], turns: list[list[str]], factor: float
) -> None:
    """By the counter where it agrees with power, else by power: Σ dies = module, each die half, jobs all of it."""
    root = tmp_path / "sys"
    if not root.exists():
        amd.mi250(root)
    first = amd.FakeCard.at(root, 1, "0000:c1:00.0")
    ticks, meter, counted = Ticks(), Meter(), 1e6
    source = source_of(root, ticks)
    devices = source.scan(0.0)
    for second, drawn in enumerate(module_watts):
        before = module_watts[max(0, second - 1)]
        counted += factor * (before + drawn) / 2
        first.power(drawn)
        first.metrics("1.3", joules=counted, indep_throttle_status=0)
        turn = turns[second % len(turns)]
        held = [
            Holding(JobKey(job, 1), device.uid, 1.0, "whole")
            for device, job in zip(devices, turn, strict=True)
            if job
        ]
        meter.advance(ticks.now, {device.uid: source.read(device, 0.0) for device in devices}, held)
        ticks.now += 1.0
    meter.finish()

    one, two = meter.devices.values()
    module = sum((one + two) / 2 for one, two in pairwise(module_watts))
    total = sum(one.energy_joules.values()) + sum(two.energy_joules.values())
    assert one.energy_joules == pytest.approx(two.energy_joules, rel=1e-6)
    assert module * min(1.0, factor if factor < 2 else 1.0) - 1e-3 <= total
    assert total <= module * (factor if factor < 2 else 1.0) + 1e-3
    jobs = sum(meter.rows.values(), Usage()).joules or 0.0
    nobodys = sum(each.unallocated_energy_joules for each in meter.devices.values())
    assert jobs + nobodys == pytest.approx(total, rel=1e-9)
    assert max(abs(each.residual_joules) for each in meter.devices.values()) < 1e-6 * (1 + total)
