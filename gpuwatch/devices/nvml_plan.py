"""What is worth asking one device, and when; found out at its first read, in the thread that reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gpuwatch.devices import mig, nvml_calls, nvml_fields
from gpuwatch.devices.gpm import Activity
from gpuwatch.devices.nvml import Alternatives, Call, Handle, Result, Values, supported
from gpuwatch.devices.nvml_fields import FAST, REMAPPED, SLOW, Fields, Key, put

SLOW_SECONDS, LATE_SECONDS = 10.0, 5.0
PROBE_AGAIN_SECONDS = 600.0
PROCESS_SECONDS = 5.0


@dataclass(slots=True)
class _Slow:
    """Calls that cost more than they change: what they said last, and when."""

    calls: list[Alternatives]
    values: Values = field(default_factory=dict)
    asked: float = 0.0

    def due(self, now: float) -> bool:
        """Whether they are to be made again."""
        return now - self.asked >= SLOW_SECONDS

    def late(self, now: float) -> bool:
        """Whether they were due long ago, or the clock went back: what they said is not worth saying again."""
        return not 0 <= now - self.asked < SLOW_SECONDS + LATE_SECONDS


class ProcessList:
    """Who has a device open, asked for when that may have changed.

    In between the last list is given again, the one value for which that is right: the meter must know the
    holders at every tick, and a process cannot come or go without its context, hundreds of MiB of used memory.
    A change that hides from memory and utilization (one process for another of the same size) shows in 5 s.
    """

    def __init__(self) -> None:
        self._calls: Alternatives = (nvml_calls.processes,)
        self._last: Values = {}
        self._seen: tuple[Any, bool] | None = None
        self._asked: float | None = None

    def read(self, api: Any, handle: Handle, values: Values, now: float) -> None:
        """Add the processes, unless the driver would not say."""
        seen = values.get("memory_used_bytes"), bool(values.get("utilization_ratio"))
        if self._stale(seen, now):
            self._last = {}
            self._calls = supported(api, handle, self._calls, self._last)
            self._seen, self._asked = seen, now
        values |= self._last

    def _stale(self, seen: tuple[Any, bool], now: float) -> bool:
        if not self._calls:
            return False
        recent = self._asked is not None and 0 <= now - self._asked < PROCESS_SECONDS
        return not recent or not self._last or seen != self._seen or seen[0] is None


class GpuPlan:
    """The questions to a whole GPU. In MIG mode nobody can hold it whole: it has no processes."""

    def __init__(
        self, api: Any, handle: Handle, made: float, watch: Call, activity: Activity, *, sliced: bool
    ) -> None:
        self.handle = handle
        self._api = api
        self._made = made
        self._activity = activity
        self._sliced = sliced
        self._fast = Fields(FAST)
        self._slow_fields = Fields(SLOW)
        self._electrical: frozenset[Key] | None = None
        self._rows: Alternatives = (nvml_calls.remapped_rows,)
        self._calls: list[Alternatives] = [nvml_calls.UTILIZATION, nvml_calls.MEMORY]
        self._processes = ProcessList()
        slots = [*nvml_calls.SLOW_SLOTS, ((self._ask_slow_fields,),), ((watch,),)]
        self._slow = deque(_Slow(list(slot)) for slot in slots)
        self._fresh = True

    def expired(self, now: float) -> bool:
        """Whether to find out anew what is supported: permissions and modes change that without a reset."""
        return not 0 <= now - self._made < PROBE_AGAIN_SECONDS

    def close(self) -> None:
        """Free what it holds in the driver; nobody may be in `read`."""
        self._activity.close()

    def read(self, now: float) -> Values:
        """All that the device says; empty where it says nothing. Raises only what makes the plan worthless."""
        values: Values = {}
        self._ask_fast_fields(values)
        self._calls = _answered(self._api, self.handle, self._calls, values)
        if not values:
            return values
        if self._sliced:
            values["processes"] = ()
        else:
            self._processes.read(self._api, self.handle, values, now)
        self._ask_slow(now)
        for slow in self._slow:
            _merge(values, slow.values)
        self._activity.read(values)
        return values

    def _ask_fast_fields(self, values: Values) -> None:
        numbers, refused = self._fast.read(self._api, self.handle)
        if self._electrical is None:
            numbers = self._settle(numbers)
        elif refused & self._electrical:
            self._made = float("-inf")  # what it supports has changed: the next read finds out anew
        put(FAST, numbers, values)

    def _settle(self, numbers: dict[Key, float]) -> dict[Key, float]:
        """Choose the fields of power and energy once each has been answered or refused."""
        open_keys = nvml_fields.ELECTRICAL & frozenset(self._fast.keys)
        if not open_keys <= numbers.keys():
            return {key: number for key, number in numbers.items() if key not in nvml_fields.ENERGIES}
        kept = nvml_fields.electrical(numbers)
        self._fast.drop(nvml_fields.ELECTRICAL - kept)
        self._electrical = kept
        self._add_older_calls(kept)
        return {key: number for key, number in numbers.items() if key in self._fast.keys}

    def _add_older_calls(self, kept: frozenset[Key]) -> None:
        device, module = kept & nvml_fields.DEVICE_POWERS, kept & nvml_fields.MODULE_POWERS
        if not kept & nvml_fields.ENERGIES and not (device and module):
            self._calls.append((nvml_calls.total_energy,))
        if not device and not module:
            self._calls.append((nvml_calls.power_usage(_window(self._api, self.handle)),))

    def _ask_slow_fields(self, api: Any, handle: Handle, values: Values) -> None:
        numbers, _ = self._slow_fields.read(api, handle)
        put(SLOW, numbers, values)
        if not REMAPPED & frozenset(self._slow_fields.keys):
            self._rows = supported(api, handle, self._rows, values)
        if not self._slow_fields.keys and not self._rows:
            raise api.NVMLError(Result.NOT_SUPPORTED)

    def _ask_slow(self, now: float) -> None:
        """All at the first read and after a gap; else one at a time, so that reads take about as long."""
        if self._fresh or (self._slow and self._slow[0].late(now)):
            self._fresh = False
            count = len(self._slow)
            for position in range(count):
                self._ask_next(now - SLOW_SECONDS * (count - 1 - position) / count)
        elif self._slow and self._slow[0].due(now):
            self._ask_next(now)

    def _ask_next(self, asked: float) -> None:
        """`asked` is when it counts as asked: apart from each other, so that one is due at every read."""
        slow = self._slow.popleft()
        slow.values, slow.asked = {}, asked
        slow.calls = _answered(self._api, self.handle, slow.calls, slow.values)
        if slow.calls:
            self._slow.append(slow)


class SlicePlan:
    """The questions to a slice of a GPU (MIG): all but memory, processes and activity is its GPU's."""

    def __init__(self, api: Any, handle: Handle, uid: str, made: float, activity: Activity | None) -> None:
        self.handle = handle
        self._api = api
        self._uid = uid
        self._made = made
        self._activity = activity
        self._calls: list[Alternatives] = [nvml_calls.MEMORY]
        self._processes = ProcessList()

    def expired(self, now: float) -> bool:
        """As of `GpuPlan`."""
        return not 0 <= now - self._made < PROBE_AGAIN_SECONDS

    def close(self) -> None:
        """As of `GpuPlan`."""
        if self._activity is not None:
            self._activity.close()

    def read(self, now: float) -> Values:
        """As of `GpuPlan`; also raises where the handle has come to mean another slice."""
        values: Values = {}
        self._calls = _answered(self._api, self.handle, self._calls, values)
        if not values:
            return values
        self._processes.read(self._api, self.handle, values, now)
        if self._activity is not None:
            self._activity.read(values)
        # Last: a handle that means this slice now has meant it all the while.
        mig.confirm(self._api, self.handle, self._uid)
        return values


Plan = GpuPlan | SlicePlan


def _merge(values: Values, more: Values) -> None:
    for name, value in more.items():
        values[name] = {**values[name], **value} if name in values and isinstance(value, dict) else value


def _answered(api: Any, handle: Handle, calls: Iterable[Alternatives], values: Values) -> list[Alternatives]:
    """Make each call, or its first alternative that is supported; return those worth making again."""
    return [left for each in calls if (left := supported(api, handle, each, values))]


def _window(api: Any, handle: Handle) -> str:
    """What nvmlDeviceGetPowerUsage means on this architecture; see `gpuwatch.devices.nvidia`."""
    capability = (0, 0)
    with suppress(api.NVMLError):
        capability = tuple(api.nvmlDeviceGetCudaComputeCapability(handle))
    return "instant" if (6, 0) <= capability <= (8, 0) else "average"
