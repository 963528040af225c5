"""What the exporters that sites already run call things, which labels say what, and in which units.

Facts, from the projects' own lists and pages:

- dcgm-exporter (NVIDIA/dcgm-exporter: etc/default-counters.csv, etc/dcp-metrics-included.csv): `DCGM_FI_…`, with
  watts, millijoules since the driver was loaded, MiB, MHz, per cent, and ratios where the name has `PROF`. Before
  2.0 (NVIDIA/gpu-monitoring-tools) the same was called `dcgm_…`, in the same units, with the labels `gpu`, `uuid`.
- nvidia_gpu_exporter (utkuozdemir/nvidia_gpu_exporter: docs/METRICS.md): `nvidia_smi_…` in base units; its `uuid`
  lacks the `GPU-`, and index and model stand in `nvidia_smi_gpu_info` alone. Energy only from its NVML back end.
- AMD's device-metrics-exporter (ROCm/device-metrics-exporter: docs/configuration/metricslist.md): `gpu_…`, and
  with a prefix `amd_gpu_…`, in watts, microjoules, MB, MHz and per cent; earlier releases wrote capitals.

A violation counter of DCGM is not read: one of its lists says nanoseconds, the other microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["dcgm", "nvidia_gpu_exporter", "amd"]
Signal = Literal["energy", "power", "utilization", "memory", "clock", "sm_activity", "tensor", "info"]

OF_THE_BOARD: frozenset[Signal] = frozenset({"energy", "power", "clock", "info"})
"""What a slice has from its board, which DCGM repeats on each slice's series; the rest is the slice's own."""

PER_METRIC = frozenset({"__name__", "clock_type", "clock_index"})
"""Labels that tell apart what one scrape brings of one device."""


class Series(NamedTuple):
    """A metric of an exporter: which signal it is, what makes base units of it, and which comes first."""

    kind: Kind
    signal: Signal
    factor: float
    rank: int


@dataclass(frozen=True, slots=True)
class Labels:
    """Which label says what, the best first; `slices` and `whole` say that a board is divided, and when not."""

    uid: tuple[str, ...]
    node: tuple[str, ...]
    index: tuple[str, ...]
    model: tuple[str, ...]
    slices: tuple[str, ...] = ()
    whole: tuple[str, ...] = ("",)
    prefix: str = ""


LABELS: Mapping[Kind, Labels] = {
    "dcgm": Labels(
        uid=("UUID", "uuid"),
        node=("Hostname",),
        index=("device", "gpu"),
        model=("modelName",),
        slices=("GPU_I_ID", "GPU_I_PROFILE"),
        prefix="GPU-",
    ),
    "nvidia_gpu_exporter": Labels(
        uid=("uuid",), node=(), index=("index",), model=("name",), slices=("gpu_instance_id",), prefix="GPU-"
    ),
    "amd": Labels(
        # Of a divided board the serial number is that of the whole, the others are not.
        uid=("serial_number", "gpu_uuid"),
        node=("hostname",),
        index=("gpu_id",),
        model=("card_series", "card_model"),
        slices=("gpu_compute_partition_type",),
        whole=("", "spx"),
        prefix="amd:",
    ),
}

_MIB = 2.0**20
_MHZ = 1e6
_PER_CENT = 0.01

_NAMES: Mapping[Kind, tuple[tuple[Signal, float, tuple[str, ...]], ...]] = {
    "dcgm": (
        ("energy", 1e-3, ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "dcgm_total_energy_consumption")),
        ("power", 1.0, ("DCGM_FI_DEV_POWER_USAGE", "dcgm_power_usage")),
        ("utilization", _PER_CENT, ("DCGM_FI_DEV_GPU_UTIL", "dcgm_gpu_utilization")),
        ("utilization", 1.0, ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "dcgm_fi_prof_gr_engine_active")),
        ("memory", _MIB, ("DCGM_FI_DEV_FB_USED", "dcgm_fb_used")),
        ("clock", _MHZ, ("DCGM_FI_DEV_SM_CLOCK", "dcgm_sm_clock")),
        ("sm_activity", 1.0, ("DCGM_FI_PROF_SM_ACTIVE", "dcgm_fi_prof_sm_active")),
        ("tensor", 1.0, ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "dcgm_fi_prof_pipe_tensor_active")),
    ),
    "nvidia_gpu_exporter": (
        ("energy", 1.0, ("nvidia_smi_energy_joules_total",)),
        ("power", 1.0, ("nvidia_smi_power_draw_average_watts", "nvidia_smi_power_draw_watts")),
        ("utilization", 1.0, ("nvidia_smi_utilization_gpu_ratio",)),
        ("memory", 1.0, ("nvidia_smi_memory_used_bytes",)),
        ("clock", 1.0, ("nvidia_smi_clocks_current_sm_clock_hz",)),
        ("info", 1.0, ("nvidia_smi_gpu_info",)),
    ),
    "amd": (
        ("energy", 1e-6, ("gpu_energy_consumed",)),
        ("power", 1.0, ("gpu_package_power", "gpu_average_package_power", "gpu_power_usage")),
        ("utilization", _PER_CENT, ("gpu_gfx_activity",)),
        ("memory", _MIB, ("gpu_used_vram",)),
        ("clock", _MHZ, ("gpu_clock",)),
    ),
}


def _series() -> Iterator[tuple[str, Series]]:
    for kind, rows in _NAMES.items():
        rank = 0
        for signal, factor, names in rows:
            for name in names:
                for spelled in (name, f"amd_{name}", name.upper()) if kind == "amd" else (name,):
                    rank += 1
                    yield spelled, Series(kind, signal, factor, rank)


SERIES: Mapping[str, Series] = dict(_series())
"""Every metric that is read, by its name."""

SIGNALS: tuple[Signal, ...] = tuple(dict.fromkeys(each.signal for each in SERIES.values()))


def names_of(signal: Signal, kinds: frozenset[Kind]) -> tuple[str, ...]:
    """What the exporters of these kinds call a signal."""
    return tuple(name for name, each in SERIES.items() if each.signal == signal and each.kind in kinds)


class Source(NamedTuple):
    """What the labels of a series say of its device; `number` is the batch system's index of it."""

    uid: str
    node: str
    number: int | None
    model: str
    sliced: bool


