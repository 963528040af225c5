"""NVIDIA GPUs through NVML.

What is read, and from where (`field N` is a value id of nvmlDeviceGetFieldValues, one call for all of them):

| value | source | instead, where that is not supported |
|---|---|---|
| utilization, memory utilization | nvmlDeviceGetUtilizationRates | |
| memory | nvmlDeviceGetMemoryInfo_v2 | …MemoryInfo, whose `used` includes what the driver reserves |
| power, average | field 185: mean of 1 s | nvmlDeviceGetPowerUsage, labelled by architecture |
| power, instant | field 186: 25 to 100 ms of it, by architecture | the same |
| energy | field 83, mJ since driver load | nvmlDeviceGetTotalEnergyConsumption |
| throttle time | fields 74, 76, 269, 270, 271, ns since driver load | |
| temperature | nvmlDeviceGetTemperatureV | nvmlDeviceGetTemperature |
| clock of the SMs | nvmlDeviceGetClockInfo | |
| processes | nvmlDeviceGetComputeRunningProcesses_v3 | |
| other clocks, power limit, ECC totals, encoder, decoder | a call each, one of them at a read, each every 10 s | |
| XID | events, see `nvml.XidWatch` | |

nvmlDeviceGetPowerUsage is a mean of 1 s on Ampere (but GA100) and later, and what the sensor saw in its last 10
to 100 ms on Pascal, Volta, Turing and GA100 (compute capability 6.0 to 8.0); before Pascal it is a filtered mean.
Graphics processes are not holders: a display server would otherwise share every GPU with the job on it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from gpuwatch.devices import nvml
from gpuwatch.devices.nvml import Alternatives, Handle, Values, failure
from gpuwatch.errors import Unavailable
from gpuwatch.model import Device, Reading, Site

logger = logging.getLogger(__name__)

SLOW_SECONDS = 10.0
PROBE_AGAIN_SECONDS = 600.0
DRAIN_SECONDS = 1.0


@dataclass(slots=True)
class _Slow:
    """A call that costs more than it changes: what it said last, and when."""

    calls: Alternatives
    values: Values = field(default_factory=dict)
    read: float | None = None

    def due(self, now: float) -> bool:
        """Whether it is to be asked again; also where the clock went back."""
        return self.read is None or not 0 <= now - self.read < SLOW_SECONDS


@dataclass(slots=True)
class _Plan:
    """What is worth asking a device; belongs to the thread that reads it."""

    handle: Handle
    made: float
    fields: list[tuple[int, int]] = field(
        default_factory=lambda: [(each, nvml.DEVICE_SCOPE) for each in nvml.FIELDS]
    )
    calls: list[Alternatives] = field(default_factory=lambda: list(nvml.CALLS))
    slow: deque[_Slow] = field(default_factory=lambda: deque(_Slow(each) for each in nvml.SLOW_CALLS))


class NvidiaDevices:
    """The NVIDIA GPUs of this node, by UUID; an index is only what the driver calls them today."""

    class Settings(BaseModel):
        """There is nothing to set."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, settings: Settings, site: Site) -> None:
        self._site = site
        self._library = nvml.Library()
        self._xids = nvml.XidWatch()
        self._known: dict[str, Device] = {}
        self._plans: dict[str, _Plan] = {}
        self._reading: set[str] = set()
        self._stale = False
        self._told: frozenset[int] = frozenset()

    def scan(self, now: float) -> Sequence[Device]:
        """The GPUs there are; one that was seen before and is lost stays listed, and its reads fail."""
        if self._stale:
            self._release()
            self._stale = False
        self._library.open()
        api = self._library.api
        try:
            found, handles, missing = self._enumerate(api)
        except api.NVMLError as error:
            self._stale = True
            raise failure("nvidia", error) from error
        self._tell(missing)
        if not handles:
            self._stale = True
        lost = {uid: each for uid, each in self._known.items() if uid not in found and each.index in missing}
        self._known = found | lost
        if not self._known:
            raise _nothing(missing, self._library.driver)
        self._xids.watch(api, handles)
        return tuple(sorted(self._known.values(), key=lambda device: device.index))

    def _enumerate(self, api: Any) -> tuple[dict[str, Device], dict[str, Handle], dict[int, Any]]:
        found: dict[str, Device] = {}
        handles: dict[str, Handle] = {}
        missing: dict[int, Any] = {}
        for index in range(api.nvmlDeviceGetCount()):
            try:
                handle = api.nvmlDeviceGetHandleByIndex(index)
                device = self._describe(api, index, handle)
            except api.NVMLError as error:
                if error.value in nvml.DRIVER_GONE:
                    raise
                missing[index] = error
            else:
                found[device.uid], handles[device.uid] = device, handle
        return found, handles, missing

    def _describe(self, api: Any, index: int, handle: Handle) -> Device:
        return Device(
            uid=api.nvmlDeviceGetUUID(handle),
            node=self._site.node,
            index=index,
            vendor="nvidia",
            model=api.nvmlDeviceGetName(handle),
            pci=nvml.pci_address(api, handle),
            driver=self._library.driver,
        )

    def _tell(self, missing: Mapping[int, Any]) -> None:
        for index in missing.keys() - self._told:
            logger.warning("gpu cannot be opened index=%d error=%s", index, missing[index])
        for index in self._told - missing.keys():
            logger.info("gpu can be opened again index=%d", index)
        self._told = frozenset(missing)

    def read(self, device: Device, now: float) -> Reading:
        """One reading; the first after a device came, or came back, finds out what it supports."""
        uid = device.uid
        # In this order: `_release` first stops new reads and then looks who is still reading.
        self._reading.add(uid)
        try:
            if not self._library.opened:
                raise Unavailable(f"nvidia: {uid} cannot be read; the driver is not open")
            return self._read(self._library.api, uid, now)
        finally:
            self._reading.discard(uid)

    def _read(self, api: Any, uid: str, now: float) -> Reading:
        try:
            values = _ask(api, self._plan(api, uid, now), now)
        except api.NVMLError as error:
            self._plans.pop(uid, None)
            if error.value in nvml.DRIVER_GONE:
                self._stale = True
            raise failure(f"nvidia: {uid}", error) from error
        if not values:
            self._plans.pop(uid, None)
            raise Unavailable(f"nvidia: {uid} refuses every call; its handle is looked up again")
        if (counts := self._xids.counts(uid)) is not None:
            values["xid_errors"] = counts
            values["xid_last_timestamp_seconds"] = self._xids.last(uid)
        return Reading(device=uid, time=now, **values)

    def _plan(self, api: Any, uid: str, now: float) -> _Plan:
        plan = self._plans.get(uid)
        if plan is None:
            plan = self._plans[uid] = _Plan(api.nvmlDeviceGetHandleByUUID(uid), now)
        elif not 0 <= now - plan.made < PROBE_AGAIN_SECONDS:
            # MIG mode and permissions change what is supported, without a reset.
            plan = self._plans[uid] = _Plan(plan.handle, now)
        return plan

    def close(self) -> None:
        """Stop listening and let go of the driver, unless a call hangs in it."""
        try:
            self._release()
        except Unavailable as busy:
            logger.warning("driver left open reason=%r", str(busy))

    def _release(self) -> None:
        self._library.suspend()
        listening = not self._xids.stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._reading and time.monotonic() < deadline:
            time.sleep(0.01)
        if listening or self._reading:
            raise Unavailable("nvidia: the driver cannot be let go of; calls of before still hang in it")
        self._library.close()
        self._plans.clear()


