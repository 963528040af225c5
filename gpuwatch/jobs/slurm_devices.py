"""From what Slurm calls a job's GPUs – indices, CUDA ordinals, UUIDs – to devices and shares; pure.

What cannot be told apart stays unresolved: a guess would charge somebody for another's device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpuwatch.model import Allocation, Device

JOB_GPUS, STEP_GPUS, VISIBLE = "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES"
SHARDS, MPS = "SLURM_SHARDS_ON_NODE", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
ORDER = "CUDA_DEVICE_ORDER"

LONGEST_VALUE = 4096
UNREADABLE = "?"
"""Stands for a value that was there and was refused: the job's devices are then not known."""

_MOST_WORDS = 256
_HIGHEST_INDEX = 1023
# What Slurm and CUDA write where a job has no device at all.
_NONE = frozenset({"", "NoDevFiles", "-1", "none", "void"})
_RANGE = re.compile(r"([0-9]{1,4})-([0-9]{1,4})", re.ASCII)
_PCI = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", re.IGNORECASE)
_DUST = 1e-9

Words = tuple[str, ...]
Portion = tuple[float | None, str | None]
_WHOLE: Portion = (1.0, None)


@dataclass(frozen=True, slots=True)
class Claim:
    """A job has this share (of the whole board: 1) of a device, by the reason `basis`."""

    device: str
    share: float
    basis: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What only the site knows about its node.

    `shards_per_device` is 0 where there are none. `mps`: a percentage in a job's own environment is Slurm's.
    `constrained`: jobs see only their own devices, so that the ordinals of CUDA begin at 0 in each. `tpu_is_gpu`:
    TPUs are `gres/gpu`. Of a generic resource of another name Slurm tells a job nothing.
    """

    shards_per_device: int = 0
    mps: bool = False
    constrained: bool = True
    tpu_is_gpu: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The devices of a node, by what they are called: Slurm's index, the driver's index, the uid."""

    gres: Mapping[int, Device]
    driver: Mapping[int, Device]
    uids: Mapping[str, Device]
    slices: Mapping[str, tuple[Device, ...]]

    @property
    def one_model(self) -> bool:
        """Whether the order of CUDA (fastest first) can only be that of the driver."""
        return len({device.model for device in self.driver.values()}) <= 1

    @property
    def has_tpus(self) -> bool:
        """Whether any of the devices is a TPU."""
        return any(device.kind == "tpu" for device in self.uids.values())

    def held(self, device: Device) -> tuple[Device, ...]:
        """What one holds who has this device: its slices, where it is cut into any."""
        return self.slices.get(device.uid) or (device,)

    def units(self) -> tuple[Device, ...]:
        """The devices that can be held: slices, and boards without any."""
        return tuple(device for device in self.uids.values() if device.uid not in self.slices)


def layout(devices: Mapping[str, Device], order: Iterable[str] = ()) -> Layout:
    """The layout of a node; `order` has uids or PCI addresses as Slurm counts them, default the driver's order.

    An index that two boards have (of two vendors) means neither.
    """
    boards = [device for device in devices.values() if device.parent is None]
    indices = [device.index for device in boards]
    driver = {device.index: device for device in boards if indices.count(device.index) == 1}
    named = {index: _named(name, devices) for index, name in enumerate(order)}
    gres = {index: device for index, device in named.items() if device is not None} if named else driver
    slices: dict[str, tuple[Device, ...]] = {}
    for device in devices.values():
        if device.parent is not None:
            slices[device.parent] = (*slices.get(device.parent, ()), device)
    return Layout(gres, driver, devices, slices)


@dataclass(frozen=True, slots=True)
class Told:
    """What a job is known to hold; it may hold more where that is not `complete`."""

    claims: tuple[Claim, ...] = ()
    complete: bool = True

    @property
    def anything(self) -> bool:
        """Whether it is known of a device that the job holds it, or that it holds none."""
        return self.complete or bool(self.claims)


NOTHING = Told(complete=False)
"""The devices of the job cannot be told."""


def told(variables: Mapping[str, str], node: Layout, rules: Rules, trusted: bool) -> Told:
    """What a job holds by its variables; nothing, and that completely, where Slurm gave it no device and says so.

    `trusted` variables are those of a prolog: there the ordinals are the node's own, and none is the user's word.
    """
    words = _words(variables, node, rules, trusted)
    if not words:
        silent = node.has_tpus and not rules.tpu_is_gpu and not variables.keys() & {JOB_GPUS, STEP_GPUS}
        return NOTHING if words is None or silent else Told()
    portion, basis = _percentage(variables) if trusted or rules.mps else _WHOLE
    if rules.shards_per_device and basis is None:
        portion, basis = _shards(variables, len(words), rules.shards_per_device)
    if portion is None:
        return NOTHING
    return told_by(((word, portion) for word in words), node, basis)


def told_by(portions: Iterable[tuple[str, float]], node: Layout, basis: str | None = None) -> Told:
    """Portions of devices by GRES index or UUID, as shares; one that is not there (lost, say) hides no other."""
    found: dict[str, Claim] = {}
    complete = True
    for word, portion in portions:
        device = node.gres.get(int(word)) if _is_index(word) else _by_uid(word, node)
        complete = complete and device is not None
        for each in node.held(device) if device is not None else ():
            kind = "holders" if portion < 1 else "mig" if each.parent is not None else "whole"
            found[each.uid] = Claim(each.uid, each.fraction * portion, basis or kind)
    return Told(tuple(found.values()), complete)


