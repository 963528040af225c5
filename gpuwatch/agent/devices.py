"""What happens to devices that somebody may want to know later: lost, back, gone, driver loaded anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch.model import Device, Reading

LOST_SECONDS = 10.0
"""A device that says nothing for so long is lost; less is a slow call."""


class DeviceEvent(NamedTuple):
    """Something happened to a device: `kind` as docs/usage-api.md lists them, with what belongs to it."""

    kind: str
    facts: Mapping[str, str]


@dataclass(slots=True)
class _Seen:
    device: Device
    answered: float
    lost: bool = False


class DeviceWatch:
    """Compares each look at the devices with the one before."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def look(
        self, now: float, devices: Mapping[str, Device], readings: Mapping[str, Reading | None]
    ) -> list[DeviceEvent]:
        """What has happened since the last look; `now` is monotonic."""
        events = [
            event
            for uid, device in devices.items()
            for event in self._of(now, device, readings.get(uid) is not None)
        ]
        for uid in [uid for uid in self._seen if uid not in devices]:
            del self._seen[uid]
            events.append(DeviceEvent("device_gone", {"uuid": uid}))
        return events

    def _of(self, now: float, device: Device, answers: bool) -> Iterator[DeviceEvent]:
        seen = self._seen.get(device.uid)
        if seen is None:
            self._seen[device.uid] = _Seen(device, now)
            return
        if seen.device is not device:
            before, seen.device = seen.device, device
            if (before.driver, before.session) != (device.driver, device.session):
                facts = {"uuid": device.uid, "driver": device.driver or "", "before": before.driver or ""}
                yield DeviceEvent("driver_reloaded", facts)
        if answers:
            seen.answered = now
            if seen.lost:
                seen.lost = False
                yield DeviceEvent("device_back", {"uuid": device.uid})
        elif not seen.lost and now - seen.answered >= LOST_SECONDS:
            seen.lost = True
            yield DeviceEvent("device_lost", {"uuid": device.uid})
