"""Values that NVML gives by field id, many in one call: which they are, and what the numbers mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Any, NamedTuple

from gpuwatch.devices.nvml import DEVICE_GONE, UNSUPPORTED, Handle, Values
from gpuwatch.model import Labels

Key = tuple[int, int]
"""A field id and its scope: of power what it covers, of NVLink which link."""

DEVICE, MODULE, ALL_LINKS = 0, 1, 2**32 - 1

# nvmlFieldValue_t. Unpacked as a whole: pynvml's own access to each member costs more than the driver's answer.
ANSWER = Struct("@IIqqII8s")
VALUES = tuple(Struct(f"@{kind}") for kind in "dILQqiH")
"""The union of a field value, by nvmlValueType_t."""

Answer = tuple[Any, ...]
"""Field id, scope, timestamp, latency, value type, result, and the eight bytes of the value."""

# Value types of 32 bits or less.
NARROW = frozenset({1, 5, 6})


class Target(NamedTuple):
    """Where a field goes in a `Reading`, and how many of its units make a base unit."""

    name: str
    label: Labels | None
    unit: float
    wide: bool = False
    """A byte counter: in 32 bits it wraps several times between two reads, and is worth nothing."""


ENERGY, DEVICE_ENERGY, MODULE_ENERGY = (83, DEVICE), (191, DEVICE), (191, MODULE)
ENERGIES = frozenset({ENERGY, DEVICE_ENERGY, MODULE_ENERGY})
DEVICE_POWERS = frozenset({(185, DEVICE), (186, DEVICE)})
MODULE_POWERS = frozenset({(185, MODULE), (186, MODULE)})
ELECTRICAL = ENERGIES | DEVICE_POWERS | MODULE_POWERS

FAST: Mapping[Key, Target] = {
    (185, DEVICE): Target("power_watts", ("average", "device"), 1000),
    (186, DEVICE): Target("power_watts", ("instant", "device"), 1000),
    (185, MODULE): Target("power_watts", ("average", "module"), 1000),
    (186, MODULE): Target("power_watts", ("instant", "module"), 1000),
    (74, DEVICE): Target("throttle_seconds", "sw_power_cap", 1e9),
    (76, DEVICE): Target("throttle_seconds", "sync_boost", 1e9),
    (269, DEVICE): Target("throttle_seconds", "sw_thermal", 1e9),
    (82, DEVICE): Target("temperature_celsius", "memory", 1),
}

COSTLY: Mapping[Key, Target] = {
    ENERGY: Target("energy_joules", None, 1000),
    DEVICE_ENERGY: Target("energy_joules", None, 1000),
    MODULE_ENERGY: Target("energy_joules", None, 1000),
    (270, DEVICE): Target("throttle_seconds", "hw_thermal", 1e9),
    (271, DEVICE): Target("throttle_seconds", "hw_power_brake", 1e9),
}
"""What the driver must ask the device for: on an H100 3 ms of processor time for energy, 0.7 ms for another."""

RECOVERY = (230, DEVICE)
REMAPPED = frozenset({(142, DEVICE), (143, DEVICE), (144, DEVICE), (145, DEVICE)})

SLOW: Mapping[Key, Target] = {
    (138, ALL_LINKS): Target("nvlink_bytes", "transmit", 1 / 1024, wide=True),
    (139, ALL_LINKS): Target("nvlink_bytes", "receive", 1 / 1024, wide=True),
    (197, DEVICE): Target("pcie_bytes", "transmit", 1, wide=True),
    (198, DEVICE): Target("pcie_bytes", "receive", 1, wide=True),
    (142, DEVICE): Target("remapped_rows", "corrected", 1),
    (143, DEVICE): Target("remapped_rows", "uncorrected", 1),
    (144, DEVICE): Target("remapped_rows", "pending", 1),
    (145, DEVICE): Target("remapped_rows", "failure", 1),
    RECOVERY: Target("recovery_action", None, 1),
}

RECOVERY_ACTIONS = (
    "none",
    "reset",
    "reboot",
    "drain_p2p",
    "drain_and_reset",
    "recover_imex",
    "bus_reset",
    "system_reboot",
)
"""What field 230 asks for, by its number."""

FIELDS: Mapping[Key, Target] = {**FAST, **COSTLY, **SLOW}


class Fields:
    """The fields of one table that a device is still worth asking for; belongs to the thread that reads it."""

    def __init__(self, table: Mapping[Key, Target]) -> None:
        self._table = table
        self.keys: list[Key] = list(table)

    def read(self, api: Any, handle: Handle) -> tuple[dict[Key, float], set[Key]]:
        """What was answered, in base units, and what was refused and will not be asked again.

        A field in neither had an error that may pass. Raises only what makes the handle worthless.
        """
        numbers: dict[Key, float] = {}
        refused: set[Key] = set()
        for key, (*_, kind, result, value) in self._answers(api, handle, refused):
            if result == 0:
                self._take(key, kind, value, numbers, refused)
            elif result in DEVICE_GONE:
                raise api.NVMLError(result)
            elif result in UNSUPPORTED:
                refused.add(key)
        if refused:
            self.drop(refused)
        return numbers, refused

    def drop(self, keys: Iterable[Key]) -> None:
        """Ask for these no more."""
        gone = frozenset(keys)
        self.keys = [key for key in self.keys if key not in gone]

    def _take(self, key: Key, kind: int, value: bytes, numbers: dict[Key, float], refused: set[Key]) -> None:
        target = self._table[key]
        if kind >= len(VALUES) or (target.wide and kind in NARROW):
            refused.add(key)
        else:
            numbers[key] = VALUES[kind].unpack_from(value)[0] / target.unit

    def _answers(self, api: Any, handle: Handle, refused: set[Key]) -> Iterable[tuple[Key, Answer]]:
        """By place, whatever an answer calls itself. Who refuses the whole call is asked for one at a time."""
        if not self.keys:
            return ()
        try:
            answers = api.nvmlDeviceGetFieldValues(handle, self.keys)
        except api.NVMLError as error:
            if error.value in DEVICE_GONE:
                raise
            return self._single_answers(api, handle, refused) if error.value in UNSUPPORTED else ()
        return zip(self.keys, ANSWER.iter_unpack(answers), strict=True)

    def _single_answers(self, api: Any, handle: Handle, refused: set[Key]) -> Iterable[tuple[Key, Answer]]:
        answers: list[tuple[Key, Answer]] = []
        for key in self.keys:
            try:
                answers.append((key, ANSWER.unpack(api.nvmlDeviceGetFieldValues(handle, [key]))))
            except api.NVMLError as error:
                if error.value in DEVICE_GONE:
                    raise
                refused.add(key)
        return answers


def put(table: Mapping[Key, Target], numbers: Mapping[Key, float], values: Values) -> None:
    """Put what was answered into the values."""
    for key, number in numbers.items():
        target = table[key]
        if key == RECOVERY:
            _put_recovery(number, values)
        elif target.label is None:
            values[target.name] = number
        else:
            values.setdefault(target.name, {})[target.label] = number


def _put_recovery(number: float, values: Values) -> None:
    """All actions, one of them 1; nothing for a number that a later driver may have added."""
    if 0 <= number < len(RECOVERY_ACTIONS):
        values["recovery_action"] = {
            action: float(number == position) for position, action in enumerate(RECOVERY_ACTIONS)
        }


def electrical(numbers: Mapping[Key, float]) -> frozenset[Key]:
    """Which fields of power and energy to keep, so that energy covers what the power covers.

    A module (GH200, GB200) is the GPU with its CPU, so its power is above the GPU's. A module that draws the
    same, or nothing, is a driver that does not know the scope.
    """
    device = {key: numbers[key] for key in DEVICE_POWERS & numbers.keys()}
    module = {key: numbers[key] for key in MODULE_POWERS & numbers.keys()}
    if max(module.values(), default=0.0) <= max(device.values(), default=0.0):
        return frozenset(device) | ({ENERGY} & numbers.keys())
    powers = frozenset(device) | frozenset(module)
    if not device:
        scoped = MODULE_ENERGY if MODULE_ENERGY in numbers else ENERGY
        return powers | ({scoped} & numbers.keys())
    # Field 83 counts the module on a GH200: better no counter than one that covers more than the power does.
    if DEVICE_ENERGY in numbers and numbers[DEVICE_ENERGY] != numbers.get(MODULE_ENERGY):
        return powers | {DEVICE_ENERGY}
    return powers