@dataclass(frozen=True, slots=True)
class Holder:
    """A job with its claims; where claims collide, the holder with the lesser `precedence` keeps what it has."""

    job_id: str
    claims: tuple[Claim, ...]
    precedence: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """Who is charged for what: shares of a device never exceed it. `refused`: job and claim that did not fit."""

    allocations: tuple[Allocation, ...]
    refused: tuple[tuple[str, Claim], ...]
    taken: Mapping[str, float]


def settle(holders: Iterable[Holder], node: Layout) -> Settled:
    """Give each device to its claims in order of precedence; a claim for which there is no room is refused."""
    taken: dict[str, float] = {}
    allocations, refused = [], []
    for holder in sorted(holders, key=lambda each: (*each.precedence, each.job_id)):
        for claim in holder.claims:
            room = node.uids[claim.device].fraction - taken.get(claim.device, 0.0)
            if claim.share <= 0 or claim.share > room + _DUST:
                refused.append((holder.job_id, claim))
                continue
            share = min(claim.share, room)
            taken[claim.device] = taken.get(claim.device, 0.0) + share
            allocations.append(Allocation(holder.job_id, claim.device, share, claim.basis))
    return Settled(tuple(allocations), tuple(refused), taken)


def words_of(text: str) -> Words | None:
    """`0,2-3,GPU-…` as single names, each once; empty where there is none, None where it is no such list."""
    if len(text) > LONGEST_VALUE:
        return None
    found: dict[str, None] = {}
    for part in text.strip().split(","):
        word = part.strip()
        match = _RANGE.fullmatch(word)
        if word in _NONE:
            continue
        if match is None:
            found[str(int(word)) if _is_index(word) else word] = None
        elif int(match[1]) > int(match[2]) or int(match[2]) > _HIGHEST_INDEX:
            return None
        else:
            found.update(dict.fromkeys(map(str, range(int(match[1]), int(match[2]) + 1))))
        if len(found) > _MOST_WORDS:
            return None
    return tuple(found)


def _words(variables: Mapping[str, str], node: Layout, rules: Rules, trusted: bool) -> Words | None:
    visible = words_of(variables[VISIBLE]) if VISIBLE in variables else ()
    # With slices a GRES index counts those, in an order of Slurm's own; a UUID says which.
    prefixes = ("MIG-", "GPU-") if trusted else ("MIG-",)
    if visible and all(word.startswith(prefixes) for word in visible):
        return visible
    for name in (JOB_GPUS, STEP_GPUS):
        if name in variables:
            return words_of(variables[name])
    if visible and not trusted and any(map(_is_index, visible)):
        return _by_cuda(visible, variables, node, rules)
    return visible


def _by_cuda(words: Words, variables: Mapping[str, str], node: Layout, rules: Rules) -> Words | None:
    """Ordinals as CUDA counts them, by UUID; None where they begin at 0 in each job, or the order is not known."""
    if rules.constrained or not (variables.get(ORDER) == "PCI_BUS_ID" or node.one_model):
        return None
    found = [node.driver.get(int(word)) if _is_index(word) else _by_uid(word, node) for word in words]
    return tuple(device.uid if device is not None else UNREADABLE for device in found)


def _percentage(variables: Mapping[str, str]) -> Portion:
    if MPS not in variables:
        return _WHOLE
    percent = variables[MPS]
    if not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,9})?", percent, re.ASCII) or not 0 < float(percent) <= 100:
        return None, "mps"
    return float(percent) / 100, "mps"


def _shards(variables: Mapping[str, str], devices: int, per_device: int) -> Portion:
    """The count is the node's: over several devices it is taken as spread evenly."""
    if SHARDS not in variables:
        return _WHOLE
    count = variables[SHARDS]
    if not re.fullmatch(r"[0-9]{1,6}", count, re.ASCII) or not 0 < int(count) <= devices * per_device:
        return None, "shard"
    return int(count) / (devices * per_device), "shard"


def _is_index(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 4


def _by_uid(word: str, node: Layout) -> Device | None:
    """By UUID, or by as much of its beginning as only one device has, as CUDA takes it."""
    if word in node.uids:
        return node.uids[word]
    if not word.startswith(("GPU-", "MIG-")) or len(word) <= len("GPU-"):
        return None
    found = [device for uid, device in node.uids.items() if uid.startswith(word)]
    return found[0] if len(found) == 1 else None


def _named(name: str, devices: Mapping[str, Device]) -> Device | None:
    if name in devices:
        return devices[name]
    address = _address(name)
    found = [
        each for each in devices.values() if each.parent is None and each.pci and _address(each.pci) == address
    ]
    return found[0] if address is not None and len(found) == 1 else None


def _address(text: str) -> tuple[int, str] | None:
    """A PCI address, however many digits its domain is written with; the domain may be left out."""
    match = _PCI.fullmatch(text.strip())
    return (int(match[1] or "0", 16), match[2].lower()) if match else None
