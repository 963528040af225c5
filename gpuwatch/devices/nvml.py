"""The edge to NVML through stock `pynvml`: opening it, what its errors mean, and its events.

The module `pynvml` is imported when the library is first opened, so that a node without it starts and stays
small. The library itself is never unloaded: after a driver upgrade only a new process can use it again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ctypes import c_void_p, cast
from enum import IntEnum
from typing import Any

from gpuwatch.errors import RestartRequired, Unavailable
from gpuwatch.model import Labels, Process

logger = logging.getLogger(__name__)

Handle = Any
"""What NVML calls a device: a pointer that is worthless after the device or the driver was gone."""

Values = dict[str, Any]
"""The arguments of a `Reading` as they come together."""

Call = Callable[[Any, Handle, Values], None]
"""One question to the driver (pynvml, handle) whose answer goes into the values."""

WAIT_MILLISECONDS = 1000
RETRY_SECONDS = 5.0
XID_EVENT = 0x8


class Result(IntEnum):
    """The nvmlReturn_t values that are treated differently from each other."""

    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    NOT_FOUND = 6
    DRIVER_NOT_LOADED = 9
    TIMEOUT = 10
    LIBRARY_NOT_FOUND = 12
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    LIB_RM_VERSION_MISMATCH = 18
    VGPU_ECC_NOT_SUPPORTED = 22
    ARGUMENT_VERSION_MISMATCH = 25
    DEPRECATED = 26
    GPU_NOT_FOUND = 28


DRIVER_GONE = frozenset({Result.UNINITIALIZED, Result.DRIVER_NOT_LOADED, Result.LIB_RM_VERSION_MISMATCH})
"""The library has to be opened again before any call can succeed."""

DEVICE_GONE = DRIVER_GONE | {Result.GPU_IS_LOST, Result.RESET_REQUIRED, Result.GPU_NOT_FOUND}
"""The handle is worthless; it has to be looked up again."""

UNSUPPORTED = frozenset(
    {
        Result.INVALID_ARGUMENT,
        Result.NOT_SUPPORTED,
        Result.NO_PERMISSION,
        Result.FUNCTION_NOT_FOUND,
        Result.VGPU_ECC_NOT_SUPPORTED,
        Result.ARGUMENT_VERSION_MISMATCH,
        Result.DEPRECATED,
    }
)
"""This device, driver or user will not get this value; asking again soon is wasted."""

ADVICE: Mapping[int, str] = {
    Result.LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 is not installed; install the NVIDIA driver, or in a "
    "container run with the NVIDIA runtime and the utility capability",
    Result.DRIVER_NOT_LOADED: "the kernel driver is not loaded; load it with 'modprobe nvidia' and see dmesg",
    Result.NO_PERMISSION: "no permission to use the driver; give this user read and write access to "
    "/dev/nvidiactl and /dev/nvidia[0-9]*",
    Result.UNINITIALIZED: "the driver was unloaded under this process; it is opened again",
    Result.GPU_IS_LOST: "the GPU has fallen off the bus; reset it or reboot the node, and see dmesg for its XID",
    Result.RESET_REQUIRED: "the GPU needs a reset; drain it and run 'nvidia-smi --gpu-reset'",
    Result.NOT_FOUND: "the GPU is no longer there; there is what 'nvidia-smi -L' lists",
    Result.GPU_NOT_FOUND: "the GPU is no longer there; there is what 'nvidia-smi -L' lists",
}


def failure(where: str, error: Any) -> Unavailable:
    """What to raise for an NVMLError: what is wrong, and what the operator can do about it."""
    if error.value == Result.LIB_RM_VERSION_MISMATCH:
        return RestartRequired(
            f"{where}: the library and the kernel driver differ in version, so the driver was replaced while "
            "this process ran; a new process is needed, or a reboot where that one fails too"
        )
    return Unavailable(f"{where}: {ADVICE.get(error.value) or f'{error} (NVML error {error.value})'}")


class Library:
    """pynvml, and whether NVML is initialised in it; opened and closed in one thread."""

    def __init__(self) -> None:
        self.api: Any = None
        self.driver: str | None = None
        self.opened = False
        self._initialised = False

    def open(self) -> None:
        """Initialise NVML unless that is done; `Unavailable` where this node has no driver to talk to."""
        if self.api is None:
            self.api = _pynvml()
        if not self._initialised:
            try:
                self.api.nvmlInit()
                self._initialised = True
                self.driver = self.api.nvmlSystemGetDriverVersion()
            except self.api.NVMLError as error:
                self.close()
                raise failure("nvidia", error) from error
        self.opened = True

    def suspend(self) -> None:
        """Let nobody begin to use it."""
        self.opened = False

    def close(self) -> None:
        """Let go of the driver; nobody may be using it."""
        self.opened = False
        if self._initialised:
            self._initialised = False
            with suppress(self.api.NVMLError):
                self.api.nvmlShutdown()


def _pynvml() -> Any:
    try:
        import pynvml
    except ImportError as exc:
        raise Unavailable("nvidia: the Python module pynvml is missing; install nvidia-ml-py") from exc
    return pynvml


def address(handle: Handle) -> int:
    """The number behind a handle; two handles of one device have the same."""
    return cast(handle, c_void_p).value or 0


def pci_address(api: Any, handle: Handle) -> str | None:
    """The PCI address as the driver writes it, None where it does not say."""
    try:
        return str(api.nvmlDeviceGetPciInfo(handle).busId)
    except api.NVMLError as error:
        if error.value in DEVICE_GONE:
            raise
        return None


class XidWatch:
    """Counts XIDs by device and code, in a thread of its own because waiting for events blocks.

    The set of events is rebuilt after every error and whenever the devices change.
    """

    def __init__(self, clock: Callable[[], float] = time.time, retry_seconds: float = RETRY_SECONDS) -> None:
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._counts: dict[str, dict[str, float]] = {}
        self._last: dict[str, dict[str, float]] = {}
        self._handles: dict[int, tuple[str, Handle]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def counts(self, uid: str) -> Mapping[str, float] | None:
        """XIDs of a device by code since the agent started; None where there was none."""
        return self._counts.get(uid)

    def last(self, uid: str) -> Mapping[str, float] | None:
        """When each code was last reported, Unix seconds."""
        return self._last.get(uid)

    def watch(self, api: Any, handles: Mapping[str, Handle]) -> None:
        """From now on listen to these devices, by uid."""
        wanted = {address(handle): (uid, handle) for uid, handle in handles.items()}
        if _uids(wanted) != _uids(self._handles):
            self._handles = wanted
        if self._thread is None and wanted:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(api, self._stop), name="xid", daemon=True)
            self._thread.start()

    def stop(self) -> bool:
        """End the thread; False where it is stuck in the driver."""
        self._stop.set()
        if self._thread is None:
            return True
        self._thread.join(timeout=2 * WAIT_MILLISECONDS / 1000)
        if self._thread.is_alive():
            return False
        self._thread, self._handles = None, {}
        return True

    def _run(self, api: Any, stop: threading.Event) -> None:
        told = 0
        while not stop.is_set():
            try:
                self._listen(api, stop)
                told = 0
            except api.NVMLError as error:
                if error.value != told:
                    logger.warning("xid events interrupted error=%s code=%d", error, error.value)
                told = error.value
                stop.wait(self._retry_seconds)

    def _listen(self, api: Any, stop: threading.Event) -> None:
        handles = self._handles
        events = api.nvmlEventSetCreate()
        try:
            if not _register(api, handles, events):
                stop.wait(self._retry_seconds)
                return
            while handles is self._handles and not stop.is_set():
                try:
                    event = api.nvmlEventSetWait_v2(events, WAIT_MILLISECONDS)
                except api.NVMLError_Timeout:
                    continue
                self._note(handles, event)
        finally:
            with suppress(api.NVMLError):
                api.nvmlEventSetFree(events)

    def _note(self, handles: Mapping[int, tuple[str, Handle]], event: Any) -> None:
        found = handles.get(address(event.device))
        if found is None or not event.eventType & XID_EVENT:
            return
        uid, code, now = found[0], str(event.eventData), self._clock()
        counts = self._counts.get(uid, {})
        # New mappings, never changed ones: readings that were handed out keep the old.
        self._counts[uid] = counts | {code: counts.get(code, 0.0) + 1}
        self._last[uid] = self._last.get(uid, {}) | {code: now}
        logger.warning("xid reported device=%s xid=%s", uid, code)


def _uids(handles: Mapping[int, tuple[str, Handle]]) -> dict[int, str]:
    return {number: uid for number, (uid, _) in handles.items()}


def _register(api: Any, handles: Mapping[int, tuple[str, Handle]], events: Any) -> int:
    registered = 0
    for _, handle in handles.values():
        try:
            api.nvmlDeviceRegisterEvents(handle, XID_EVENT, events)
        except api.NVMLError as error:
            if error.value in DRIVER_GONE:
                raise
        else:
            registered += 1
    return registered


MEMORY_V2 = 0x02000028
VALUE_TYPES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
DEVICE_SCOPE = 0
ENERGY, POWER_AVERAGE, POWER_INSTANT = 83, 185, 186
POWERS = frozenset({POWER_AVERAGE, POWER_INSTANT})

FIELDS: Mapping[int, tuple[str, Labels | None, float]] = {
    ENERGY: ("energy_joules", None, 1000),
    POWER_AVERAGE: ("power_watts", ("average", "device"), 1000),
    POWER_INSTANT: ("power_watts", ("instant", "device"), 1000),
    74: ("throttle_seconds", "sw_power_cap", 1e9),
    76: ("throttle_seconds", "sync_boost", 1e9),
    269: ("throttle_seconds", "sw_thermal", 1e9),
    270: ("throttle_seconds", "hw_thermal", 1e9),
    271: ("throttle_seconds", "hw_power_brake", 1e9),
}
"""Field id → (name in `Reading`, label, how many of the field's unit make a base unit)."""


def _utilization(api: Any, handle: Handle, values: Values) -> None:
    rates = api.nvmlDeviceGetUtilizationRates(handle)
    values["utilization_ratio"] = rates.gpu / 100
    values["memory_utilization_ratio"] = rates.memory / 100


def _encoder(api: Any, handle: Handle, values: Values) -> None:
    values["encoder_ratio"] = api.nvmlDeviceGetEncoderUtilization(handle)[0] / 100


def _decoder(api: Any, handle: Handle, values: Values) -> None:
    values["decoder_ratio"] = api.nvmlDeviceGetDecoderUtilization(handle)[0] / 100


def _memory(api: Any, handle: Handle, values: Values) -> None:
    memory = api.nvmlDeviceGetMemoryInfo(handle, version=MEMORY_V2)
    values["memory_used_bytes"] = memory.used
    values["memory_total_bytes"] = memory.total
    values["memory_reserved_bytes"] = memory.reserved


def _memory_v1(api: Any, handle: Handle, values: Values) -> None:
    memory = api.nvmlDeviceGetMemoryInfo(handle)
    values["memory_used_bytes"] = memory.used
    values["memory_total_bytes"] = memory.total


def _temperature(api: Any, handle: Handle, values: Values) -> None:
    values["temperature_celsius"] = {"gpu": api.nvmlDeviceGetTemperatureV(handle, 0)}


def _temperature_v1(api: Any, handle: Handle, values: Values) -> None:
    values["temperature_celsius"] = {"gpu": api.nvmlDeviceGetTemperature(handle, 0)}


def _clock(number: int, domain: str) -> Call:
    def call(api: Any, handle: Handle, values: Values) -> None:
        values.setdefault("clock_hz", {})[domain] = api.nvmlDeviceGetClockInfo(handle, number) * 1e6

    return call


def _processes(api: Any, handle: Handle, values: Values) -> None:
    memory: dict[int, int | None] = {}
    for each in api.nvmlDeviceGetComputeRunningProcesses_v3(handle):
        held, more = memory.get(each.pid, 0), each.usedGpuMemory
        memory[each.pid] = None if held is None or more is None else held + more
    values["processes"] = tuple(Process(pid, held) for pid, held in memory.items())


def total_energy(api: Any, handle: Handle, values: Values) -> None:
    """The energy counter by its own call."""
    values["energy_joules"] = api.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000


def power_usage(window: str) -> Call:
    """The call that gives power over a window that depends on the architecture."""

    def call(api: Any, handle: Handle, values: Values) -> None:
        values["power_watts"] = {(window, "device"): api.nvmlDeviceGetPowerUsage(handle) / 1000}

    return call


def _power_limit(api: Any, handle: Handle, values: Values) -> None:
    values["power_limit_watts"] = api.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000


def _ecc(kind: int, scope: int) -> Call:
    labels = ("corrected", "uncorrected")[kind], ("volatile", "aggregate")[scope]

    def call(api: Any, handle: Handle, values: Values) -> None:
        count = api.nvmlDeviceGetTotalEccErrors(handle, kind, scope)
        values.setdefault("ecc_errors", {})[labels] = count

    return call


Alternatives = tuple[Call, ...]
"""Calls for the same value, the best first."""

CALLS: tuple[Alternatives, ...] = (
    (_utilization,),
    (_memory, _memory_v1),
    (_temperature, _temperature_v1),
    (_clock(1, "sm"),),
    (_processes,),
)
SLOW_CALLS: tuple[Alternatives, ...] = (
    (_power_limit,),
    (_encoder,),
    (_decoder,),
    *((_ecc(kind, scope),) for kind in (0, 1) for scope in (0, 1)),
    *((_clock(number, name),) for number, name in ((0, "graphics"), (2, "memory"), (3, "video"))),
)


def take_field(answer: Any, values: Values) -> None:
    """Put the answer to one field, which must be a success, into the values."""
    name, label, unit = FIELDS[answer.fieldId]
    number = getattr(answer.value, VALUE_TYPES[answer.valueType]) / unit
    if label is None:
        values[name] = number
    else:
        values.setdefault(name, {})[label] = number
