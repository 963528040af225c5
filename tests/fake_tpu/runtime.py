"""The metric service that a TPU's runtime has in the process that computes."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import grpc

SERVICE = "tpu.monitoring.runtime.RuntimeMetricService"
DUTY = "tpu.runtime.tensorcore.dutycycle.percent"
USED = "tpu.runtime.hbm.memory.usage.bytes"
TOTAL = "tpu.runtime.hbm.memory.total.bytes"
BANDWIDTH = "tpu.runtime.hbm.utilization.percent"
IDLE = "tpu.runtime.tensorcore.idle_duration.seconds"
UPTIME = "tpu.runtime.uptime.seconds.gauge"
QUEUE = "hlo.queue.size.gauge"
PROGRAMS = "hlo.execution.timing.distribution.microseconds"

Number = int | float | str | bool
Answer = Callable[[str], bytes]


@dataclass(frozen=True)
class Distribution:
    """Counts by bucket: below `scale`, then `growth` times as wide each."""

    scale: float
    growth: float
    counts: tuple[int, ...]


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def integer(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def double(field: int, number: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", number)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def text(field: int, content: str) -> bytes:
    return message(field, content.encode())


def gauge(value: Number) -> bytes:
    """Gauge: as_double 1, as_int 2, as_string 3, as_bool 4; field 3 of Metric."""
    if isinstance(value, bool):
        return message(3, integer(4, value))
    if isinstance(value, int):
        return message(3, integer(2, value))
    return message(3, text(3, value) if isinstance(value, str) else double(1, value))


def distribution(value: Distribution) -> bytes:
    """Distribution: count 1, mean 2, bucket_options 6 (exponential 2), bucket_counts 7; field 5 of Metric."""
    exponential = integer(1, len(value.counts) - 2) + double(2, value.growth) + double(3, value.scale)
    counts = b"".join(map(varint, value.counts))
    return message(
        5,
        integer(1, sum(value.counts)) + double(2, 1.0) + message(6, message(2, exponential)) + message(7, counts),
    )


def by_number(device: int) -> bytes:
    """Attribute `device-id` with int_attr 3; field 1 of Metric."""
    return message(1, text(1, "device-id") + message(2, integer(3, device)))


def by_list(device: int | str) -> bytes:
    """Attribute with kvlist_attr 6: device_ordinal, as a number or as text, and core_type."""
    ordinal = text(1, device) if isinstance(device, str) else integer(3, device)
    attributes = (
        message(1, text(1, "core_type") + message(2, text(1, "TENSOR_CORE"))),
        message(1, text(1, "device_ordinal") + message(2, ordinal)),
    )
    return message(1, text(1, "labels") + message(2, message(6, b"".join(attributes))))


def response(name: str, metrics: Iterable[bytes]) -> bytes:
    """MetricResponse: metric 1; TPUMetric: name 1, metrics 3."""
    return message(1, text(1, name) + b"".join(message(3, metric) for metric in metrics))


def listing(names: Iterable[str]) -> bytes:
    """ListSupportedMetricsResponse: supported_metric 1 with metric_name 1."""
    return b"".join(message(1, text(1, name)) for name in names)


class FakeRuntime:
    """A runtime with devices of its numbers; what it says can be changed at any time.

    `faults` has functions by metric (or `list`) that answer instead. `ordinals` is how it numbers devices in what
    is said of programs: as numbers (older) or as text.
    """

    def __init__(
        self, devices: Sequence[int], memory_bytes: int = 32 * 2**30, *, duty_devices: Sequence[int] | None = None,
        ordinals: type[int] | type[str] = str, port: int = 0,
    ) -> None:  # fmt: skip
        self.devices = list(devices)
        self.ordinals = ordinals
        self.says: dict[str, dict[int, Number | Distribution]] = {
            DUTY: dict.fromkeys(self.devices if duty_devices is None else duty_devices, 0.0),
            USED: dict.fromkeys(self.devices, 0),
            TOTAL: dict.fromkeys(self.devices, memory_bytes),
        }
        self.faults: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.released = threading.Event()
        self.port = port
        self._server: Any = None
        self.start()

    def start(self) -> None:
        """Serve, on the port of before where there was one."""
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        handlers = {
            "ListSupportedMetrics": grpc.unary_unary_rpc_method_handler(self._list),
            "GetRuntimeMetric": grpc.unary_unary_rpc_method_handler(self._get),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """The process is gone: nobody listens any more."""
        self.released.set()
        if self._server is not None:
            self._server.stop(0).wait(5)
            self._server = None

    def load(self, percent: float, used: int) -> None:
        """All devices do the same."""
        for name, value in ((DUTY, percent), (USED, used)):
            self.says[name] = dict.fromkeys(self.says[name], value)

    def hang(self, name: str) -> None:
        """Keep who asks for a metric waiting, until the server ends."""
        self.faults[name] = self._wait

    def _wait(self, _: str) -> bytes:
        self.released.wait(30)
        return b""

    def _list(self, request: bytes, context: Any) -> bytes:
        self.asked.append("list")
        return self._faulty("list", context) if "list" in self.faults else listing(self.says)

    def _get(self, request: bytes, context: Any) -> bytes:
        # MetricRequest has the metric's name as its field 1, and it is first.
        name = request[2 : 2 + request[1]].decode()
        self.asked.append(name)
        if name in self.faults:
            return self._faulty(name, context)
        if name not in self.says:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no metric {name}")
        return response(name, (self._metric(name, device, value) for device, value in self.says[name].items()))

    def _faulty(self, name: str, context: Any) -> bytes:
        try:
            return self.faults[name](name)
        except grpc.RpcError:
            raise
        except LookupError as exc:
            context.abort(grpc.StatusCode.INTERNAL, str(exc))
            raise

    def _metric(self, name: str, device: int, value: Number | Distribution) -> bytes:
        listed = name.startswith(("hlo", "megascale"))
        attribute = by_list(self.ordinals(device)) if listed else by_number(device)
        return attribute + (distribution(value) if isinstance(value, Distribution) else gauge(value))
