"""Dividing the node's own energy: by what, how much stays, and that nothing is made or lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.meter.host import HostShares, Part, domains_of, only_modules, parts_of
from gpuwatch.model import GroupUse, HostReading, Reading

GIB = 2.0**30


def host(memory: float | None = 64 * GIB, **joules: float) -> HostReading:
    """A reading of the meters; `package_0` is the domain `package-0`."""
    domains = {name.replace("_", "-"): value for name, value in joules.items()}
    return HostReading(0.0, memory_total_bytes=memory, energy_joules=domains)


def use(cpu: float | None, memory: float | None = None) -> GroupUse:
    """What a control group says."""
    return GroupUse(cpu, memory)


def test_job_has_the_part_of_the_packages_that_its_processor_time_is_of_all() -> None:
    """Eight of 64 processors for 5 s: an eighth; idle time stays with the node."""
    shares = HostShares()
    shares.advance(0.0, host(package_0=0.0, package_1=0.0), {"7": use(100.0)}, None, 64)
    shares.advance(4.0, None, {"7": use(140.0)}, None, 64)

    parts = shares.advance(5.0, host(package_0=600.0, package_1=200.0), {}, None, 64)
    assert parts == {"7": Part(100.0, 5.0)}
    assert (shares.jobs, shares.node) == (100.0, 700.0)


def test_memory_is_divided_by_what_is_held_of_it() -> None:
    """A quarter of the memory, a quarter of its energy, beside the packages'."""
    shares = HostShares()
    shares.advance(0.0, host(package_0=0.0, dram_0=0.0), {"7": use(0.0, 16 * GIB)}, None, 10)
    shares.advance(4.0, None, {"7": use(5.0, 16 * GIB)}, None, 10)

    parts = shares.advance(5.0, host(package_0=1000.0, dram_0=80.0), {}, None, 10)
    assert parts == {"7": Part(pytest.approx(100.0 + 20.0), 5.0)}


@pytest.mark.parametrize("unknown", ["the job's memory", "the node's memory"])
def test_job_of_which_only_one_part_is_known_has_none(unknown: str) -> None:
    """A number that lacks the memory's energy would pass for the whole."""
    memory, installed = (None, 64 * GIB) if unknown == "the job's memory" else (GIB, None)
    shares = HostShares()
    shares.advance(0.0, host(installed, package_0=0.0, dram_0=0.0), {"7": use(0.0, memory)}, None, 10)
    shares.advance(4.0, None, {"7": use(5.0, memory)}, None, 10)

    assert shares.advance(5.0, host(installed, package_0=1000.0, dram_0=80.0), {}, None, 10) == {}
    assert (shares.jobs, shares.node) == (0.0, 1080.0)


def test_platform_and_module_are_never_divided() -> None:
    """They have packages, or devices, in them."""
    assert domains_of({"psys": 5.0, "module-0": 7.0, "meter-0": 1.0, "io-0": 2.0}, None) is None
    chosen = domains_of({"psys": 50.0, "package-0": 5.0, "dram-0": 1.0, "cpu-0": 9.0, "chassis": 99.0}, 1.0)
    assert chosen is not None
    assert (chosen.processor, chosen.memory) == (5.0, 1.0)


def test_meter_of_the_processor_stands_in_for_rapl() -> None:
    """As on Grace."""
    chosen = domains_of({"cpu-0": 9.0, "cpu-1": 1.0, "io-0": 3.0, "chassis": 99.0}, 1.0)

    assert chosen is not None
    assert (chosen.processor, chosen.memory, chosen.is_chassis) == (10.0, 0.0, False)


def test_chassis_less_the_devices_is_divided_by_the_minute() -> None:
    """A controller averages: what it says over 5 s is not compared with what devices used in them."""
    shares = HostShares()
    shares.advance(0.0, host(chassis=0.0), {"7": use(0.0)}, 0.0, 10)
    early = shares.advance(30.0, host(chassis=30_000.0), {"7": use(150.0)}, 24_000.0, 10)
    parts = shares.advance(60.0, host(chassis=60_000.0), {"7": use(300.0)}, 48_000.0, 10)

    assert (early, parts) == ({}, {"7": Part(6_000.0, 60.0)})
    assert (shares.jobs, shares.node) == (6_000.0, 6_000.0)


def test_chassis_that_says_less_than_its_devices_is_waited_for() -> None:
    """Its answer is late; over more time it is above them, and nothing is negative."""
    shares = HostShares()
    shares.advance(0.0, host(chassis=0.0), {"7": use(0.0)}, 0.0, 10)
    shares.advance(60.0, host(chassis=10_000.0), {"7": use(600.0)}, 20_000.0, 10)
    parts = shares.advance(90.0, host(chassis=50_000.0), {"7": use(900.0)}, 41_000.0, 10)

    assert parts == {"7": Part(9_000.0, 90.0)}


def test_devices_of_unknown_energy_leave_the_chassis_undivided() -> None:
    """What is theirs would pass for the host's."""
    assert domains_of({"chassis": 99.0}, None) is None


