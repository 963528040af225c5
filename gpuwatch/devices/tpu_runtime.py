"""A TPU runtime's metric service on one port: what it lists, and what of that it says.

The service lives in the process that computes: where nobody listens, nobody computes. Whether somebody does is
tried with a plain connection, so that gRPC is loaded by a node on which a TPU is used, and not before.
"""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from gpuwatch.devices import tpu_wire
from gpuwatch.devices.tpu_wire import Sample
from gpuwatch.hygiene import log

EXTRA = "tpu"
CALL_SECONDS = 0.3
CONNECT_SECONDS = 0.1
LIST_SECONDS = 60.0
# A port that kept somebody waiting is left alone for so long.
PAUSE_SECONDS = 5.0
MAX_BYTES = 4 * 2**20
ADDRESSES = (
    (socket.AF_INET, "127.0.0.1", "ipv4:127.0.0.1"),
    (socket.AF_INET6, "::1", "ipv6:[::1]"),
)
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # Measured bandwidth, retries and configurations by DNS cost a wake-up or a filter for each call.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
)

DUTY = "tpu.runtime.tensorcore.dutycycle.percent"
USED = "tpu.runtime.hbm.memory.usage.bytes"
TOTAL = "tpu.runtime.hbm.memory.total.bytes"
BANDWIDTH = "tpu.runtime.hbm.utilization.percent"
IDLE = "tpu.runtime.tensorcore.idle_duration.seconds"
UPTIME = "tpu.runtime.uptime.seconds.gauge"
QUEUE = "hlo.queue.size.gauge"
PROGRAMS = "hlo.execution.timing.distribution.microseconds"
TRANSFERS: Mapping[str, str] = {
    f"megascale.{name}.microsecond.cumulative.distribution": label
    for name, label in {
        "dcn_transfer_latencies": "dcn_send",
        "dcn_inbound_transfer_latencies": "dcn_receive",
        "host_to_device_transfer_latencies": "host_to_device",
        "device_to_host_transfer_latencies": "device_to_host",
        "collective_end_to_end_latencies": "collective",
        "mxla_compute_latencies": "host_compute",
        "grpc_tcp_min_rtt": "network_round_trip",
    }.items()
}
TENSOR, LINKS, THROTTLE = "tensorcore_utilization", "ici_link_health", "tpu_throttle_score"
"""Not said by the service: the first by a device plugin, all by Google's own library."""

CORE = frozenset({DUTY, USED, TOTAL})
"""What a runtime says that is too old to list what it says."""

PERIODS: Mapping[str, float] = {
    DUTY: 0.0,
    USED: 10.0,
    BANDWIDTH: 15.0,
    **dict.fromkeys((IDLE, QUEUE), 30.0),
    **dict.fromkeys((TOTAL, UPTIME, PROGRAMS), 60.0),
    **dict.fromkeys(TRANSFERS, 120.0),
}
"""What is asked for, and how often; in between, what was said last of the slow ones stands."""

_SLOW_AT_ONCE = 2