def source_of(kind: Kind, labels: Mapping[str, str], node_label: str) -> Source | None:
    """Which device of which node a series is about; None where its labels do not say."""
    known = LABELS[kind]
    uid = _first(labels, known.uid)
    node = labels.get(node_label, "") if node_label else _node(labels, known)
    if not uid or not node:
        return None
    prefixed = uid if uid.startswith(known.prefix) else known.prefix + uid
    sliced = any(labels.get(each, "").lower() not in known.whole for each in known.slices)
    return Source(prefixed, node, _index(labels, known), _first(labels, known.model), sliced)


def short(node: str) -> str:
    """A host's name up to its first dot, which is what most batch systems call it; an address as it is."""
    return node if re.fullmatch(r"[0-9.]+|.*:.*", node) else node.partition(".")[0]


def of_a_slice(kind: Kind, labels: Mapping[str, str]) -> bool:
    """Whether a series is of a slice of the board rather than of the board."""
    if kind == "amd":
        return labels.get("gpu_partition_id", "0") not in ("", "0")
    return any(labels.get(each) for each in LABELS[kind].slices)


def is_other_clock(labels: Mapping[str, str]) -> bool:
    """Whether a clock of AMD's is one of memory or video, or of another than the first engine."""
    kind = labels.get("clock_type", "")
    return bool(kind) and (not kind.upper().endswith("SYSTEM") or labels.get("clock_index", "0") != "0")


def _node(labels: Mapping[str, str], known: Labels) -> str:
    return short(_first(labels, known.node) or _host(labels.get("instance", "")))


def _host(instance: str) -> str:
    """The target of a scrape without its port."""
    host = re.sub(r":[0-9]+$", "", instance)
    return host.removeprefix("[").removesuffix("]")


def _index(labels: Mapping[str, str], known: Labels) -> int | None:
    for name in known.index:
        digits = re.search(r"[0-9]{1,4}$", labels.get(name, ""))
        if digits:
            return int(digits[0])
    return None


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")
