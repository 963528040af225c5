"""Tables of AMD's `gpu_metrics`, laid out by ctypes as `kgd_pp_interface.h` says; all ones where unset."""

from __future__ import annotations

import ctypes
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64

U16, U32, U64 = c_uint16, c_uint32, c_uint64
HEADER = [("structure_size", U16), ("format_revision", c_uint8), ("content_revision", c_uint8)]

_OLD = [
    *HEADER, ("temperatures", U16 * 6), ("average_gfx_activity", U16), ("average_umc_activity", U16),
    ("average_mm_activity", U16), ("average_socket_power", U16), ("energy_accumulator", U64),
    ("system_clock_counter", U64), ("average_clocks", U16 * 7), ("current_clocks", U16 * 7),
    ("throttle_status", U32), ("current_fan_speed", U16), ("pcie_link_width", U16), ("pcie_link_speed", U16),
    ("padding", U16), ("gfx_activity_acc", U32), ("mem_activity_acc", U32), ("temperature_hbm", U16 * 4),
]  # fmt: skip
_STAMPED = [*_OLD, ("firmware_timestamp", U64)]
_HEAD = [
    *HEADER, ("temperatures", U16 * 3), ("curr_socket_power", U16), ("average_gfx_activity", U16),
    ("average_umc_activity", U16),
]  # fmt: skip
_ENERGY = [("energy_accumulator", U64), ("system_clock_counter", U64)]
_RESIDENCIES = [
    (name, U32)
    for name in (
        "accumulation_counter", "prochot_residency_acc", "ppt_residency_acc", "socket_thm_residency_acc",
        "vr_thm_residency_acc", "hbm_thm_residency_acc",
    )
]  # fmt: skip
_LINKS = [
    ("gfxclk_lock_status", U32), ("pcie_link_width", U16), ("pcie_link_speed", U16), ("xgmi_link_width", U16),
    ("xgmi_link_speed", U16), ("gfx_activity_acc", U32), ("mem_activity_acc", U32), ("pcie_bandwidth_acc", U64),
    ("pcie_bandwidth_inst", U64), ("pcie_l0_to_recov_count_acc", U64), ("pcie_replay_count_acc", U64),
    ("pcie_replay_rover_count_acc", U64),
]  # fmt: skip
_NAKS = [("pcie_nak_sent_count_acc", U32), ("pcie_nak_rcvd_count_acc", U32)]
_XGMI = [("xgmi_read_data_acc", U64 * 8), ("xgmi_write_data_acc", U64 * 8)]
_CLOCKS = [
    ("firmware_timestamp", U64), ("current_gfxclk", U16 * 8), ("current_socclk", U16 * 4),
    ("current_vclk0", U16 * 4), ("current_dclk0", U16 * 4), ("current_uclk", U16), ("last", U16),
]  # fmt: skip


def _partition(engines: int, accumulated: int) -> type[ctypes.Structure]:
    fields = [
        ("gfx_busy_inst", U32 * 8), ("jpeg_busy", U16 * engines), ("vcn_busy", U16 * 4),
        ("accumulated", (U64 * 8) * accumulated),
    ]  # fmt: skip
    return type("Partition", (ctypes.LittleEndianStructure,), {"_fields_": fields})


def _cut(engines: int, accumulated: int) -> list[tuple[str, object]]:
    return [("xcp_stats", _partition(engines, accumulated) * 8), ("pcie_lc_perf_other_end_recovery", U32)]


_STATUS = [("throttle_status", U32)]
_LINK_STATUS = [("xgmi_link_status", U16 * 8), ("padding", U16)]
_MI300_7 = [*_HEAD, ("mem_max_bandwidth", U64), *_ENERGY, *_RESIDENCIES, *_LINKS, *_NAKS, *_XGMI, *_LINK_STATUS]
FIELDS: dict[str, list[tuple[str, object]]] = {
    "1.1": [*_OLD],
    "1.2": [*_STAMPED],
    "1.3": [*_STAMPED, ("voltages", U16 * 3), ("padding1", U16), ("indep_throttle_status", U64)],
    "1.4": [*_HEAD, ("vcn_activity", U16 * 4), *_ENERGY, *_STATUS, *_LINKS, *_XGMI, *_CLOCKS],
    "1.5": [
        *_HEAD, ("vcn_activity", U16 * 4), ("jpeg_activity", U16 * 32), *_ENERGY, *_STATUS, *_LINKS, *_NAKS,
        *_XGMI, *_CLOCKS,
    ],
    "1.6": [*_HEAD, *_ENERGY, *_RESIDENCIES, *_LINKS, *_NAKS, *_XGMI, *_CLOCKS, *_cut(32, 1)],
    "1.7": [*_MI300_7, *_CLOCKS, *_cut(32, 2)],
    "1.8": [*_MI300_7, *_CLOCKS, *_cut(40, 5)],
    "2.1": [*HEADER, ("temperatures", U16 * 12), ("activity", U16 * 2), ("system_clock_counter", U64)],
}  # fmt: skip


def gpu_metrics(version: str, **values: int | list[int]) -> bytes:
    """A table of a version; what is not given says that there is none."""
    table = type("Table", (ctypes.LittleEndianStructure,), {"_fields_": FIELDS[version]})
    made = table.from_buffer(bytearray(b"\xff" * ctypes.sizeof(table)))
    revision, content = version.split(".")
    made.structure_size, made.format_revision, made.content_revision = (
        ctypes.sizeof(table),
        int(revision),
        int(content),
    )
    for name, value in values.items():
        if isinstance(value, list):
            getattr(made, name)[:] = value
        else:
            setattr(made, name, value)
    return bytes(made)
