"""What jobs have of the node's own energy: the meter's rule, fed from what one tick brought in."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from gpuwatch.agent.sampler import Sample
from gpuwatch.meter.host import CHASSIS, HostShares, Part, only_modules
from gpuwatch.model import DeviceUsage, GroupUse, HostReading, JobKey, Labels

log = logging.getLogger("gpuwatch.agent")


class HostEnergy:
    """Divides the energy of each new reading of the host. Called in the tick alone."""

    def __init__(self) -> None:
        self._shares = HostShares()
        self._reading: HostReading | None = None
        self._modules: frozenset[str] = frozenset()

    def advance(
        self,
        now: float,
        sample: Sample,
        devices: Mapping[str, DeviceUsage],
        key_of: Callable[[str], JobKey | None],
    ) -> dict[JobKey, Part]:
        """What has become known of each open job; `devices` is what each has used so far, `now` monotonic."""
        new = sample.host if sample.host is not self._reading else None
        self._reading = sample.host
        if self._in_modules(sample):
            self._shares.restart()
            return {}
        uses: dict[str, GroupUse] = {}
        for told in sample.jobs.values():
            uses |= told.group_uses if told is not None else {}
        mine = {job_id: use for job_id, use in uses.items() if key_of(job_id) is not None}
        joules = device_joules(sample, devices) if new is not None and CHASSIS in new.energy_joules else None
        parts = self._shares.advance(now, new, mine, joules, sample.host.cpu_count or os.cpu_count() or 1)
        keyed = {key_of(job_id): part for job_id, part in parts.items()}
        return {key: part for key, part in keyed.items() if key is not None}

    def _in_modules(self, sample: Sample) -> bool:
        modules = only_modules(sample.readings, self._modules)
        if modules and not self._modules:
            log.info(
                "the host's energy is not divided among jobs: a device's meter has its CPU in it too uuid=%s",
                min(modules),
            )
        self._modules = modules
        return bool(modules)

    def shown(self, host: HostReading) -> HostReading:
        """The host's reading with where its energy went."""
        divided: dict[Labels, float] = {"jobs": self._shares.jobs, "node": self._shares.node}
        return replace(host, energy_divided_joules=divided) if any(divided.values()) else host


def device_joules(sample: Sample, devices: Mapping[str, DeviceUsage]) -> float | None:
    """What all devices have used so far; None where that of one is not known."""
    known = [devices[uid].energy_joules for uid in sample.devices if uid in devices]
    if (
        len(known) < len(sample.devices)
        or not all(known)
        or any(each is None for each in sample.readings.values())
    ):
        return None
    return sum(sum(each.energy_joules.values()) for each in devices.values())