@pytest.mark.parametrize(
    "after",
    [
        {"package_0": 600.0},  # a package is not there any more
        {"package_0": 600.0, "package_1": 1.0},  # one began anew
        {},  # nothing could be read
    ],
)
def test_interval_whose_meters_are_not_the_same_is_nobodys(after: dict[str, float]) -> None:
    """And the next begins there."""
    shares = HostShares()
    shares.advance(0.0, host(package_0=500.0, package_1=500.0), {"7": use(0.0)}, None, 10)

    assert shares.advance(5.0, host(**after), {"7": use(50.0)}, None, 10) == {}
    assert (shares.jobs, shares.node) == (0.0, 0.0)


def test_gap_is_nobodys() -> None:
    """After a minute and more without a reading who used what is not known."""
    shares = HostShares()
    shares.advance(0.0, host(package_0=0.0), {"7": use(0.0)}, None, 10)

    assert shares.advance(61.0, host(package_0=6_000.0), {"7": use(600.0)}, None, 10) == {}
    assert shares.node == 0.0


def test_job_that_begins_within_an_interval_is_charged_from_when_it_was_seen() -> None:
    """Its seconds are fewer, and what its group had used before it was first read is not of this interval."""
    shares = HostShares()
    shares.advance(0.0, host(package_0=0.0), {}, None, 10)
    shares.advance(1.0, None, {"8": use(1_000.0)}, None, 10)
    shares.advance(4.0, None, {"8": use(1_010.0)}, None, 10)

    assert shares.advance(5.0, host(package_0=500.0), {}, None, 10) == {"8": Part(100.0, 4.0)}


def test_group_that_was_made_anew_begins_anew() -> None:
    """A counter that fell has nothing to say of this interval."""
    shares = HostShares()
    shares.advance(0.0, host(package_0=0.0), {"7": use(1_000.0)}, None, 10)
    shares.advance(4.0, None, {"7": use(3.0)}, None, 10)

    assert shares.advance(5.0, host(package_0=500.0), {}, None, 10) == {}


def test_nodes_without_meters_remember_no_jobs() -> None:
    """Ended ones are forgotten though nothing is ever divided."""
    shares = HostShares()
    for job in range(100):
        shares.advance(job * 20.0, host(), {str(job): use(1.0)}, None, 10)

    assert len(shares._known) <= 2


def test_module_is_told_by_power_that_has_no_other_scope() -> None:
    """GH200 by its module alone; one that gives its GPU's power is metered by that, and one that is lost stays."""
    module = Reading("a", 0.0, power_watts={("average", "module"): 500.0})
    both = Reading("b", 0.0, power_watts={("average", "module"): 500.0, ("average", "device"): 300.0})

    assert only_modules({"a": module, "b": both, "c": None}, frozenset("c")) == {"a", "c"}
    assert only_modules({"a": None}, frozenset()) == frozenset()


amounts = st.floats(0.0, 1e6)


@given(amounts, st.dictionaries(st.text(max_size=3), amounts, max_size=8), amounts)
def test_parts_are_never_negative_nor_more_than_the_whole(
    amount: float, used: dict[str, float], whole: float
) -> None:
    """Whatever jobs say that they used."""
    parts = parts_of(amount, used, whole)

    assert parts.keys() == used.keys()
    assert all(0.0 <= part <= amount * (1 + 1e-9) for part in parts.values())
    assert sum(parts.values()) <= amount * (1 + 1e-9)


looks = st.lists(
    st.tuples(
        st.floats(0.5, 90.0),  # seconds since the last look
        st.one_of(st.none(), st.tuples(st.floats(0.0, 5e4), st.floats(0.0, 5e3))),  # joules since, of both kinds
        st.dictionaries(
            st.sampled_from("abc"),
            st.builds(GroupUse, st.one_of(st.none(), amounts), st.one_of(st.none(), st.floats(0.0, 1e12))),
        ),
    ),
    max_size=40,
)


@given(looks, st.integers(1, 256))
def test_jobs_and_node_sum_to_the_host(
    drawn: list[tuple[float, tuple[float, float] | None, dict[str, GroupUse]]], cpus: int
) -> None:
    """Conservation: in every interval of which the energy is known, whatever control groups say."""
    shares, now, package, dram = HostShares(), 0.0, 0.0, 0.0
    known, last, given_away = 0.0, None, 0.0
    for seconds, joules, uses in drawn:
        now += seconds
        reading = None
        if joules is not None:
            package, dram = package + joules[0], dram + joules[1]
            reading = host(package_0=package, dram_0=dram)
            if last is not None and now - last[0] <= 60.0:
                known += package + dram - last[1]
            last = now, package + dram
        parts = shares.advance(now, reading, uses, None, cpus)
        given_away += sum(part.joules for part in parts.values())

        assert all(part.joules >= 0.0 and 0.0 < part.seconds <= 60.0 for part in parts.values())
        assert shares.node >= -1e-6 * max(1.0, known)
    assert shares.jobs == pytest.approx(given_away)
    assert shares.jobs + shares.node == pytest.approx(known, rel=1e-9, abs=1e-6)
