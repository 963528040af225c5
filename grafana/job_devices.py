"""The devices of a job, each by itself, and the nodes around them."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import table, timeseries

from grafana import prometheus as ask
from grafana.blocks import (
    BYTES,
    CELSIUS,
    COUNT,
    DEVICE_HOURS,
    GREEN,
    HERTZ,
    ORANGE,
    RATE,
    RATIO,
    WATT,
    WATT_HOURS,
    Band,
    Column,
    coloured,
    even,
    graded,
    graph,
    listing,
    stacked,
)
from grafana.prometheus import lines

JOB = 'job_id="$job_id"'
HELD = f"gpuwatch_device_job_share{{{JOB}}}"
SHARE = f"on (instance, uuid) group_left () sum by (instance, uuid) ({HELD})"
INFO = "max by (instance, uuid, index, model) (gpuwatch_device_info)"
DEVICE = "{{instance}}/{{index}}"


def of_job(metric: str) -> str:
    """The greatest value of a metric for each device that the job holds."""
    return ask.named(f"max by (instance, uuid) ({metric}) and on (instance, uuid) {HELD}", INFO)


def power() -> timeseries.Panel:
    """The job's share of the power of each of its devices."""
    share = f"({ask.power()}) * {SHARE}"
    return graph(
        "Power",
        "Electrical power of the job's devices, times its share of each; good for about ±5 %.",
        WATT,
        lines((DEVICE, ask.named(share, INFO))),
    ).fill_opacity(0)


def throttled() -> timeseries.Panel:
    """What holds its devices back."""
    rate = f"sum by (reason) (rate(gpuwatch_job_throttled_seconds_total{{{JOB}}}{ask.RATE})) > 0"
    panel = graph(
        "Throttled",
        "Devices of the job whose clocks are held down, by reason. A power cap is often meant; heat never is.",
        COUNT,
        lines(("{{reason}}", rate)),
        "no device of the job is throttled",
    )
    return coloured(stacked(panel, "devices", 1), ask.REASONS)


def device_graphs() -> Sequence[Band]:
    """One line for each device that the job holds; and the nodes around them."""
    clock = 'gpuwatch_device_clock_hz{domain="sm"}'
    panels = (
        graph(
            "Temperature",
            "Hottest sensor of each device.",
            CELSIUS,
            lines((DEVICE, of_job("gpuwatch_device_temperature_celsius"))),
        ),
        graph(
            "Clocks",
            "Clock of the multiprocessors of each device. Devices of one job should be alike.",
            HERTZ,
            lines((DEVICE, of_job(clock))),
        ),
        graph(
            "Tensor activity",
            "Part of the cycles in which a tensor (matrix) unit was active, where the driver gives it.",
            RATIO,
            lines((DEVICE, of_job("gpuwatch_device_tensor_activity_ratio"))),
            "the driver does not tell",
        ),
        graph(
            "Memory",
            "Device memory in use, by all who share the device.",
            BYTES,
            lines((DEVICE, of_job("gpuwatch_device_memory_used_bytes"))),
        ),
    )
    for panel in panels:
        panel.fill_opacity(0)
    return (even(8, *panels[:3], heading="Its devices"), even(8, panels[3], links(), network()))


def links() -> timeseries.Panel:
    """Bytes between its devices, and between them and their hosts."""
    found = (
        (
            f"{name} {{{{direction}}}}",
            f"sum by (direction) (rate(gpuwatch_device_{metric}_bytes_total{ask.RATE}) * {SHARE})",
        )
        for name, metric in (("PCIe", "pcie"), ("NVLink", "nvlink"), ("XGMI", "xgmi"))
    )
    return graph(
        "Links",
        "Bytes a second over PCIe, NVLink and XGMI of the devices the job holds, times its share of each.",
        RATE,
        lines(*found),
        "the devices do not count them",
    )


def network() -> timeseries.Panel:
    """What its nodes send and receive."""
    here = f"max by (instance) ({HELD})"

    def of(way: str, infiniband: str) -> str:
        ethernet = f"sum by (instance) (rate(gpuwatch_host_network_{way}_bytes_total{ask.RATE}))"
        port = f"gpuwatch_host_infiniband_port_data_{infiniband}_bytes_total"
        fabric = f"(sum by (instance) (rate({port}{ask.RATE})) or 0 * {ethernet})"
        return f"{ethernet} + {fabric} and on (instance) {here}"

    return graph(
        "Network of its nodes",
        "Bytes a second of the nodes that the job is on, Ethernet and InfiniBand, of everybody there: no "
        "counter of a network says which job it was.",
        RATE,
        lines(("{{instance}} in", of("receive", "received")), ("{{instance}} out", of("transmit", "transmitted"))),
    )


def devices() -> table.Panel:
    """Which devices the job holds now, and what it made of each."""
    labels = "index, model"
    held = f"sum by (uuid) (gpuwatch_job_held_seconds_total{{{JOB}}})"
    worked = f'sum by (uuid) (gpuwatch_job_state_seconds_total{{{JOB},state="working"}})'
    current = f"sum by (instance, uuid, basis) ({HELD}) * on (instance, uuid) group_left ({labels}) {INFO}"
    return listing(
        "Devices",
        "The devices the job holds or held of late, and what it made of each. Working: part of the held time, "
        "by state. A device that works less than the others, or is throttled, slows all of them down.",
        ask.columns(
            current,
            f"{held} / 3600",
            f"sum by (uuid) (gpuwatch_job_energy_joules_total{{{JOB}}}) / 3600",
            f"({worked} or 0 * {held}) / {held}",
            f"(sum by (uuid) (gpuwatch_job_throttled_seconds_total{{{JOB}}}) or 0 * {held}) / {held}",
        ),
        {
            "instance": Column("Node", link=ask.to_node()),
            "index": Column("Index", width=80),
            "model": Column("Model", width=200),
            "uuid": Column("Device", width=310),
            "basis": Column("Held as", width=90),
            "Value #A": Column("Share", RATIO, 90),
            "Value #B": Column("Held", DEVICE_HOURS, 140, more={"decimals": 2}),
            "Value #C": Column("Energy", WATT_HOURS, 110),
            "Value #D": Column("Working", RATIO, 100, more=graded(base=GREEN)),
            "Value #E": Column("Throttled", RATIO, 110, more=graded((0.05, ORANGE))),
        },
        "the job holds no device",
        by="uuid",
    )
