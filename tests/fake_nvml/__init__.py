"""A fake NVIDIA driver: a real shared library, loaded by stock pynvml, whose state tests change while it runs.

    fake = FakeNvml(tmp_path / "state", devices=8)
    fake.devices[3].lose()
    subprocess.run([...], env=os.environ | fake.environment())

Other processes find it through `environment()`, this one through `load()`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import time
from collections.abc import Callable, Sequence
from ctypes import sizeof
from pathlib import Path

from tests.fake_nvml.device import FakeDevice
from tests.fake_nvml.layout import CALLS, DEVICES, EVENTS, State
from tests.fake_nvml.library import build, compiler, load, loaded_here

__all__ = ["FakeDevice", "FakeNvml", "build", "compiler", "load", "loaded_here", "wait_until"]

XID_EVENT = 0x8
FUTEX_CALL = {"x86_64": 202, "aarch64": 98}
FUTEX_WAKE, EVERYBODY = 1, 2**31 - 1
NO_DRIVER_CALLS = {"nvmlGpmSampleAlloc", "nvmlGpmMetricsGet"}
"""Calls that are arithmetic in the library: they take no time unless they are told to."""


class FakeNvml:
    """The driver and its devices; every change is seen at once by whoever uses the library with this state."""

    def __init__(
        self,
        path: Path,
        devices: int = 1,
        *,
        latency_seconds: float = 0.0005,
        driver: str = "570.86.15",
        event_wait_limit_seconds: float = 0.0,
    ) -> None:
        if devices > DEVICES:
            raise ValueError(f"fake_nvml: {devices!r} devices are too many; there is room for {DEVICES}")
        self.path = path
        path.write_bytes(bytes(sizeof(State)))
        with path.open("r+b") as file:
            self._state = State.from_buffer(mmap.mmap(file.fileno(), sizeof(State)))
        self._state.size = sizeof(State)
        self._state.driver = driver.encode()
        self._state.event_wait_limit_ms = round(event_wait_limit_seconds * 1000)
        self.latency_seconds = latency_seconds
        self.devices = tuple(FakeDevice(self._state, slot) for slot in range(devices))
        self.reorder(range(devices))

    def environment(self) -> dict[str, str]:
        """Variables for a process that shall see this driver."""
        folders = [str(build()), os.environ.get("LD_LIBRARY_PATH", "")]
        return {
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, folders)),
            "FAKE_NVML_STATE": str(self.path),
        }

    @property
    def latency_seconds(self) -> float:
        """What every call takes; see `slow` for one call."""
        return float(self._state.latency_ns[0]) * 1e-9

    @latency_seconds.setter
    def latency_seconds(self, seconds: float) -> None:
        for call in CALLS:
            if call not in NO_DRIVER_CALLS:
                self.slow(call, seconds)

    def slow(self, call: str, seconds: float) -> None:
        """Let one call take so long."""
        self._state.latency_ns[CALLS.index(call)] = round(seconds * 1e9)

    @property
    def slept_seconds(self) -> float:
        """The latency that callers have sat through in all their threads together."""
        return float(self._state.slept_ns) * 1e-9

    def fail(self, call: str, result: int) -> None:
        """Let one call return `result` on every device; 0 mends it."""
        self._state.results[CALLS.index(call)] = result
        self._wake()

    def fail_everything(self, result: int) -> None:
        """Let every call return `result`, initialisation included; 0 mends it."""
        self._state.result = result
        self._wake()

    def _wake(self) -> None:
        """Let those who wait for events look again, in whatever process."""
        self._state.wakes = (self._state.wakes + 1) % 2**32
        if (number := FUTEX_CALL.get(platform.machine())) is not None:
            address = ctypes.addressof(self._state) + State.wakes.offset
            ctypes.CDLL(None).syscall(
                ctypes.c_long(number), ctypes.c_void_p(address), FUTEX_WAKE, EVERYBODY, None, None, 0
            )

    def reload_driver(self) -> None:
        """Load the driver anew: who uses it must initialise again, counters of energy start at 0."""
        self._state.session += 1
        for device in self.devices:
            device.restore()
            device.reset_energy()
        self._wake()

    def reorder(self, slots: Sequence[int]) -> None:
        """Number the devices anew; those left out are gone from the bus."""
        self._state.device_count = len(slots)
        for index, slot in enumerate(slots):
            self._state.order[index] = slot
        for device in self.devices:
            device.forget_handles()

    def raise_event(self, device: FakeDevice, data: int, kind: int = XID_EVENT) -> None:
        """Report an event; by default an XID whose code is `data`."""
        entry = self._state.events[self._state.event_count % EVENTS]
        entry.type, entry.data, entry.device = kind, data, device.slot
        self._state.event_count += 1
        self._wake()

    def calls(self, call: str) -> int:
        """How often a call was made."""
        return int(self._state.calls[CALLS.index(call)])

    @property
    def all_calls(self) -> dict[str, int]:
        """How often each call was made, without those never made."""
        return {call: count for call in CALLS if (count := self.calls(call))}

    @property
    def gpm_panics(self) -> int:
        """How often a GPM sample was used from two places at once, or after it was freed: must stay 0."""
        return int(self._state.gpm_panics)

    @property
    def gpm_samples(self) -> int:
        """How many GPM samples are allocated and not yet freed."""
        return int(self._state.gpm_samples)

    @property
    def forbidden_calls(self) -> int:
        """How often something was set, or a blocking call made: gpuwatch must never."""
        return int(self._state.forbidden_calls)


def wait_until(happened: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Look every few milliseconds; False where it has not happened in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.003)
    return True