def _ask(api: Any, plan: _Plan, now: float) -> Values:
    """All that the device says; empty where it says nothing. Raises only what makes the handle worthless."""
    values: Values = {}
    _ask_fields(api, plan, values)
    plan.calls = _answered(api, plan.handle, plan.calls, values)
    if not values:
        return values
    _ask_slow(api, plan, now)
    for slow in plan.slow:
        _merge(values, slow.values)
    return values


def _ask_slow(api: Any, plan: _Plan, now: float) -> None:
    """All at the first read; later one at a time, so that no read is much longer than the others."""
    for _ in range(len(plan.slow)):
        if not plan.slow or not plan.slow[0].due(now):
            return
        slow = plan.slow.popleft()
        first = slow.read is None
        slow.values, slow.read = {}, now
        slow.calls = _supported(api, plan.handle, slow.calls, slow.values)
        if slow.calls:
            plan.slow.append(slow)
        if not first:
            return


def _merge(values: Values, more: Values) -> None:
    for name, value in more.items():
        values[name] = {**values[name], **value} if name in values and isinstance(value, dict) else value


def _answered(api: Any, handle: Handle, calls: Iterable[Alternatives], values: Values) -> list[Alternatives]:
    """Make each call, or its first alternative that is supported; return those worth making again."""
    return [left for each in calls if (left := _supported(api, handle, each, values))]


