"""The power of the node: RAPL, meters of ACPI, and what is done where they lie, go or may not be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpuwatch.agent.sampler import Sampler
from gpuwatch.errors import Absent, Unavailable
from gpuwatch.host import power_ipmi
from gpuwatch.model import EMPTY, HostReading
from tests.host.power_tree import SPAN, Time, Tree


@pytest.fixture
def clock() -> Time:
    """The time, which only a test moves on."""
    return Time()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty sysfs."""
    return Tree(tmp_path)


def test_energy_counts_from_the_first_look(tree: Tree, clock: Time) -> None:
    """Packages, memory and platform apart; cores and the second tree of the same package are left out."""
    files = [
        tree.zone("intel-rapl:0", "package-0", 5_000_000),
        tree.zone("intel-rapl:1", "package-1", 100),
        tree.zone("intel-rapl:0:0", "core", 1_000),
        tree.zone("intel-rapl:0:1", "dram", 7_000_000),
        tree.zone("intel-rapl:2", "psys", 0),
        tree.zone("intel-rapl-mmio:0", "package-0", 1),
    ]
    source = tree.source(clock)
    first = source.read(1.0)
    clock.now += 5.0
    for file, microjoules in zip(files, (505_000_000, 250_000_100, 1, 17_000_000, 900_000_000, 9), strict=True):
        file.write_text(f"{microjoules}\n")

    second = source.read(6.0)
    assert first.energy_joules == {"package-0": 0.0, "package-1": 0.0, "dram-0": 0.0, "psys": 0.0}
    assert second.energy_joules == {"package-0": 500.0, "package-1": 250.0, "dram-0": 10.0, "psys": 900.0}
    assert (second.power_watts, second.time) == (EMPTY, 6.0)


def test_register_that_wraps_counts_on(tree: Tree, clock: Time) -> None:
    """The rest of its range, and what it shows now."""
    file = tree.zone("intel-rapl:0", "package-0", SPAN - 300_000_000)
    source = tree.source(clock)
    source.read(1.0)
    clock.now += 5.0
    file.write_text("200000000\n")

    assert source.read(6.0).energy_joules == {"package-0": pytest.approx(500.0)}


def test_rise_that_cannot_be_is_not_believed_and_counted(tree: Tree, clock: Time) -> None:
    """A package of 30 kW: nothing of it is known this time, and it counts on from there."""
    file = tree.zone("intel-rapl:0", "package-0", 0)
    tree.zone("intel-rapl:1", "package-1", 0)
    source = tree.source(clock)
    source.read(1.0)
    clock.now += 5.0
    file.write_text("150000000000\n")
    jumped = source.read(6.0)
    clock.now += 5.0
    file.write_text("150500000000\n")

    after = source.read(11.0)
    assert (jumped.energy_joules, jumped.rejected) == ({"package-1": 0.0}, {"jump": 1})
    assert (after.energy_joules, after.rejected) == ({"package-0": 500.0, "package-1": 0.0}, {})


def test_time_in_which_it_may_have_wrapped_unseen_is_unknown(tree: Tree, clock: Time) -> None:
    """More than a minute without a look, as after a suspension."""
    file = tree.zone("intel-rapl:0", "package-0", 0)
    tree.meter("hwmon0", 1_000_000)
    source = tree.source(clock)
    source.read(1.0)
    clock.now += 61.0
    file.write_text("500000000\n")

    assert source.read(62.0).rejected == {"gap": 1}


