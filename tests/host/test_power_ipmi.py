"""The chassis' power as a management controller says it: in its own time, and only where it can be believed."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.agent.sampler import Sampler
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.host.power import PowerSource
from gpuwatch.host.power_ipmi import Chassis, Pace, asked, watts_of
from gpuwatch.model import Site
from tests.host.power_tree import IPMI, Time, ipmitool, saying


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread, ten seconds at most."""
    deadline = time.monotonic() + 10.0
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.01)


def pace(command: str, interval: float = 3600.0, timeout: float = 5.0) -> Pace:
    """A controller that is asked once in a test."""
    return Pace(command, interval, timeout, 20_000.0)


def test_instantaneous_reading_is_taken() -> None:
    """Not the average, minimum or maximum beside it."""
    assert watts_of(IPMI.format(watts=431).encode(), 20_000.0) == 431.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (IPMI.format(watts=25550), "too_high"),
        (IPMI.format(watts=0), "too_low"),
        (IPMI.format(watts=-3), "too_low"),
        (IPMI.format(watts=300).replace("activated", "deactivated"), "deactivated"),
        ("", "no_number"),
        ("Could not open device at /dev/ipmi0", "no_number"),
        (IPMI.format(watts="nan"), "no_number"),
        (IPMI.format(watts="9" * 40), "no_number"),
    ],
)
def test_answer_that_cannot_be_believed_has_a_reason(text: str, reason: str) -> None:
    """Its first word is what the counter is labelled with."""
    with pytest.raises(Rejected) as refused:
        watts_of(text.encode(), 20_000.0)

    assert str(refused.value).partition(":")[0] == reason


@given(st.binary(max_size=400))
def test_any_output_is_read(output: bytes) -> None:
    """There is a number in bounds, or a reason."""
    try:
        watts = watts_of(output, 20_000.0)
    except Rejected:
        return
    assert 0 < watts <= 20_000.0


def test_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """It and its child sleep for half a minute; both are gone when the time is up."""
    command = ipmitool(tmp_path / "ipmitool", f"sleep 30 &\necho $! > {tmp_path}/child\nsleep 30")
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer within 0\.5 s"):
        asked(command, 0.5)

    assert time.monotonic() - began < 10.0
    child = (tmp_path / "child").read_text().strip()
    until(lambda: not Path("/proc", child).exists() or "Z" in Path("/proc", child, "stat").read_text().split()[2])
    assert not Path("/proc", child).exists() or Path("/proc", child, "stat").read_text().split()[2] == "Z"


def test_program_that_fails_or_is_not_there_says_so(tmp_path: Path) -> None:
    """By its status and by its name."""
    with pytest.raises(Unavailable, match="ended with status 3"):
        asked(ipmitool(tmp_path / "ipmitool", "exit 3"), 5.0)
    with pytest.raises(Unavailable, match="install ipmitool"):
        asked("no-such-ipmitool", 5.0)


def test_reading_never_waits_for_the_controller(tmp_path: Path) -> None:
    """A controller that takes half a minute: there is no value meanwhile, and no tick is held up."""
    source = PowerSource(
        PowerSource.Settings(
            ipmi="on", ipmi_command=ipmitool(tmp_path / "ipmitool", "sleep 30"), ipmi_timeout_seconds=1
        ),
        Site(sysfs=str(tmp_path)),
    )
    sampler = Sampler({}, {"power": source}, {})
    began = time.monotonic()
    sampler.sample(0.0, 1.0, dict)

    took = time.monotonic() - began
    health = sampler.health["power"].value()
    assert took < 0.5
    assert (health.up, "ipmitool has not answered yet" in health.message) == (False, True)
    for now in range(5, 500, 5):
        sampler.sample(float(now), 1.0 + now, dict)
        if sampler.health["power"].rejected:
            break
        threading.Event().wait(0.1)
    assert sampler.health["power"].rejected == {"no_answer": 1.0}
    sampler.close()


def test_chassis_is_shown_and_integrated_where_its_energy_is_wanted(tmp_path: Path) -> None:
    """Watts of the last answer; joules between answers."""
    clock = Time()
    command = saying(tmp_path / "ipmitool", IPMI.format(watts=400))
    settings = PowerSource.Settings(ipmi="on", ipmi_command=command, ipmi_interval_seconds=1, share_chassis=True)
    source = PowerSource(settings, Site(sysfs=str(tmp_path)), clock)

    def told() -> dict[object, float]:
        try:
            reading = source.read(1.0)
        except Unavailable:
            return {}
        return {**reading.power_watts, **reading.energy_joules}

    until(lambda: told() == {"ipmi": 400.0, "chassis": 0.0})
    clock.now += 2.0
    until(lambda: told().get("chassis", 0.0) > 0.0)

    assert told() == {"ipmi": 400.0, "chassis": 800.0}


def test_answer_that_is_old_is_not_repeated(tmp_path: Path) -> None:
    """After three times the interval there is no value, and why."""
    clock = Time()
    chassis = Chassis(pace(saying(tmp_path / "ipmitool", IPMI.format(watts=400)), interval=10.0), clock)
    until(lambda: chassis.read()[0] is not None)
    clock.now += 36.0

    assert chassis.read()[:2] == (None, None)


def test_refused_answers_are_told_once(tmp_path: Path) -> None:
    """25,550 W, as seen in real data."""
    chassis = Chassis(pace(saying(tmp_path / "ipmitool", IPMI.format(watts=25550))))
    until(lambda: chassis.message.startswith("too_high"))

    assert chassis.read() == (None, None, {"too_high": 1})
    assert chassis.read() == (None, None, {})


def test_thread_ends_with_the_source(tmp_path: Path) -> None:
    """As when the configuration is read again."""
    before = set(threading.enumerate())
    chassis = Chassis(pace(saying(tmp_path / "ipmitool", IPMI.format(watts=400)), interval=3600.0))
    mine = [each for each in threading.enumerate() if each not in before and each.name == "host ipmi"]
    while chassis.read()[0] is None and mine[0].is_alive():
        threading.Event().wait(0.01)
    del chassis
    gc.collect()
    mine[0].join(10.0)

    assert not mine[0].is_alive()
