"""What happens to devices becomes an event, once."""

from __future__ import annotations

from dataclasses import replace

from gpuwatch.agent.devices import DeviceWatch
from gpuwatch.model import Device, Reading

DEVICE = Device("GPU-1", "n", 0, "nvidia", "H100", driver="570.1")


def looks(watch, *steps):
    """Each step: (now, device or None, whether it answers); the kinds of the events of each."""
    told = []
    for now, device, answers in steps:
        devices = {} if device is None else {device.uid: device}
        readings = {uid: Reading(uid, now) if answers else None for uid in devices}
        told.append([event.kind for event in watch.look(now, devices, readings)])
    return told


def test_device_is_lost_after_ten_seconds_of_silence_and_back_at_its_first_word():
    """Said once each; one slow read is no loss."""
    steps = [(0, DEVICE, True), (1, DEVICE, False), (2, DEVICE, True), (9, DEVICE, False), (12, DEVICE, False),
             (13, DEVICE, False), (20, DEVICE, True), (21, DEVICE, True)]  # fmt: skip

    assert looks(DeviceWatch(), *steps) == [[], [], [], [], ["device_lost"], [], ["device_back"], []]


def test_driver_that_was_opened_anew_is_told_with_its_versions():
    """By the count of sessions, also where the version is the same."""
    watch = DeviceWatch()
    watch.look(0, {DEVICE.uid: DEVICE}, {})
    again = replace(DEVICE, session=1, driver="580.2")
    (event,) = watch.look(1, {DEVICE.uid: again}, {})

    assert (event.kind, event.facts) == (
        "driver_reloaded",
        {"uuid": "GPU-1", "driver": "580.2", "before": "570.1"},
    )
    assert watch.look(2, {DEVICE.uid: replace(again)}, {}) == []


def test_device_that_is_not_listed_any_more_is_gone():
    """And what comes under its name later is new."""
    assert looks(DeviceWatch(), (0, DEVICE, True), (1, None, False), (2, DEVICE, True)) == [
        [],
        ["device_gone"],
        [],
    ]
