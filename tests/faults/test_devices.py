"""Faults of devices and drivers: lost, hanging, loaded anew, unable, lying, absent."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.cli.command import gpuwatch
from tests.fake_nvml import FakeNvml
from tests.faults.conftest import loaded
from tests.faults.running import INTERVAL, Node
from tests.pci import with_nvidia

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("shared node")]

WATTS = "gpuwatch_device_power_watts"
UP = "gpuwatch_device_up"
JOULES = "gpuwatch_device_energy_joules_total"
REJECTED = "gpuwatch_source_rejected_readings_total"
# Three intervals, the deadline of a read, and what a busy machine needs for a page.
GONE_SECONDS = 3 * INTERVAL + 0.8 * INTERVAL + 0.5


def of(device) -> str:
    return f'uuid="{device.uuid}"'


def seconds_until(node: Node, condition) -> float:
    began = time.monotonic()
    node.wait_for(condition)
    return time.monotonic() - began


def test_fault_21_one_lost_gpu_of_eight_leaves_seven(node: Node) -> None:
    """Its values go, its up is 0, seven others are read on, and it is told; then it is back by itself."""
    lost, others = node.fake.devices[3], [each for each in node.fake.devices if each.slot != 3]
    began = time.monotonic()
    lost.lose()
    metrics = node.wait_for(lambda metrics: metrics.of(UP, of(lost)) == {of(lost): 0.0} and metrics.sum(UP) == 7)
    lost.restore()
    node.wait_for(lambda metrics: metrics.sum(UP) == 8)

    assert (metrics.sum(UP), len(metrics.of(UP))) == (7, 8)
    assert not [
        name for name, labels in metrics if name == "gpuwatch_device_temperature_celsius" and of(lost) in labels
    ]
    assert all(metrics.of(WATTS, of(each)) for each in others)
    assert metrics.sum("gpuwatch_source_up", 'source="nvidia"') == 1
    assert node.fed(began) > 0


def test_fault_22_call_that_hangs_takes_its_device_from_the_page_and_nothing_else(node: Node) -> None:
    """/metrics answers, its series are gone at three intervals at the latest, and the watchdog is fed on."""
    hung, pid, began = node.fake.devices[2], node.process.pid, time.monotonic()
    hung.hang(600.0)
    gone = seconds_until(node, lambda metrics: not metrics.of(WATTS, of(hung)))
    time.sleep(2.0)
    asked = time.monotonic()
    metrics = node.metrics()
    answered, fed = time.monotonic() - asked, node.fed(began)
    hung.unhang()
    node.wait_for(lambda metrics: metrics.sum(UP) == 8)

    assert gone < GONE_SECONDS
    assert answered < 1.0
    assert (metrics.sum(UP), metrics.of(UP, of(hung))) == (7, {of(hung): 0.0})
    assert fed >= (time.monotonic() - began - 1.0) / INTERVAL * 0.8
    assert (node.process.poll(), node.process.pid) == (None, pid)


def test_fault_23_thread_that_cannot_be_killed_is_one_and_holds_up_no_end(tmp_path: Path, shim: Path) -> None:
    """All calls hang for ever: no thread is started in place of those, and SIGTERM still ends it in time."""
    node = Node(tmp_path, loaded(FakeNvml(tmp_path / "nvml", 4, latency_seconds=0.0)))
    node.wait_for(lambda metrics: metrics.sum(UP) == 4)
    for device in node.fake.devices:
        device.hang(600.0)
    node.wait_for(lambda metrics: metrics.sum(UP) == 0)
    threads, began = node.thread_count(), time.monotonic()
    time.sleep(2.0)
    grown, fed = node.thread_count() - threads, node.fed(began)
    asked = time.monotonic()
    code = node.end(signal.SIGTERM)
    took = time.monotonic() - asked
    node.close()

    assert grown <= 1, "the web server may need one more; the devices none"
    assert fed >= 8
    assert (code, took < 6.0) == (0, True)


def test_fault_24_driver_loaded_anew_with_other_numbers_mixes_up_nothing(node: Node) -> None:
    """Counters fall to 0 and every index changes: each device keeps its name, and no energy is made up."""
    uuid_to_watts = {of(each): each.power_watts for each in node.fake.devices}
    before, began = node.metrics(), time.monotonic()
    node.fake.reload_driver()
    node.fake.reorder(range(7, -1, -1))
    # The driver must be let go of and opened again; that is looked for every five seconds.
    node.wait_for(
        lambda metrics: (
            metrics.sum(UP) == 8
            and 'index="0"' in next(iter(metrics.of("gpuwatch_device_info", of(node.fake.devices[7]))))
        ),
        seconds=20,
    )
    time.sleep(1.5)
    metrics = node.metrics()
    passed = time.monotonic() - began
    node.fake.reorder(range(8))

    for device in node.fake.devices:
        (watts,) = metrics.of(WATTS, f'{of(device)},window="average"').values()
        grown = metrics.sum(JOULES, of(device)) - before.sum(JOULES, of(device))
        assert watts == pytest.approx(uuid_to_watts[of(device)], rel=0.02)
        assert 0 <= grown <= device.power_watts * (passed + 2 * INTERVAL)
    assert metrics.sum("gpuwatch_agent_residual_joules") == pytest.approx(0, abs=1e-3)


def test_fault_25_device_without_an_energy_counter_is_integrated_and_labelled(node: Node) -> None:
    """Seven say `counter`, the one that cannot says `integrated`, and both are right."""
    able, unable = node.fake.devices[6], node.fake.devices[7]
    methods = [f'{of(able)},method="counter"', f'{of(unable)},method="integrated"']
    metrics = node.just_counted(able.uuid)
    began, before = time.monotonic(), [metrics.sum(JOULES, each) for each in methods]
    metrics = node.just_counted(able.uuid)
    passed = time.monotonic() - began

    assert list(metrics.of(JOULES, of(unable))) == [methods[1]]
    for device, method, joules in zip((able, unable), methods, before, strict=True):
        grown = metrics.sum(JOULES, method) - joules
        assert grown == pytest.approx(device.power_watts * passed, abs=device.power_watts * 3 * INTERVAL)


def test_fault_26_insane_readings_are_dropped_and_counted(node: Node) -> None:
    """4.3 megawatts, 101 %, and a core at -300 degrees: absent, never the last good value, no energy of it."""
    mad = node.fake.devices[1]
    good_watts, good_degrees = mad.power_watts, mad.temperature_celsius
    before, began = node.metrics(), time.monotonic()
    mad.power_watts, mad.temperature_celsius = (2**32 - 1) / 1000, -300
    mad.load(1.01)
    node.wait_for(
        lambda metrics: (
            metrics.sum(UP, of(mad)) == 1
            and not metrics.of(WATTS, of(mad))
            and not metrics.of("gpuwatch_device_temperature_celsius", of(mad))
            and not metrics.of("gpuwatch_device_utilization_ratio", of(mad))
        )
    )
    mad.power_watts, mad.temperature_celsius = good_watts, good_degrees
    mad.load(0.9)
    after = node.wait_for(lambda metrics: metrics.of(WATTS, of(mad)))
    time.sleep(1.0)
    grown = node.metrics().sum(JOULES, of(mad)) - before.sum(JOULES, of(mad))

    assert after.sum(REJECTED, 'source="nvidia"') > before.sum(REJECTED, 'source="nvidia"')
    assert 0 <= grown <= 1.5 * 700 * (time.monotonic() - began + 2)


def test_fault_27_node_without_a_driver_is_watched_all_the_same(tmp_path: Path) -> None:
    """A GPU, no library: the host is measured, the source says why it is down, and the watchdog is fed."""
    node = Node(tmp_path, None, more=f'[site]\nsysfs = "{with_nvidia(tmp_path)}"')
    metrics = node.wait_for(lambda metrics: metrics.of("gpuwatch_source_up", 'source="nvidia"'))
    node.wait_for(lambda metrics: metrics.of("gpuwatch_host_load1"))
    node.wait_for(lambda _: any("READY=1" in message for _, message in node.notified))
    code = node.end()
    node.close()

    assert metrics.sum("gpuwatch_source_up", 'source="nvidia"') == 0
    assert metrics.of("gpuwatch_device_info") == {}
    assert code == 0
    assert any("nvidia down: " in message for _, message in node.notified)


def test_fault_27_required_device_that_is_not_there_exits_69(tmp_path: Path) -> None:
    """For nodes that are no use without one."""
    done = gpuwatch(
        "agent", "--require-device", "--listen", "127.0.0.1:0", "--state-directory", str(tmp_path / "state"),
        "--socket", str(tmp_path / "agent.sock"), "--config", "/dev/null",
    )  # fmt: skip

    assert (done.returncode, "no device found, and one is required" in done.stderr) == (69, True)