def test_rapl_that_root_alone_may_read_is_not_here_and_says_what_helps(
    tree: Tree, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on every node without the capability: quiet, the drop-in named, and the chart's value."""
    tree.zone("intel-rapl:0", "package-0", 0).chmod(0)
    if os.geteuid() == 0:
        refuse(monkeypatch, "energy_uj")

    with pytest.raises(Absent, match=r"rapl\.conf"):
        tree.source(clock).read(1.0)
    assert dict_of(tree.source(clock).report())["RAPL"][1].endswith(
        "a service has the drop-in rapl.conf of systemd/drop-ins, a pod agent.hostPower of the chart"
    )


def refuse(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Root may read every file: have the kernel refuse those of one name, as it does to others."""
    opened = os.open

    def open_(path: str, flags: int, *more: int) -> int:
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", open_)


def dict_of(report: object) -> dict[str, tuple[bool, str]]:
    """A report by what it is about."""
    return {each.what: (each.ok, each.detail) for each in report}  # type: ignore[attr-defined]


def test_node_without_meters_has_nothing_to_read(tree: Tree, clock: Time) -> None:
    """As in most virtual machines; the report says so of each kind."""
    source = tree.source(clock)

    with pytest.raises(Absent, match="no RAPL, no power meter of ACPI"):
        source.read(1.0)
    assert dict_of(source.report()) == {
        "RAPL": (True, "not on this node"),
        "power meters of ACPI": (True, "none on this node"),
        "IPMI": (True, "not asked: host.power.ipmi is off"),
    }


def test_meters_of_grace_say_what_they_are_of(tree: Tree, clock: Time) -> None:
    """CPU, module and IO apart, in watts, and integrated; a sensor of another device is none of the node's."""
    cpu = tree.meter("hwmon0", 100_000_000, "CPU Power Socket 0")
    tree.meter("hwmon1", 600_000_000, "Module Power Socket 0")
    tree.meter("hwmon2", 20_000_000, "SysIO Power Socket 0")
    tree.meter("hwmon3", 300_000_000, name="amdgpu")
    source = tree.source(clock)
    source.read(1.0)
    clock.now += 5.0
    cpu.write_text("200000000\n")

    reading = source.read(6.0)
    assert reading.power_watts == {"cpu-0": 200.0, "module-0": 600.0, "io-0": 20.0}
    assert reading.energy_joules == {"cpu-0": 750.0, "module-0": 3000.0, "io-0": 100.0}


def test_meter_that_does_not_say_what_it_is_of_is_numbered(tree: Tree, clock: Time) -> None:
    """An ACPI meter of a server, mostly of all of it."""
    tree.meter("hwmon4", 350_000_000)

    assert tree.source(clock).read(1.0).power_watts == {"meter-0": 350.0}


def test_meter_that_disappears_is_absent_and_found_where_it_is_then(tree: Tree, clock: Time) -> None:
    """Its file goes while the agent runs, and it comes back under another number."""
    file = tree.meter("hwmon0", 100_000_000, "CPU Power Socket 0")
    tree.zone("intel-rapl:0", "package-0", 0)
    source = tree.source(clock)
    source.read(1.0)
    file.unlink()
    clock.now += 5.0
    gone = source.read(6.0)
    tree.meter("hwmon7", 90_000_000, "CPU Power Socket 0")
    clock.now += 5.0

    assert gone.power_watts == {}
    assert gone.energy_joules == {"package-0": 0.0}
    assert source.read(11.0).power_watts == {"cpu-0": 90.0}


@pytest.mark.parametrize("text", ["", "nonsense", "-5", "9" * 30, "1e3"])
def test_meter_that_says_no_number_is_absent(tree: Tree, clock: Time, text: str) -> None:
    """The others are read."""
    tree.meter("hwmon0", text, "CPU Power Socket 0")
    tree.zone("intel-rapl:0", "package-0", text)
    tree.zone("intel-rapl:1", "package-1", 1)

    reading = tree.source(clock).read(1.0)
    assert (reading.power_watts, reading.energy_joules) == ({}, {"package-1": 0.0})


def test_absurd_power_is_refused_and_counted_also_where_there_is_nothing_else(tree: Tree, clock: Time) -> None:
    """25,550 W, seen in real data: the source is down, and the refusal is in its health."""
    tree.meter("hwmon0", 25_550_000_000)
    sampler = Sampler({}, {"power": tree.source(clock)}, {})
    sampler.sample(0.0, 1.0, dict)

    health = sampler.health["power"].value()
    sampler.close()
    assert (health.up, health.rejected_readings) == (False, {"too_high": 1.0})


def test_node_without_meters_is_neither_up_nor_down(tree: Tree, clock: Time) -> None:
    """The sampler takes what the source says for no fault."""
    sampler = Sampler({}, {"power": tree.source(clock)}, {})
    told = sampler.sample(0.0, 1.0, dict)

    health = sampler.health["power"].value()
    sampler.close()
    assert health.up is None
    assert told.host == HostReading(1.0)


def test_controller_is_asked_by_itself_only_where_its_device_may_be_used(
    tree: Tree, clock: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a device nothing is started; with one that may not be opened the report names the drop-in."""
    monkeypatch.setattr(power_ipmi, "DEVICES", (tmp_path / "ipmi0",))
    absent = dict_of(tree.source(clock, ipmi="auto").report())["IPMI"]
    (tmp_path / "ipmi0").write_text("")
    monkeypatch.setattr(power_ipmi, "may_be_asked", lambda path: False)
    refused = dict_of(tree.source(clock, ipmi="auto").report())["IPMI"]
    monkeypatch.setattr(power_ipmi, "may_be_asked", lambda path: True)
    missing = dict_of(tree.source(clock, ipmi="auto", ipmi_command="no-such-program").report())["IPMI"]

    assert absent == (True, "no IPMI device on this node")
    assert refused[1].endswith("may not be opened; see the drop-in ipmi.conf of systemd/drop-ins")
    assert missing[1].endswith("install ipmitool")


def test_failure_of_all_meters_that_were_there_is_one(tree: Tree, clock: Time) -> None:
    """Not "not on this node": what was read before is missed."""
    file = tree.zone("intel-rapl:0", "package-0", 0)
    source = tree.source(clock)
    source.read(1.0)
    file.write_text("?\n")

    with pytest.raises(Unavailable, match="that were here") as failed:
        source.read(6.0)
    assert not isinstance(failed.value, Absent)
