"""NVIDIA GPUs, and their slices (MIG), through NVML.

What is read, and from where. `field N` is a value id of nvmlDeviceGetFieldValues: one call for those of each read,
one for those of every 5 s, one for those of every 10 s. Of what is asked every 10 s, each read asks one group.
What is asked every 5 s is also asked when other processes hold the device: what it counted is theirs who held it.

| value | asked | source | instead, where that is not supported |
|---|---|---|---|
| utilization, memory utilization | each read | nvmlDeviceGetUtilizationRates | |
| memory | each read | nvmlDeviceGetMemoryInfo_v2 | …MemoryInfo, whose `used` includes what the driver reserves |
| power, average | each read | field 185: mean of 1 s | nvmlDeviceGetPowerUsage, labelled by architecture |
| power, instant | each read | field 186: 25 to 100 ms of it, by architecture | the same |
| energy | 5 s | field 83 or 191, mJ since driver load | nvmlDeviceGetTotalEnergyConsumption |
| throttle time | each read | fields 74, 76, 269, ns since driver load | |
| throttle time by hardware | 5 s | fields 270, 271 | |
| SM, tensor, DRAM activity | each read | GPM metrics 2, 5, 10, see `gpm` | |
| processes | when they may have changed, see `nvml_plan` | nvmlDeviceGetComputeRunningProcesses_v3 | |
| temperature | each read | nvmlDeviceGetTemperatureV | nvmlDeviceGetTemperature |
| temperature of the memory | each read | field 82 | |
| clock of the SMs | each read | nvmlDeviceGetClockInfo | |
| NVLink bytes | 10 s | fields 138, 139 over all links, KiB | |
| PCIe bytes | 10 s | fields 197, 198, where they have 64 bits | |
| remapped rows | 10 s | fields 142 to 145 | nvmlDeviceGetRemappedRows |
| recovery action | 10 s | field 230 | |
| fabric state | 10 s | nvmlDeviceGetGpuFabricInfoV, version 3 | version 2 |
| other clocks, power limit, ECC totals, encoder, decoder | 10 s | a call each | |
| MIG mode and slices | 10 s | nvmlDeviceGetMigMode, …GetMigDeviceHandleByIndex | |
| XID | as they come | events, see `xids` | |

Of a slice: memory, processes, and activity where its compute instance spans its GPU instance. All else is its
GPU's. In MIG mode the GPU itself has no processes and no utilization.

nvmlDeviceGetPowerUsage is a mean of 1 s on Ampere (but GA100) and later, and what the sensor saw in its last 10
to 100 ms on Pascal, Volta, Turing and GA100 (compute capability 6.0 to 8.0); before Pascal it is a filtered mean.
Graphics processes are not holders: a display server would otherwise share every GPU with the job on it.

Power has a scope: 0 the GPU, 1 the module, which on GH200 and GB200 is GPU and CPU. Both are given where both are
known, and never added. The energy has the scope of the power that is metered: where there is no module, field 83;
where there is a module alone, field 191 with its scope, else field 83; where there are both, field 191 with the
scope of the GPU, else no counter but the integral of the power. That field 83 counts the module on a GH200, and
that asking for the GPU's power may fail there, is known from others' reports; that a driver which ignores scopes
gives the same number for both, is assumed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from pydantic import BaseModel, ConfigDict

from gpuwatch.devices import mig, nvml, pci
from gpuwatch.devices.gpm import Activity
from gpuwatch.devices.nodes import DeviceNodes
from gpuwatch.devices.nvml import Call, Handle, Values, failure
from gpuwatch.devices.nvml_plan import GpuPlan, Plan, SlicePlan
from gpuwatch.devices.xids import XidWatch
from gpuwatch.errors import Absent, RestartRequired, Unavailable
from gpuwatch.model import Device, Reading, Site

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 1.0
HANG_SECONDS = 0.2
PCI_VENDOR = 0x10DE
NODES = ("nvidiactl", "nvidia[0-9]*", "nvidia-caps/*")


@dataclass(frozen=True, slots=True)
class _Found:
    """What a scan has found so far: devices and the handles of the whole ones by uid, errors by index."""

    devices: dict[str, Device] = field(default_factory=dict)
    handles: dict[str, Handle] = field(default_factory=dict)
    missing: dict[int, Any] = field(default_factory=dict)


class NvidiaDevices:
    """The NVIDIA GPUs of this node and their slices, by UUID; an index is what the driver calls them today."""

    class Settings(BaseModel):
        """There is nothing to set."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        clock: Callable[[], float] = time.monotonic,
        nodes: DeviceNodes | None = None,
    ) -> None:
        self._site = site
        self._nodes = nodes or DeviceNodes(NODES)
        self._clock = clock
        self._library = nvml.Library()
        self._xids = XidWatch()
        self._known: dict[str, Device] = {}
        self._partitions: dict[str, mig.Partition] = {}
        self._plans: dict[str, Plan] = {}
        self._sampling: dict[str, Lock] = {}
        self._reading: set[str] = set()
        self._stale = False
        self._told: frozenset[int] = frozenset()

    def scan(self, now: float) -> Sequence[Device]:
        """The GPUs there are, each before its slices; one that is lost stays listed, and its reads fail."""
        self._nodes.demand_open("nvidia")
        if self._stale:
            self._release()
            self._stale = False
        self._open()
        api = self._library.api
        try:
            found = self._enumerate(api)
        except api.NVMLError as error:
            self._stale = True
            self._library.lost(error.value)
            raise failure("nvidia", error) from error
        self._tell(found.missing)
        if not found.handles:
            self._stale = True
        lost = {
            uid: each
            for uid, each in self._known.items()
            if uid not in found.devices and each.index in found.missing
        }
        self._known = found.devices | lost
        if not self._known:
            raise _nothing(found.missing, self._library.driver)
        self._xids.watch(api, found.handles)
        return tuple(sorted(self._known.values(), key=lambda device: (device.index, device.parent is not None)))

    def _open(self) -> None:
        try:
            self._library.open()
        except RestartRequired:
            raise
        except Unavailable as exc:
            if not self._known and not pci.has_graphics(self._site.sysfs, PCI_VENDOR):
                raise Absent("nvidia: no NVIDIA GPU is on the PCI bus") from exc
            raise

    def _enumerate(self, api: Any) -> _Found:
        found = _Found()
        for index in range(api.nvmlDeviceGetCount()):
            try:
                handle = api.nvmlDeviceGetHandleByIndex(index)
                device = self._describe(api, index, handle)
                slices = self._slices(api, device, handle)
            except api.NVMLError as error:
                if error.value in nvml.DRIVER_GONE:
                    raise
                found.missing[index] = error
            else:
                found.handles[device.uid] = handle
                found.devices.update({each.uid: each for each in (device, *slices)})
        return found

    def _describe(self, api: Any, index: int, handle: Handle) -> Device:
        return Device(
            uid=api.nvmlDeviceGetUUID(handle),
            node=self._site.node,
            index=index,
            vendor="nvidia",
            model=api.nvmlDeviceGetName(handle),
            pci=nvml.pci_address(api, handle),
            driver=self._library.driver,
            session=self._library.session,
        )

    def _slices(self, api: Any, device: Device, handle: Handle) -> list[Device]:
        """The slices of a GPU; those of before where it cannot say, or where asking could hang the scan too."""
        try:
            if not self._hangs(device.uid):
                return self._cut(api, device, handle)
        except api.NVMLError as error:
            if error.value in nvml.DEVICE_GONE:
                raise
        return [each for each in self._known.values() if each.parent == device.uid]

    def _cut(self, api: Any, device: Device, handle: Handle) -> list[Device]:
        if not mig.enabled(api, handle):
            self._partitions[device.uid] = None
            return []
        listed = mig.listed(api, handle)
        self._partitions[device.uid] = frozenset(listed)
        return [
            replace(device, uid=each.uid, model=each.model, kind="mig", parent=device.uid, fraction=each.fraction)
            for each in mig.slices(api, handle, listed)
        ]

    def _hangs(self, uid: str) -> bool:
        """Whether a read of this device goes on for longer than one takes."""
        deadline = time.monotonic() + HANG_SECONDS
        while uid in self._reading:
            if time.monotonic() > deadline:
                return True
            time.sleep(0.005)
        return False

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
            return self._read(self._library.api, device, now)
        finally:
            self._reading.discard(uid)

    def _read(self, api: Any, device: Device, now: float) -> Reading:
        uid = device.uid
        try:
            values = self._plan(api, device, now).read(now)
        except api.NVMLError as error:
            self._drop(uid)
            self._library.lost(error.value)
            if error.value in nvml.DRIVER_GONE:
                self._stale = True
            raise failure(f"nvidia: {uid}", error) from error
        except Unavailable:
            self._drop(uid)
            raise
        if not values:
            self._drop(uid)
            raise Unavailable(f"nvidia: {uid} refuses every call; its handle is looked up again")
        if (counts := self._xids.counts(uid)) is not None:
            values["xid_errors"] = counts
            values["xid_last_timestamp_seconds"] = self._xids.last(uid)
        return Reading(device=uid, time=now, **values)

    def _plan(self, api: Any, device: Device, now: float) -> Plan:
        uid, plan = device.uid, self._plans.get(device.uid)
        if plan is not None and not plan.expired(now):
            return plan
        handle = plan.handle if plan is not None else api.nvmlDeviceGetHandleByUUID(uid)
        self._drop(uid)
        make = self._gpu_plan if device.parent is None else self._slice_plan
        self._plans[uid] = made = make(api, handle, device, now)
        return made

    def _gpu_plan(self, api: Any, handle: Handle, device: Device, now: float) -> Plan:
        activity = Activity(
            api, handle, lambda sample: api.nvmlGpmSampleGet(handle, sample), self._lock(device.uid), self._clock
        )
        sliced = self._partitions.get(device.uid) is not None
        return GpuPlan(api, handle, now, self._watch(device.uid), activity, sliced=sliced)

    def _slice_plan(self, api: Any, handle: Handle, device: Device, now: float) -> Plan:
        return SlicePlan(api, handle, device.uid, now, self._slice_activity(api, handle, device))

    def _slice_activity(self, api: Any, handle: Handle, device: Device) -> Activity | None:
        """None where the activity of its GPU instance is not the slice's alone, or cannot be had."""
        if device.parent is None or not mig.spans_its_instance(api, handle):
            return None
        try:
            whole = api.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            instance = api.nvmlDeviceGetGpuInstanceId(handle)
        except api.NVMLError as error:
            if error.value in nvml.DEVICE_GONE:
                raise
            return None

        def take(sample: Any) -> object:
            return api.nvmlGpmMigSampleGet(whole, instance, sample)

        return Activity(api, whole, take, self._lock(device.parent), self._clock)

    def _lock(self, uid: str) -> Lock:
        """One for all that sample the same GPU."""
        return self._sampling.setdefault(uid, Lock())

    def _watch(self, uid: str) -> Call:
        """Look whether a GPU is cut as it was: a read that fails once has the devices listed anew in seconds."""

        def call(api: Any, handle: Handle, values: Values) -> None:
            now = mig.partition(api, handle)
            before = self._partitions.get(uid)
            self._partitions[uid] = now
            if now != before:
                raise Unavailable(f"nvidia: {uid} was cut anew (MIG); its devices are listed again")

        return call

    def _drop(self, uid: str) -> None:
        plan = self._plans.pop(uid, None)
        if plan is not None:
            plan.close()

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
        for uid in tuple(self._plans):
            self._drop(uid)
        self._library.close()


def _nothing(missing: Mapping[int, Any], driver: str | None) -> Unavailable:
    for error in missing.values():
        return failure("nvidia: no GPU can be opened", error)
    return Unavailable(f"nvidia: driver {driver} is loaded but lists no GPU; see 'nvidia-smi -L' and lspci")
