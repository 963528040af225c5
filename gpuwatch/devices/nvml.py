"""The edge to NVML through stock `pynvml`: opening it, and what its errors mean.

The module `pynvml` is imported when the library is first opened, so that a node without it starts and stays
small. The library itself is never unloaded: after a driver upgrade only a new process can use it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from ctypes import c_void_p, cast
from enum import IntEnum
from typing import Any

from gpuwatch.errors import RestartRequired, Unavailable

Handle = Any
"""What NVML calls a device: a pointer that is worthless after the device or the driver was gone."""

Values = dict[str, Any]
"""The arguments of a `Reading` as they come together."""

Call = Callable[[Any, Handle, Values], None]
"""One question to the driver (pynvml, handle) whose answer goes into the values."""

Alternatives = tuple[Call, ...]
"""Calls for the same value, the best first."""

VALUE_TYPES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Which member of a field value's union is meant, by nvmlValueType_t."""


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
    """pynvml, and whether NVML is initialised in it; opened and closed in one thread.

    `session` is how often the driver was opened again because it had gone.
    """

    def __init__(self) -> None:
        self.api: Any = None
        self.driver: str | None = None
        self.session = 0
        self.opened = False
        self._initialised = False
        self._gone = False

    def open(self) -> None:
        """Initialise NVML unless that is done; `Unavailable` where this node has no driver to talk to."""
        if self.api is None:
            self.api = _pynvml()
        if not self._initialised:
            try:
                self.api.nvmlInit()
                self._initialised = True
                self.driver = self.api.nvmlSystemGetDriverVersion()
                self.session += self._gone
                self._gone = False
            except self.api.NVMLError as error:
                self.close()
                raise failure("nvidia", error) from error
        self.opened = True

    def lost(self, result: int) -> None:
        """A call of someone who had it open has failed so; note it where the driver has gone."""
        self._gone = self._gone or result in DRIVER_GONE

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


def supported(api: Any, handle: Handle, alternatives: Alternatives, values: Values) -> Alternatives:
    """Make the first call that is supported; what is worth calling next time. Raises what ends the handle."""
    for position, call in enumerate(alternatives):
        try:
            call(api, handle, values)
        except api.NVMLError as error:
            if error.value in DEVICE_GONE:
                raise
            if error.value in UNSUPPORTED:
                continue
        return alternatives[position:]
    return ()


def pci_address(api: Any, handle: Handle) -> str | None:
    """The PCI address as the driver writes it, None where it does not say."""
    try:
        return str(api.nvmlDeviceGetPciInfo(handle).busId)
    except api.NVMLError as error:
        if error.value in DEVICE_GONE:
            raise
        return None