def _supported(api: Any, handle: Handle, alternatives: Alternatives, values: Values) -> Alternatives:
    for position, call in enumerate(alternatives):
        try:
            call(api, handle, values)
        except api.NVMLError as error:
            if error.value in nvml.DEVICE_GONE:
                raise
            if error.value in nvml.UNSUPPORTED:
                continue
        return alternatives[position:]
    return ()


def _ask_fields(api: Any, plan: _Plan, values: Values) -> None:
    refused: set[int] = set()
    for answer in _field_answers(api, plan, refused):
        if answer.nvmlReturn == 0:
            nvml.take_field(answer, values)
        elif answer.nvmlReturn in nvml.DEVICE_GONE:
            raise api.NVMLError(answer.nvmlReturn)
        elif answer.nvmlReturn in nvml.UNSUPPORTED:
            refused.add(answer.fieldId)
    if refused:
        _replace_fields(api, plan, refused)


def _field_answers(api: Any, plan: _Plan, refused: set[int]) -> Iterable[Any]:
    """The answers to the plan's fields; a driver that refuses the whole call is asked for one at a time."""
    if not plan.fields:
        return ()
    try:
        answers: Iterable[Any] = api.nvmlDeviceGetFieldValues(plan.handle, plan.fields)
    except api.NVMLError as error:
        if error.value in nvml.DEVICE_GONE:
            raise
        return _single_answers(api, plan, refused) if error.value in nvml.UNSUPPORTED else ()
    return answers


def _single_answers(api: Any, plan: _Plan, refused: set[int]) -> Iterable[Any]:
    answers: list[Any] = []
    for each in plan.fields:
        try:
            answers.extend(api.nvmlDeviceGetFieldValues(plan.handle, [each]))
        except api.NVMLError as error:
            if error.value in nvml.DEVICE_GONE:
                raise
            refused.add(each[0])
    return answers


def _replace_fields(api: Any, plan: _Plan, refused: set[int]) -> None:
    """Ask no more for what was refused; where there is an older call for it, make that."""
    plan.fields = [each for each in plan.fields if each[0] not in refused]
    if nvml.ENERGY in refused:
        plan.calls.append((nvml.total_energy,))
    if refused & nvml.POWERS and not any(each in nvml.POWERS for each, _ in plan.fields):
        plan.calls.append((nvml.power_usage(_window(api, plan.handle)),))


def _window(api: Any, handle: Handle) -> str:
    """What nvmlDeviceGetPowerUsage means on this architecture; see the module's docstring."""
    capability = (0, 0)
    with suppress(api.NVMLError):
        capability = tuple(api.nvmlDeviceGetCudaComputeCapability(handle))
    return "instant" if (6, 0) <= capability <= (8, 0) else "average"


def _nothing(missing: Mapping[int, Any], driver: str | None) -> Unavailable:
    for error in missing.values():
        return failure("nvidia: no GPU can be opened", error)
    return Unavailable(f"nvidia: driver {driver} is loaded but lists no GPU; see 'nvidia-smi -L' and lspci")
