"""Slices of a GPU (MIG): which there are, and how large."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpuwatch.devices.nvml import DEVICE_GONE, UNSUPPORTED, Handle, Result

# "NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb": compute slices before a c, else all slices of the GPU instance.
PROFILE = re.compile(r"\b(?:(\d+)c\.)?(\d+)g\.\d+")

Partition = frozenset[str] | None
"""The UUIDs of a GPU's slices; None where it is not in MIG mode."""


class Slice(NamedTuple):
    """A MIG device as it is listed."""

    uid: str
    model: str
    fraction: float


def enabled(api: Any, handle: Handle) -> bool:
    """Whether a GPU is cut into slices now; one that has no MIG is not."""
    try:
        return bool(api.nvmlDeviceGetMigMode(handle)[0])
    except api.NVMLError as error:
        if error.value in UNSUPPORTED:
            return False
        raise


def partition(api: Any, handle: Handle) -> Partition:
    """The UUIDs of a GPU's slices; an NVMLError where it cannot say whether it is in MIG mode."""
    if not api.nvmlDeviceGetMigMode(handle)[0]:
        return None
    return frozenset(listed(api, handle))


def listed(api: Any, handle: Handle) -> dict[str, Handle]:
    """The handles of a GPU's slices by UUID; their numbers may have holes."""
    found: dict[str, Handle] = {}
    for index in range(api.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            each = api.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            found[api.nvmlDeviceGetUUID(each)] = each
        except api.NVMLError as error:
            if error.value in DEVICE_GONE:
                raise
    return found


def slices(api: Any, handle: Handle, handles: Mapping[str, Handle]) -> list[Slice]:
    """The slices of a GPU in MIG mode as devices. One that goes while it is looked at is left out."""
    count = api.nvmlDeviceGetMaxMigDeviceCount(handle)
    found: list[Slice] = []
    for uid, each in handles.items():
        try:
            model = api.nvmlDeviceGetName(each)
        except api.NVMLError as error:
            if error.value in DEVICE_GONE:
                raise
            continue
        found.append(Slice(uid, model, _fraction(api, each, model, count)))
    return found


def _fraction(api: Any, handle: Handle, model: str, count: int) -> float:
    """Compute slices over those of the whole; by name, or as one of them, where the driver does not say."""
    own = _compute_slices(api, handle)
    if not own and (profile := PROFILE.search(model)):
        own = int(profile[1] or profile[2])
    return min(1.0, (own or 1) / max(1, count))


def _compute_slices(api: Any, handle: Handle) -> int:
    try:
        return int(api.nvmlDeviceGetAttributes_v2(handle).computeInstanceSliceCount)
    except api.NVMLError as error:
        if error.value in DEVICE_GONE:
            raise
        return 0


def spans_its_instance(api: Any, handle: Handle) -> bool:
    """Whether nobody else can be on the slice's GPU instance: activity is known by instance only."""
    try:
        attributes = api.nvmlDeviceGetAttributes_v2(handle)
    except api.NVMLError as error:
        if error.value in DEVICE_GONE:
            raise
        return False
    return bool(0 < attributes.computeInstanceSliceCount == attributes.gpuInstanceSliceCount)


def confirm(api: Any, handle: Handle, uid: str) -> None:
    """Raise where a handle has come to mean another slice: a GPU that is cut anew gives ids and handles again."""
    if api.nvmlDeviceGetUUID(handle) != uid:
        raise api.NVMLError(Result.NOT_FOUND)
