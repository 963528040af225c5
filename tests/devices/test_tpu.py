"""TPUs as the agent gets them: a reading for each chip of each generation, with a server and without."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from gpuwatch.devices import tpu
from gpuwatch.devices.tpu import TpuDevices
from gpuwatch.errors import Absent, Unavailable
from gpuwatch.model import Process, Site
from tests.devices.tpus import Connect, Host, Serve, Ticks, read, runtime_of
from tests.fake_tpu import (
    BANDWIDTH,
    DUTY,
    GENERATIONS,
    IDLE,
    PROGRAMS,
    QUEUE,
    TOTAL,
    UPTIME,
    USED,
    Distribution,
)
from tests.pci import with_nvidia

EVERY = sorted(GENERATIONS)


@pytest.mark.parametrize("generation", EVERY)
def test_every_generation_is_read_by_chip(
    generation: str, tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect
) -> None:
    """Duty cycle and memory of each chip, its devices folded, with its address, model and holders."""
    node = tpu_host(generation)
    runtime = runtime_of(node, tpu_runtime)
    runtime.load(75.0, 2**30)
    node.hold(100, *range(node.chips))
    source = tpu_source(node, runtime.port)
    devices = source.scan(1.0)
    readings = [source.read(device, 1.0) for device in devices]

    assert [node.uid(chip) for chip in range(node.chips)] == [device.uid for device in devices]
    assert list(range(node.chips)) == [device.index for device in devices]
    assert {("google", GENERATIONS[generation].model, "tpu")} == {
        (device.vendor, device.model, device.kind) for device in devices
    }
    per_chip = node.generation.devices
    assert {0.75} == {reading.utilization_ratio for reading in readings}
    assert {per_chip * 2**30} == {reading.memory_used_bytes for reading in readings}
    assert {per_chip * node.generation.memory_bytes} == {reading.memory_total_bytes for reading in readings}
    assert {(Process(100),)} == {reading.processes for reading in readings}


def test_two_devices_of_a_chip_are_one(tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect) -> None:
    """Seventh generation: duty cycle is their mean, memory their sum; what one of them does not say is unknown."""
    node = tpu_host("7x", 2)
    runtime = runtime_of(node, tpu_runtime)
    runtime.says[DUTY] = {0: 100.0, 1: 50.0, 2: 10.0}
    runtime.says[USED] = {0: 1, 1: 2, 2: 4, 3: 8}
    readings = read(tpu_source(node, runtime.port))

    assert [0.75, None] == [readings[node.uid(chip)].utilization_ratio for chip in (0, 1)]
    assert [3, 12] == [readings[node.uid(chip)].memory_used_bytes for chip in (0, 1)]


def test_what_else_a_runtime_says(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, tpu_ticks: Ticks
) -> None:
    """Memory activity, idle time, queue, uptime, and quantiles of programs, whatever devices are numbered by."""
    node = tpu_host("v5e", 2)
    runtime = runtime_of(node, tpu_runtime, ordinals=int)
    node.hold(7, 0, 1)
    runtime.says |= {BANDWIDTH: {0: 40.0, 1: 20.0}, IDLE: {0: 3.5, 1: 0.0}, QUEUE: {0: 2, 1: 0}, UPTIME: {0: 60.0}}
    runtime.says[PROGRAMS] = {0: Distribution(1.0, 2.0, (0, 0, 100, 0))}
    source = tpu_source(node, runtime.port)
    for second in range(5):
        tpu_ticks.now += 1.0
        readings = read(source, float(second))
    first, second = (readings[node.uid(chip)] for chip in (0, 1))

    assert (0.4, 3.5, 2, 60.0) == (
        first.dram_activity_ratio, first.tensor_idle_seconds, first.queued_programs, first.runtime_uptime_seconds,
    )  # fmt: skip
    assert {"0.5": 3e-6, "0.9": 3.8e-6, "0.95": 3.9e-6, "0.999": 3.998e-6} == pytest.approx(
        dict(first.program_duration_seconds)
    )
    assert (0.2, 0.0, 0, 60.0) == (
        second.dram_activity_ratio, second.tensor_idle_seconds, second.queued_programs,
        second.runtime_uptime_seconds,
    )  # fmt: skip
    assert {} == second.program_duration_seconds


def test_transfers_are_told_once_for_a_process(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, tpu_ticks: Ticks
) -> None:
    """At its first chip: latencies of all transfer sizes together."""
    node = tpu_host("v5p", 2)
    runtime = runtime_of(node, tpu_runtime)
    name = "megascale.dcn_transfer_latencies.microsecond.cumulative.distribution"
    runtime.says[name] = {0: Distribution(10.0, 2.0, (0, 100, 0)), 1: Distribution(10.0, 2.0, (0, 100, 0))}
    source = tpu_source(node, runtime.port)
    readings = read(source)

    assert {("dcn_send", "0.5"): 15e-6, ("dcn_send", "0.95"): 19.5e-6} == pytest.approx(
        dict(readings[node.uid(0)].transfer_latency_seconds)
    )
    assert {} == readings[node.uid(1)].transfer_latency_seconds


def test_only_what_is_listed_is_asked_for(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, tpu_ticks: Ticks
) -> None:
    """The list comes first, and again a minute later; slow values are not asked for each second."""
    node = tpu_host("v4", 1)
    runtime = runtime_of(node, tpu_runtime)
    source = tpu_source(node, runtime.port)
    for second in range(3):
        tpu_ticks.now += 1.0
        read(source, float(second))
    before, runtime.asked = list(runtime.asked), []
    runtime.says[BANDWIDTH] = {0: 10.0}
    tpu_ticks.now += 60.0
    later = read(source, 99.0)

    assert ["list", DUTY, USED, TOTAL, DUTY, DUTY] == before
    assert ["list", DUTY, USED, BANDWIDTH, TOTAL] == runtime.asked
    assert 0.1 == later[node.uid(0)].dram_activity_ratio


def test_a_chip_that_nobody_has_open_rests(tpu_host: Host, tpu_source: Connect) -> None:
    """No server and no holder: up, idle, and held by nobody; its memory is not known."""
    node = tpu_host("v4")
    readings = read(tpu_source(node, 1))

    assert {0.0} == {reading.utilization_ratio for reading in readings.values()}
    assert {()} == {reading.processes for reading in readings.values()}
    assert {None} == {reading.memory_used_bytes for reading in readings.values()}
    assert not any(reading.rejected for reading in readings.values())


def test_a_chip_whose_holder_is_out_of_reach_is_unknown(tpu_host: Host, tpu_source: Connect) -> None:
    """A pod has its own loopback: somebody has the node open, and no port says what it does. The others rest."""
    node = tpu_host("v5e", 2)
    node.hold(100, 1)
    readings = read(tpu_source(node, 1))

    assert [0.0, None] == [readings[node.uid(chip)].utilization_ratio for chip in (0, 1)]
    assert [(), (Process(100),)] == [readings[node.uid(chip)].processes for chip in (0, 1)]


def test_where_not_all_processes_are_seen_nobody_is_unknown(tpu_host: Host, tpu_source: Connect) -> None:
    """In a pid namespace, or with hidepid: no holder is not said, nor that a chip rests."""
    node = tpu_host("v4", 2)
    node.hold(100, 0)
    (node.procfs / "2" / "comm").write_text("bash\n")
    readings = read(tpu_source(node, 1))

    assert [(Process(100),), None] == [readings[node.uid(chip)].processes for chip in (0, 1)]
    assert [None, None] == [readings[node.uid(chip)].utilization_ratio for chip in (0, 1)]


def test_a_service_that_nobody_seen_has_opened_makes_nothing_rest(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect
) -> None:
    """What it says counts; what it does not say is unknown, though nobody is seen to hold the chip."""
    node = tpu_host("v4", 2)
    runtime = tpu_runtime([0, 1])
    runtime.says[DUTY] = {0: 60.0, 1: 700.0}
    readings = read(tpu_source(node, runtime.port))

    assert [0.6, None] == [readings[node.uid(chip)].utilization_ratio for chip in (0, 1)]


def test_owner_that_dies_between_two_ticks(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, tpu_ticks: Ticks
) -> None:
    """Its values go with it, at once: the chip is held by nobody and rests, and nothing was rejected."""
    node = tpu_host("v4", 2)
    runtime = runtime_of(node, tpu_runtime)
    runtime.load(90.0, 2**30)
    node.hold(100, 0, 1)
    source = tpu_source(node, runtime.port)
    before = read(source)
    runtime.stop()
    node.end(100)
    tpu_ticks.now += 1.0
    after = read(source, 2.0)

    assert {(0.9, (Process(100),))} == {(each.utilization_ratio, each.processes) for each in before.values()}
    assert {(0.0, (), None)} == {
        (each.utilization_ratio, each.processes, each.memory_used_bytes) for each in after.values()
    }
    assert not any(each.rejected for each in after.values())


def test_a_new_process_is_asked_anew(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, tpu_ticks: Ticks
) -> None:
    """Another job's server on the same port lists other metrics: none of the one before it is asked for."""
    node = tpu_host("v4", 1)
    first = runtime_of(node, tpu_runtime)
    first.says[BANDWIDTH] = {0: 10.0}
    node.hold(100, 0)
    source = tpu_source(node, first.port)
    read(source)
    first.stop()
    node.end(100)
    node.hold(200, 0)
    second = runtime_of(node, tpu_runtime, port=first.port)
    second.load(30.0, 5)
    for number in (1.0, 2.0):
        tpu_ticks.now += 1.0
        readings = read(source, 1.0 + number)

    assert (0.3, 5, (Process(200),), None) == (
        readings[node.uid(0)].utilization_ratio, readings[node.uid(0)].memory_used_bytes,
        readings[node.uid(0)].processes, readings[node.uid(0)].dram_activity_ratio,
    )  # fmt: skip
    assert "list" == second.asked[0]
    assert BANDWIDTH not in second.asked


