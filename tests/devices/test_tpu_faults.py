"""A runtime that refuses, hangs, closes, lies: that value is absent and counted, and the rest goes on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gpuwatch.devices.checks import checked
from gpuwatch.devices.tpu_runtime import CALL_SECONDS, PAUSE_SECONDS, Library, RuntimePort
from gpuwatch.model import Reading
from tests.devices.tpus import Connect, Host, Serve, Ticks, read, runtime_of
from tests.fake_tpu import BANDWIDTH, DUTY, QUEUE, TOTAL, USED


class Raw:
    """A server that is none: it takes connections, and closes them or never answers."""

    def __init__(self, closes: bool) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._closes = closes
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                if self._closes:
                    connection.recv(16)
                    connection.close()
                else:
                    self._kept.append(connection)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        for each in self._kept:
            each.close()


@pytest.fixture
def raw() -> Iterator[type]:
    made: list[Raw] = []

    def make(closes: bool) -> Raw:
        made.append(Raw(closes))
        return made[-1]

    yield make
    for each in made:
        each.close()


def rejected(readings) -> dict[str, int]:
    """What was not believed of all readings, as the agent counts it."""
    found: dict[str, int] = {}
    for reading in readings.values():
        for reason, count in checked(reading)[1].items():
            found[reason] = found.get(reason, 0) + count
    return found


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (101.0, "too_high"),
        (-1.0, "too_low"),
        (float("nan"), "not_finite"),
        ("87 %", "not_a_number"),
        (True, "not_a_number"),
        (4294967295.0, "sentinel"),
    ],
)
def test_a_value_that_cannot_be_is_absent_and_counted(
    value, reason: str, tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect
) -> None:
    """Of that chip alone, and no energy is modelled from it; memory of the same chip stays."""
    node = tpu_host("v4", 2)
    runtime = runtime_of(node, tpu_runtime)
    runtime.says[DUTY] = {0: value, 1: 50.0}
    runtime.says[USED] = {0: 7, 1: 8}
    readings = read(tpu_source(node, runtime.port))

    assert [(None, 7, None), (0.5, 8, 130.0)] == [
        (each.utilization_ratio, each.memory_used_bytes, each.modelled_watts) for each in readings.values()
    ]
    assert {reason: 1} == rejected(readings)


def test_a_value_of_no_type_is_counted(tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect) -> None:
    """An entry with no measure at all."""
    node = tpu_host("v4", 1)
    runtime = runtime_of(node, tpu_runtime)
    # MetricResponse, TPUMetric, Metric with an attribute that has the number 0, and nothing else.
    runtime.faults[DUTY] = lambda _: b"\x0a\x08\x1a\x06\x0a\x04\x12\x02\x18\x00"
    readings = read(tpu_source(node, runtime.port))

    assert {"not_a_number": 1} == rejected(readings)


def test_bytes_that_are_no_message_are_counted(tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect) -> None:
    """The others of the same runtime are there."""
    node = tpu_host("v4", 1)
    runtime = runtime_of(node, tpu_runtime)
    runtime.load(50.0, 9)
    runtime.faults[DUTY] = lambda _: b"\xff\xff\xff\xff"
    (reading,) = read(tpu_source(node, runtime.port)).values()

    assert (None, 9) == (reading.utilization_ratio, reading.memory_used_bytes)
    assert {"malformed": 1} == reading.rejected


def test_a_metric_that_is_refused_leaves_the_others(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, tpu_ticks: Ticks
) -> None:
    """Listed, and refused all the same: counted, and the list is asked for again."""
    node = tpu_host("v4", 1)
    runtime = runtime_of(node, tpu_runtime)
    runtime.load(50.0, 9)

    def refuse(_: str) -> bytes:
        raise LookupError("no such metric after all")

    runtime.faults[USED] = refuse
    source = tpu_source(node, runtime.port)
    (first,) = read(source).values()
    tpu_ticks.now += 1.0
    (second,) = read(source, 2.0).values()

    assert [(0.5, None)] * 2 == [(each.utilization_ratio, each.memory_used_bytes) for each in (first, second)]
    assert [{"refused": 1}, {}] == [dict(each.rejected) for each in (first, second)]
    assert 2 == runtime.asked.count("list")


def test_another_set_of_metrics_is_no_error(tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect) -> None:
    """Nothing that is known is listed: nothing is read, nothing is rejected, and the chip is up."""
    node = tpu_host("v4", 1)
    runtime = tpu_runtime([0])
    runtime.says = {"tpu.runtime.of.another.time": {0: 1.0}}
    node.hold(100, 0)
    (reading,) = read(tpu_source(node, runtime.port)).values()

    assert (None, None, {}) == (reading.utilization_ratio, reading.memory_used_bytes, dict(reading.rejected))
    assert ["list"] == runtime.asked


def test_devices_that_the_node_has_not_are_counted(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect
) -> None:
    """More devices than chips, or a number that is none: nobody can tell which chip is meant."""
    node = tpu_host("v4", 2)
    runtime = tpu_runtime([0, 1])
    runtime.says[DUTY] = {0: 1.0, 1: 2.0, 7: 3.0}
    runtime.says[QUEUE] = {0: 4, 1: 5}
    runtime.ordinals = lambda device: "x" if device else "0"
    readings = read(tpu_source(node, runtime.port))

    assert [None, None] == [each.utilization_ratio for each in readings.values()]
    assert [4, None] == [each.queued_programs for each in readings.values()]
    assert {"strange_device": 4} == rejected(readings)


def test_a_runtime_that_hangs_costs_one_deadline_and_is_then_left_alone(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, tpu_ticks: Ticks
) -> None:
    """Its values are absent and counted; for some seconds it is not asked; then it is, and is back."""
    node = tpu_host("v4", 1)
    runtime = runtime_of(node, tpu_runtime)
    node.hold(100, 0)
    runtime.load(50.0, 9)
    runtime.hang(DUTY)
    source = tpu_source(node, runtime.port)
    began = time.monotonic()
    (first,) = read(source).values()
    took = time.monotonic() - began
    asked = len(runtime.asked)
    tpu_ticks.now += 1.0
    (second,) = read(source, 2.0).values()
    quiet = len(runtime.asked) == asked
    del runtime.faults[DUTY]
    tpu_ticks.now += PAUSE_SECONDS
    (third,) = read(source, 9.0).values()

    assert CALL_SECONDS <= took < CALL_SECONDS + 0.4
    assert [(None, None), (None, None), (0.5, 9)] == [
        (each.utilization_ratio, each.memory_used_bytes) for each in (first, second, third)
    ]
    assert [{"no_answer": 1}, {}, {}] == [dict(each.rejected) for each in (first, second, third)]
    assert quiet


@pytest.mark.parametrize("closes", [True, False])
def test_what_only_takes_connections_is_no_runtime(closes: bool, raw, tpu_host: Host, tpu_source: Connect) -> None:
    """It closes them, or never says a word: unknown, within the deadline, and the report says why."""
    node = tpu_host("v4", 1)
    node.hold(100, 0)
    source = tpu_source(node, raw(closes).port)
    began = time.monotonic()
    (reading,) = read(source).values()
    took = time.monotonic() - began
    (told,) = [each for each in source.report() if each.what.startswith("port")]

    assert (None, {"no_answer": 1}) == (reading.utilization_ratio, dict(reading.rejected))
    assert took < 0.8
    assert not told.ok
    assert told.detail.startswith("closed the connection" if closes else "does not answer within 0.3 s")


def test_a_port_that_nobody_listens_on_is_no_fault() -> None:
    """Nothing is counted, gRPC is not loaded for it, and a runtime that comes is found at the next tick."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
    library = Library()
    port = RuntimePort(number, library)
    answer = port.ask(time.monotonic() + 1.0)

    assert ("absent", {}, None) == (answer.state, answer.rejected, library.grpc)


