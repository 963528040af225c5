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
from gpuwatch.devices.nvml_fields import COSTLY, FAST, FIELDS, REMAPPED, SLOW, Fields, Key, put

SLOW_SECONDS, LATE_SECONDS = 10.0, 5.0
PROBE_AGAIN_SECONDS = 600.0
PROCESS_SECONDS = 5.0
# Every fifth reading of one a second, however unevenly they come.
COSTLY_SECONDS = 4.5


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


class Costly:
    """Counters that cost more than all else: asked for every 5 s, and as soon as others hold the device.

    They count on in between, so nothing is lost; and what was counted belongs to those who held it meanwhile.
    """

    def __init__(self) -> None:
        self.fields = Fields(COSTLY)
        self.calls: list[Alternatives] = []
        self._holders: frozenset[int] | None = None
        self._asked: float | None = None

    def due(self, now: float, values: Values) -> bool:
        """Whether to ask again; also where an answer failed to come the last time."""
        recent = self._asked is not None and 0 <= now - self._asked < COSTLY_SECONDS
        return not recent or self._holders != _pids(values)

    def read(self, api: Any, handle: Handle, values: Values, now: float) -> tuple[dict[Key, float], set[Key]]:
        """As of `Fields.read`; `values` says who holds the device."""
        numbers, refused = self.fields.read(api, handle)
        complete = frozenset(self.fields.keys) <= numbers.keys()
        self._holders, self._asked = _pids(values), now if complete else None
        return numbers, refused


def _pids(values: Values) -> frozenset[int] | None:
    processes = values.get("processes")
    return None if processes is None else frozenset(process.pid for process in processes)


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
        self._costly = Costly()
        self._slow_fields = Fields(SLOW)
        self._electrical: frozenset[Key] | None = None
        self._rows: Alternatives = (nvml_calls.remapped_rows,)
        self._calls: list[Alternatives] = list(nvml_calls.FAST_CALLS)
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
        numbers, refused = self._fast.read(self._api, self.handle)
        self._calls = self._answered(self._calls, values)
        if not values and not numbers:
            return values
        if self._sliced:
            values["processes"] = ()
        else:
            self._processes.read(self._api, self.handle, values, now)
        self._ask_electrical(numbers, refused, values, now)
        self._ask_slow(now)
        for slow in self._slow:
            _merge(values, slow.values)
        self._activity.read(values)
        return values

    def _answered(self, calls: Iterable[Alternatives], values: Values) -> list[Alternatives]:
        return _answered(self._api, self.handle, calls, values)

    def _ask_electrical(self, numbers: dict[Key, float], refused: set[Key], values: Values, now: float) -> None:
        """Add power, the costly counters where they are due, and what else `numbers` has."""
        due = self._electrical is None or self._costly.due(now, values)
        if due:
            more, gone = self._costly.read(self._api, self.handle, values, now)
            numbers, refused = numbers | more, refused | gone
        if self._electrical is None:
            numbers = self._settle(numbers, values)
        elif refused & self._electrical:
            self._made = float("-inf")  # what it supports has changed: the next read finds out anew
        put(FIELDS, numbers, values)
        if due:
            self._costly.calls = self._answered(self._costly.calls, values)

    def _settle(self, numbers: dict[Key, float], values: Values) -> dict[Key, float]:
        """Choose the fields of power and energy once each has been answered or refused."""
        open_keys = nvml_fields.ELECTRICAL & frozenset((*self._fast.keys, *self._costly.fields.keys))
        if not open_keys <= numbers.keys():
            return {key: number for key, number in numbers.items() if key not in nvml_fields.ENERGIES}
        kept = nvml_fields.electrical(numbers)
        unwanted = nvml_fields.ELECTRICAL - kept
        self._fast.drop(unwanted)
        self._costly.fields.drop(unwanted)
        self._electrical = kept
        self._add_older_calls(kept, values)
        return {key: number for key, number in numbers.items() if key not in unwanted}

    def _add_older_calls(self, kept: frozenset[Key], values: Values) -> None:
        device, module = kept & nvml_fields.DEVICE_POWERS, kept & nvml_fields.MODULE_POWERS
        if not kept & nvml_fields.ENERGIES and not (device and module):
            self._costly.calls.append((nvml_calls.total_energy,))
        if not device and not module:
            power = nvml_calls.power_usage(_window(self._api, self.handle))
            self._calls += self._answered([(power,)], values)

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
        slow.calls = self._answered(slow.calls, slow.values)
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