def test_ports_of_the_holders_are_found(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none is set they are those that the processes were told to open, in the order of their chips."""
    monkeypatch.delenv(tpu.PORTS_VARIABLE, raising=False)
    node = tpu_host("v5e", 4)
    runtimes = [tpu_runtime([0, 1]), tpu_runtime([0, 1])]
    for place, runtime in enumerate(runtimes):
        runtime.load(10.0 * (place + 1), 1)
        pair = (2 * place, 2 * place + 1)
        node.hold(300 - place, *pair, TPU_RUNTIME_METRICS_PORTS=str(runtime.port), TPU_VISIBLE_CHIPS="0,1")
    readings = read(tpu_source(node))

    assert [0.1, 0.1, 0.2, 0.2] == [readings[node.uid(chip)].utilization_ratio for chip in range(4)]


@pytest.mark.parametrize("text", ["22", "x", "8431,", "0", "99999", "-1", "8431;rm", "9" * 5000, ""])
def test_a_hostile_list_of_ports_is_none(text: str, tpu_host: Host, tpu_source: Connect, monkeypatch) -> None:
    """The usual port is asked then, and no port of the system."""
    monkeypatch.delenv(tpu.PORTS_VARIABLE, raising=False)
    node = tpu_host("v4", 1)
    node.hold(100, 0, TPU_RUNTIME_METRICS_PORTS=text)
    source = tpu_source(node)
    read(source)

    assert ["port 8431"] == [told.what for told in source.report()][:1]


def test_energy_is_modelled_where_idle_and_busy_watts_are_known(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect
) -> None:
    """A line between the two, by the duty cycle; no power is claimed."""
    node = tpu_host("v4", 2)
    runtime = tpu_runtime([0, 1])
    runtime.says[DUTY] = {0: 100.0, 1: 50.0}
    readings = read(tpu_source(node, runtime.port))

    assert [170.0, 130.0] == [readings[node.uid(chip)].modelled_watts for chip in (0, 1)]
    assert [{}, {}] == [dict(readings[node.uid(chip)].power_watts) for chip in (0, 1)]


def test_no_energy_where_watts_are_not_published(tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect) -> None:
    """And the report says what would have to be written where."""
    node = tpu_host("v6e", 1)
    runtime = runtime_of(node, tpu_runtime)
    runtime.load(100.0, 1)
    source = tpu_source(node, runtime.port)
    (reading,) = read(source).values()
    (told,) = [each for each in source.report() if each.what == "energy"]

    assert (1.0, None) == (reading.utilization_ratio, reading.modelled_watts)
    assert not told.ok
    assert "watts of a TPU v6e, idle and busy, are not known" in told.detail
    assert "/etc/gpuwatch/specs.toml" in told.todo


def test_a_node_without_a_tpu_is_quiet(tmp_path) -> None:
    """Also one with other things of the same vendor, and one with GPUs."""
    source = TpuDevices(TpuDevices.Settings(), Site(sysfs=str(with_nvidia(tmp_path))))

    with pytest.raises(Absent, match="no TPU is on the PCI bus"):
        source.scan(1.0)
    assert () == source.report()


def test_a_chip_that_fell_off_the_bus_fails_and_hides_no_other(tpu_host: Host, tpu_source: Connect) -> None:
    """Its reads are errors; a node that has lost all of them is no node without any."""
    node = tpu_host("v4", 2)
    source = tpu_source(node, 1)
    devices = source.scan(1.0)
    node.remove(0)

    with pytest.raises(Unavailable, match=f"{node.uid(0)}: the chip is no longer on the PCI bus"):
        source.read(devices[0], 1.0)
    assert node.uid(1) == source.read(devices[1], 1.0).device
    assert [node.uid(1)] == [device.uid for device in source.scan(2.0)]
    node.remove(1)
    with pytest.raises(Unavailable) as told:
        source.scan(3.0)
    assert not isinstance(told.value, Absent)


def test_the_report_says_what_is_read_from_where(tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect) -> None:
    """Which port answers and what it lists, which does not, who can be seen, and what energy is."""
    node = tpu_host("v4", 4)
    runtime = tpu_runtime([0, 1])
    source = tpu_source(node, runtime.port, 1)
    read(source)
    told = {each.what: (each.ok, each.detail) for each in source.report()}

    assert {f"port {runtime.port}", "port 1", "holders", "energy"} == set(told)
    assert (True, f"lists 3 metrics: {TOTAL}, {USED}, {DUTY}") == told[f"port {runtime.port}"]
    assert (True, "nobody listens; no workload here") == told["port 1"]
    assert (True, "modelled, as no interface tells it: 90 to 170 W by the duty cycle") == told["energy"]
    assert told["holders"][0]
    assert {""} == {each.todo for each in source.report()}


def test_without_the_extra_chips_are_listed_and_it_is_said(
    tpu_host: Host, tpu_source: Connect, monkeypatch, caplog
) -> None:
    """Jobs are charged for their chips all the same."""
    monkeypatch.setattr("gpuwatch.devices.tpu.installed", lambda: False)
    caplog.set_level(logging.WARNING)
    node = tpu_host("v4", 2)
    source = tpu_source(node, 1)
    source.scan(1.0)
    source.scan(2.0)
    told = source.report()[0]

    assert ["TPUs are listed and not read; install gpuwatch[tpu]"] == [
        each.getMessage() for each in caplog.records
    ]
    assert ("metric service", False) == (told.what, told.ok)


def test_grpc_is_loaded_once_a_runtime_answers(tpu_host: Host, tpu_runtime: Serve) -> None:
    """A host whose chips rest stays as small as one without any."""
    node = tpu_host("v4", 2)
    runtime = runtime_of(node, tpu_runtime)
    program = f"""
import sys
from gpuwatch.devices.tpu import TpuDevices
from gpuwatch.model import Site
found = []
for ports in ((1,), ({runtime.port},)):
    source = TpuDevices(TpuDevices.Settings(ports=ports), Site(sysfs={str(node.sysfs)!r}))
    for device in source.scan(1.0):
        source.read(device, 1.0)
    found.append(sorted({{"grpc", "google.protobuf", "ssl", "subprocess"}} & set(sys.modules)))
    source.close()
print(found)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert "[[], ['google.protobuf', 'grpc'" in done.stdout