Answered = Literal["answers", "absent", "silent"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking a port: `absent` where nobody listens, `silent` where somebody does and says nothing."""

    state: Answered
    detail: str = ""
    listed: frozenset[str] = frozenset()
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)


ABSENT = Answer("absent", "nobody listens")


class _Lost(Exception):
    """The port says nothing more this time; `seconds` for which it is to be left alone."""

    def __init__(self, detail: str, seconds: float = 0.0) -> None:
        self.seconds = seconds
        super().__init__(detail)


def installed() -> bool:
    """Whether gRPC can be loaded; it is not loaded by asking."""
    return all(importlib.util.find_spec(name) is not None for name in ("grpc", "google.protobuf"))


class Library:
    """gRPC and the messages' classes, once a port is first asked."""

    def __init__(self) -> None:
        self.grpc: Any = None
        self.messages: Mapping[str, Any] = {}

    @property
    def loaded(self) -> bool:
        """Whether it was loaded."""
        return self.grpc is not None

    def load(self) -> None:
        """`ImportError` where the extra is not installed."""
        if self.grpc is None:
            import grpc

            self.messages = tpu_wire.classes()
            self.grpc = grpc


class RuntimePort:
    """One port. Not thread-safe; `clock` is monotonic."""

    def __init__(self, number: int, library: Library, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self._library = library
        self._clock = clock
        self._channel: Any = None
        self._methods: Mapping[str, Any] = {}
        self._requests: dict[str, bytes] = {}
        self._listed: frozenset[str] | None = None
        self._list_at = 0.0
        self._due: dict[str, float] = {}
        self._slow: dict[str, tuple[Sample, ...]] = {}
        self._resume = float("-inf")
        self._silent = ""

    def ask(self, until: float) -> Answer:
        """What it says now; answered before the clock shows `until`."""
        if self._clock() < self._resume:
            return Answer("silent", self._silent)
        rejected: dict[str, int] = {}
        try:
            if self._channel is None and not self._connect():
                return ABSENT
            listed = self._list(until)
            samples = self._samples(listed, until, rejected)
        except ImportError as exc:
            return Answer("silent", f"{exc}; install gpuwatch[{EXTRA}]")
        except _Lost as lost:
            self.close()
            if not lost.seconds and self._listener() is None:
                return ABSENT
            self._silent = str(lost)
            self._resume = self._clock() + lost.seconds if lost.seconds else self._resume
            rejected["no_answer"] = rejected.get("no_answer", 0) + 1
            return Answer("silent", self._silent, rejected=rejected)
        return Answer("answers", f"lists {len(listed)} metrics", listed, samples, rejected)

    def is_new(self) -> bool:
        """Whether somebody listens, for whom gRPC has yet to be loaded."""
        return not self._library.loaded and installed() and self._listener() is not None

    def renew(self) -> None:
        """Another process may be behind the port: ask for what it lists again."""
        self._list_at = 0.0

    def close(self) -> None:
        """Let go of the connection, and of what was said."""
        channel, self._channel = self._channel, None
        self._listed = None
        self._slow.clear()
        self._due.clear()
        if channel is not None:
            channel.close()

    def _listener(self) -> str | None:
        """Who listens on the port, as gRPC calls it."""
        for family, address, target in ADDRESSES:
            with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.settimeout(CONNECT_SECONDS)
                probe.connect((address, self.number))
                return f"{target}:{self.number}"
        return None

    def _connect(self) -> bool:
        target = self._listener()
        if target is not None:
            self._library.load()
            self._channel = self._library.grpc.insecure_channel(target, options=OPTIONS)
            self._methods = {name: self._channel.unary_unary(name) for name in (tpu_wire.LIST, tpu_wire.GET)}
        return target is not None

    def _list(self, until: float) -> frozenset[str]:
        now = self._clock()
        if self._listed is not None and now < self._list_at:
            return self._listed
        body = self._call(tpu_wire.LIST, b"", until)
        if body is None:
            listed = CORE
        else:
            listed = tpu_wire.names_in(self._parsed("ListSupportedMetricsResponse", body))
        if listed != self._listed:
            self._due.clear()
        self._slow = {name: each for name, each in self._slow.items() if name in listed}
        self._listed, self._list_at = listed, now + LIST_SECONDS
        return listed

    def _samples(
        self, listed: Iterable[str], until: float, rejected: dict[str, int]
    ) -> Mapping[str, tuple[Sample, ...]]:
        found: dict[str, tuple[Sample, ...]] = {}
        # The slow ones a few at a time but at first, so that no second costs much more than another.
        slow = 0
        for name, period in PERIODS.items():
            if name not in listed:
                continue
            if period and name in self._due:
                if slow >= _SLOW_AT_ONCE or self._clock() < self._due[name]:
                    continue
                slow += 1
            samples = self._asked(name, until, rejected)
            if period:
                self._due[name] = self._clock() + period
                self._slow[name] = samples
            else:
                found[name] = samples
        return self._slow | found

    def _asked(self, name: str, until: float, rejected: dict[str, int]) -> tuple[Sample, ...]:
        if name not in self._requests:
            request = self._library.messages["MetricRequest"](metric_name=name)
            self._requests[name] = request.SerializeToString()
        body = self._call(tpu_wire.GET, self._requests[name], until)
        if body is None:
            rejected["refused"] = rejected.get("refused", 0) + 1
            self.renew()
            return ()
        try:
            return tuple(tpu_wire.samples_in(self._parsed("MetricResponse", body)))
        except _Malformed:
            rejected["malformed"] = rejected.get("malformed", 0) + 1
            return ()

    def _call(self, method: str, request: bytes, until: float) -> bytes | None:
        """The answer's bytes, None where the service refuses this question alone."""
        grpc = self._library.grpc
        timeout = min(CALL_SECONDS, until - self._clock())
        if timeout <= 0:
            raise _Lost("was not asked: others took the time")
        try:
            answer: bytes = self._methods[method](request, timeout=timeout)
        except grpc.RpcError as exc:
            code = exc.code()
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise _Lost(f"does not answer within {CALL_SECONDS:g} s", PAUSE_SECONDS) from exc
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise _Lost(f"closed the connection; {log(str(exc.details()))}") from exc
            return None
        return answer

    def _parsed(self, name: str, body: bytes) -> Any:
        from google.protobuf.message import DecodeError

        message = self._library.messages[name]()
        try:
            message.ParseFromString(body)
        except DecodeError as exc:
            if name == "MetricResponse":
                raise _Malformed from exc
            raise _Lost(f"what it answered is no {name}", PAUSE_SECONDS) from exc
        return message


class _Malformed(Exception):
    """An answer about a metric cannot be read."""