def test_a_runtime_too_old_to_list_is_asked_for_the_three_that_all_have(
    tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect
) -> None:
    """Whoever does not know the question is asked for duty cycle and memory alone."""
    node = tpu_host("v2")
    runtime = runtime_of(node, tpu_runtime)
    runtime.load(20.0, 5)
    runtime.says[BANDWIDTH] = {0: 1.0}

    def unknown(_: str) -> bytes:
        raise LookupError("unimplemented")

    runtime.faults["list"] = unknown
    readings = read(tpu_source(node, runtime.port))

    assert {(0.2, 10)} == {(each.utilization_ratio, each.memory_used_bytes) for each in readings.values()}
    assert ["list", DUTY, USED, TOTAL] == runtime.asked


def test_a_list_that_is_none_is_no_runtime(tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect) -> None:
    """Another service answers on the port."""
    node = tpu_host("v4", 1)
    runtime = runtime_of(node, tpu_runtime)
    runtime.faults["list"] = lambda _: b"\x0a\xff\xff"
    source = tpu_source(node, runtime.port)
    (reading,) = read(source).values()

    assert (None, {"no_answer": 1}) == (reading.utilization_ratio, dict(reading.rejected))


@pytest.mark.parametrize("own", [False, True])
def test_eight_chips_on_four_ports_one_of_which_is_dead(
    own: bool, tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect
) -> None:
    """Six are read, whether processes number the node's devices or each its own; two are unknown, and up."""
    node = tpu_host("v5e", 8)
    runtimes = [tpu_runtime([0, 1] if own else [2 * place, 2 * place + 1]) for place in range(4)]
    for place, runtime in enumerate(runtimes):
        runtime.load(10.0 * (place + 1), place)
        node.hold(100 + place, 2 * place, 2 * place + 1)
    runtimes[1].stop()
    readings = read(tpu_source(node, *(runtime.port for runtime in runtimes)))

    assert [0.1, 0.1, None, None, 0.3, 0.3, 0.4, 0.4] == pytest.approx(
        [each.utilization_ratio for each in readings.values()]
    )
    assert {} == rejected(readings)


def test_ports_that_hang_do_not_take_the_time_of_those_that_answer(
    raw, tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect, tpu_ticks: Ticks
) -> None:
    """Three say nothing: the fourth is read all the same, from the second tick at the latest."""
    node = tpu_host("v5e", 8)
    runtime = tpu_runtime([6, 7])
    runtime.load(40.0, 1)
    for place in range(4):
        node.hold(100 + place, 2 * place, 2 * place + 1)
    source = tpu_source(node, *(raw(False).port for _ in range(3)), runtime.port)
    found = []
    for second in range(4):
        tpu_ticks.now += 1.0
        found.append(read(source, float(second))[node.uid(7)].utilization_ratio)

    assert [0.4, 0.4, 0.4] == found[1:]


def test_all_chips_are_asked_for_once_a_tick(tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect) -> None:
    """Eight threads read eight chips at the same moment: one of them asks, and all have its answers."""
    node = tpu_host("v5e", 8)
    runtime = runtime_of(node, tpu_runtime)
    runtime.load(50.0, 1)
    source = tpu_source(node, runtime.port)
    devices = source.scan(1.0)
    readings: list[Reading] = []
    threads = [threading.Thread(target=lambda d=d: readings.append(source.read(d, 1.0))) for d in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert 8 == len({each.device for each in readings})
    assert {0.5} == {each.utilization_ratio for each in readings}
    assert ["list", DUTY, USED, TOTAL] == runtime.asked
