"""Rows and events as agents write them into InfluxDB, for tests: as lines, and as the usage API says them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpuwatch.agent.usage import row_facts
from gpuwatch.model import JobRow, RowKey, Usage, points

T0 = 1_764_000_000
EPOCH = "0123456789ab"
MODEL = "NVIDIA H100 80GB HBM3"

WHOLE = Usage(
    held_seconds=1000.0625, busy_seconds=870.2, memory_byte_seconds=4.1e13 + 0.125, tensor_seconds=12.3,
    energy_unmeasured_seconds=0.1 + 0.2,
    state_seconds={"working": 900.1, "spinning": 1.0, "idle": 98.0, "unknown": 0.9625},
    energy_joules={"counter": 512345.6, "integrated": 7.0, "modelled": 1e-9},
    throttled_seconds={"sw_power_cap": 12.5, "sw_thermal": 1 / 3, "hw_thermal": 2.0, "other": 4.0},
    clock_cycles=1.71e12, clock_seconds=900.0, storage_wait_seconds=41.5,
    host_energy_joules=61200.0, host_energy_measured_seconds=995.0,
    link_bytes={"pcie_receive": 2.1e12, "pcie_transmit": 2.6e11, "nvlink_receive": 3e21, "nvlink_transmit": 0.0},
    errors={"ecc_corrected": 3.0, "ecc_uncorrected": 0.0, "xid": 1.0},
    energy_gap_seconds=0.3, first_working=T0 + 42.0,
    last_in_state={"working": T0 + 1000.25, "idle": T0 + 41.0},
)  # fmt: skip
"""Usage with everything that there is."""


def job_row(
    job_id: str = "run-1",
    usage: Usage = WHOLE,
    started: int = T0,
    uuid: str = "GPU-0",
    seq: int = 7,
    last_seen: float = T0 + 1000.25,
    **changed: Any,
) -> JobRow:
    """A row of counters as an agent has it, `changed` where a test says so."""
    row = JobRow(RowKey(job_id, started, uuid), usage, 1.0, "whole", True, seq, last_seen)
    return replace(row, **changed)


def document(row: JobRow, model: str = MODEL) -> dict[str, Any]:
    """What the usage API says of a row."""
    return row_facts(row, model)


def row_fields(row: Mapping[str, Any]) -> dict[str, float | str]:
    """The fields that a row of the usage API has in InfluxDB; what is unknown has none."""
    fields: dict[str, Any] = {name: row[room] for room, name in points.ROW_NUMBERS.items()}
    fields |= {word: row[word] for word in points.ROW_WORDS}
    fields[points.ROW_OPEN] = float(row["open"])
    for room, (name, _) in points.ROW_LABELLED.items():
        fields |= {points.labelled(name, label): value for label, value in row[room].items()}
    return {name: value for name, value in fields.items() if value is not None}


def row_line(
    row: JobRow, time: float, node: str = "gw0", cluster: str = "default", epoch: str = EPOCH, model: str = MODEL
) -> str:
    """A row as the line that an agent pushes at that time."""
    facts = document(row, model)
    tags = {
        "cluster": cluster, "node": node, "job_id": facts["job_id"], "started": str(facts["started"]),
        "uuid": facts["uuid"], "epoch": epoch,
    }  # fmt: skip
    return line(points.JOB, tags, row_fields(facts), time)


def event_line(kind: str, time: float, node: str = "gw0", cluster: str = "default", **fields: float | str) -> str:
    """An event as the line that an agent pushes."""
    return line(points.EVENT, {"cluster": cluster, "node": node, "kind": kind}, fields, time)


def line(measurement: str, tags: Mapping[str, str], fields: Mapping[str, float | str], time: float) -> str:
    """A point of InfluxDB."""
    named = "".join(f",{name}={_tag(value)}" for name, value in tags.items() if value)
    told = ",".join(f"{name}={_field(value)}" for name, value in fields.items())
    return f"{measurement}{named} {told} {round(time * 1000)}000000"


def lines(found: Sequence[str]) -> bytes:
    """Several of them as they are sent."""
    return "\n".join(found).encode()


def _tag(value: str) -> str:
    for special in (",", "=", " "):
        value = value.replace(special, f"\\{special}")
    return value


def _field(value: float | str) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(float(value))
