"""The state file of the fake driver library as ctypes structures; the mirror of fake_nvml.h."""

from __future__ import annotations

import re
from ctypes import Structure, c_char, c_double, c_int32, c_uint32, c_uint64
from pathlib import Path

SOURCES = tuple(
    Path(__file__).with_name(name) for name in ("fake_nvml.h", "fake_nvml.c", "values.c", "mig.c", "gpm.c")
)

CALLS = tuple(re.findall(r"^    X\((\w+)\)", SOURCES[0].read_text(encoding="utf-8"), re.MULTILINE))
"""The calls that can be failed, delayed and counted, in the order of the library's slots."""

DEVICES, FIELDS, PROCESSES, STEPS, EVENTS, CALL_SLOTS = 16, 48, 128, 16, 256, 64
INSTANCES, INSTANCE_PROCESSES, ACTIVITIES = 8, 16, 3


class Step(Structure):
    """So many watts for so many seconds."""

    _fields_ = [("seconds", c_double), ("watts", c_double)]


class Power(Structure):
    """The electrical side of a device; the library integrates it."""

    _fields_ = [
        ("base_joules", c_double),
        ("since", c_double),
        ("mean_seconds", c_double),
        ("steps", Step * STEPS),
        ("step_count", c_uint64),
    ]


class Field(Structure):
    """What GetFieldValues answers for one field id."""

    _fields_ = [
        ("bits", c_uint64),
        ("id", c_uint32),
        ("scope", c_uint32),
        ("type", c_uint32),
        ("result", c_int32),
        ("computed", c_int32),
        ("pad", c_int32),
    ]


class ProcessEntry(Structure):
    """A process on a device."""

    _fields_ = [("memory", c_uint64), ("pid", c_uint32), ("pad", c_uint32)]


class Activity(Structure):
    """How much of the time SMs, tensor units and DRAM are active; the library integrates it."""

    _fields_ = [("base", c_double * ACTIVITIES), ("since", c_double), ("ratio", c_double * ACTIVITIES)]


class InstanceState(Structure):
    """A slice of a device (MIG)."""

    _fields_ = [
        ("activity", Activity),
        ("memory_total", c_uint64),
        ("memory_used", c_uint64),
        ("compute_count", c_uint64),
        ("compute", ProcessEntry * INSTANCE_PROCESSES),
        ("present", c_uint32),
        ("incarnation", c_uint32),
        ("gpu_instance", c_uint32),
        ("compute_instance", c_uint32),
        ("gpu_slices", c_uint32),
        ("compute_slices", c_uint32),
        ("uuid", c_char * 96),
        ("name", c_char * 96),
    ]


class DeviceState(Structure):
    """Everything one device says, and how it fails."""

    _fields_ = [
        ("power", Power),
        ("activity", Activity),
        ("memory_total", c_uint64),
        ("memory_reserved", c_uint64),
        ("memory_used", c_uint64),
        ("ecc", (c_uint64 * 2) * 2),
        ("hang_calls", c_uint64),
        ("hang_seconds", c_double),
        ("slept_ns", c_uint64),
        ("calls", c_uint64 * CALL_SLOTS),
        ("fields", Field * FIELDS),
        ("compute", ProcessEntry * PROCESSES),
        ("graphics", ProcessEntry * PROCESSES),
        ("field_count", c_uint64),
        ("compute_count", c_uint64),
        ("graphics_count", c_uint64),
        ("results", c_int32 * CALL_SLOTS),
        ("lost", c_int32),
        ("incarnation", c_uint32),
        ("gpu_percent", c_uint32),
        ("memory_percent", c_uint32),
        ("encoder_percent", c_uint32),
        ("decoder_percent", c_uint32),
        ("clocks_mhz", c_uint32 * 4),
        ("limit_mw", c_uint32),
        ("pci_device_id", c_uint32),
        ("temperature", c_int32),
        ("capability_major", c_int32),
        ("capability_minor", c_int32),
        ("gpm", c_uint32),
        ("mig_slices", c_uint32),
        ("mig_mode", c_uint32),
        ("scopes_ignored", c_uint32),
        ("remapped", c_uint32 * 4),
        ("fabric_version", c_uint32),
        ("fabric_state", c_uint32),
        ("fabric_status", c_uint32),
        ("fabric_health", c_uint32),
        ("fabric_summary", c_uint32),
        ("pad", c_uint32),
        ("instances", InstanceState * INSTANCES),
        ("uuid", c_char * 96),
        ("name", c_char * 96),
        ("serial", c_char * 32),
        ("bus_id", c_char * 32),
    ]


class EventEntry(Structure):
    """One event that was raised."""

    _fields_ = [("type", c_uint64), ("data", c_uint64), ("device", c_uint32), ("pad", c_uint32)]


class State(Structure):
    """The whole file."""

    _fields_ = [
        ("size", c_uint64),
        ("sequence", c_uint64),
        ("slept_ns", c_uint64),
        ("forbidden_calls", c_uint64),
        ("event_count", c_uint64),
        ("gpm_panics", c_uint64),
        ("gpm_samples", c_uint64),
        ("wakes", c_uint32),
        ("pad", c_uint32),
        ("latency_ns", c_uint64 * CALL_SLOTS),
        ("calls", c_uint64 * CALL_SLOTS),
        ("results", c_int32 * CALL_SLOTS),
        ("result", c_int32),
        ("session", c_uint32),
        ("device_count", c_uint32),
        ("event_wait_limit_ms", c_uint32),
        ("order", c_uint32 * DEVICES),
        ("driver", c_char * 80),
        ("events", EventEntry * EVENTS),
        ("devices", DeviceState * DEVICES),
    ]
