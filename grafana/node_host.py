"""The host around a node's devices, and the agent that reads them."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import table, timeseries

from grafana import prometheus as ask
from grafana.blocks import (
    BLUE,
    BYTES,
    COUNT,
    GREEN,
    NOBODY,
    ORANGE,
    PURPLE,
    RATE,
    RED,
    SECONDS,
    WATT,
    WATT_HOURS,
    Band,
    Column,
    coloured,
    even,
    graded,
    graph,
    listing,
    said,
    setting,
    stacked,
)
from grafana.prometheus import NODE, lines

TEAL = "#2bb8b0"
# Meters are read every 5 s, a chassis less often: over less than a minute their steps would be drawn as waves.
LEAST = "1m"
EMPTY = "its agent is not scraped"
NO_STORAGE = "there is none on this node, or its agent is not scraped"
NO_METER = (
    "no meter of the host is read: there is none, or RAPL needs the drop-in rapl.conf; gpuwatch check says which"
)
NOT_DIVIDED = (
    "nothing is divided: the processors' energy is not read, or a device's meter has it too; see gpuwatch check"
)
NO_PART = "no job has a part: none has a control group of its own, or nothing is divided"


def _cpu() -> timeseries.Panel:
    modes = f'gpuwatch_host_cpu_seconds_total{{{NODE},mode!~"idle|irq|steal"}}'
    return graph(
        "CPU",
        "Processors by what they do.",
        COUNT,
        lines(("{{mode}}", f"sum by (mode) (rate({modes}{ask.RATE})) > 0.001")),
    )


def _memory() -> timeseries.Panel:
    return graph(
        "Memory",
        "The host's memory in use, swap, and what is installed.",
        BYTES,
        lines(
            ("in use", f"max(gpuwatch_host_memory_used_bytes{{{NODE}}})"),
            ("swap", f"max(gpuwatch_host_swap_used_bytes{{{NODE}}}) > 0"),
            ("installed", f"max(gpuwatch_host_memory_total_bytes{{{NODE}}})"),
        ),
    ).override_by_name("installed", [setting("custom.fillOpacity", 0)])


def _network() -> timeseries.Panel:
    traffic = [
        (f"{{{{device}}}} {way}", f"sum by (device) (rate({metric}{{{NODE}}}{ask.RATE}))")
        for way, metric in (
            ("in", "gpuwatch_host_network_receive_bytes_total"),
            ("out", "gpuwatch_host_network_transmit_bytes_total"),
            ("in", "gpuwatch_host_infiniband_port_data_received_bytes_total"),
            ("out", "gpuwatch_host_infiniband_port_data_transmitted_bytes_total"),
        )
    ]
    return graph(
        "Network",
        "Bytes a second by interface, Ethernet and InfiniBand, of all who use the node.",
        RATE,
        lines(*traffic),
    )


def _disks() -> timeseries.Panel:
    return graph(
        "Disks",
        "Bytes a second read from and written to the host's disks.",
        RATE,
        lines(
            ("read", f"sum(rate(gpuwatch_host_disk_read_bytes_total{{{NODE}}}{ask.RATE}))"),
            ("written", f"sum(rate(gpuwatch_host_disk_written_bytes_total{{{NODE}}}{ask.RATE}))"),
        ),
    )


def _network_storage() -> timeseries.Panel:
    traffic = [
        (f"{{{{{label}}}}} {way}", f"sum by ({label}) (rate(gpuwatch_host_{metric}{{{NODE}}}{ask.RATE}))")
        for label, way, metric in (
            ("mountpoint", "read", "nfs_read_bytes_total"),
            ("mountpoint", "written", "nfs_write_bytes_total"),
            ("filesystem", "read", "lustre_read_bytes_total"),
            ("filesystem", "written", "lustre_write_bytes_total"),
        )
    ]
    return graph(
        "Network file systems",
        "Bytes a second to and from NFS servers by mount point, and of programs by Lustre file system.",
        RATE,
        lines(*traffic),
        NO_STORAGE,
    )


def _answers() -> timeseries.Panel:
    disks = _per("device", "disk_read_time_seconds_total", "disk_reads_completed_total")
    return graph(
        "How long storage takes",
        "Seconds that a request took, on average: NFS at the server and waiting on this node to be sent, Lustre "
        "until its answer, a read of a disk. A job that waits here looks like a slow device.",
        SECONDS,
        lines(
            ("{{mountpoint}} at the server", _of_nfs("response")),
            ("{{mountpoint}} waiting to be sent", _of_nfs("queue")),
            ("{{filesystem}}", _per("filesystem", "lustre_request_wait_seconds_total", "lustre_requests_total")),
            ("{{device}} read", disks),
        ),
        NO_STORAGE,
    )


def _of_nfs(what: str) -> str:
    return _per("mountpoint", f"nfs_operations_{what}_time_seconds_total", "nfs_operations_requests_total")


def _per(label: str, seconds: str, requests: str) -> str:
    """Seconds of each request; nothing where there were none."""
    made = f"sum by ({label}) (rate(gpuwatch_host_{requests}{{{NODE}}}{ask.RATE}))"
    return f"sum by ({label}) (rate(gpuwatch_host_{seconds}{{{NODE}}}{ask.RATE})) / ({made} > 0)"


def _in_line() -> timeseries.Panel:
    timeouts = f"gpuwatch_host_nfs_operations_major_timeouts_total{{{NODE}}}"
    return graph(
        "Waiting in line",
        "Requests in flight or queued at each disk, on average, and requests a second that no NFS server answered "
        "in time: it is gone, or the network to it.",
        COUNT,
        lines(
            (
                "{{device}} queue",
                f"sum by (device) (rate(gpuwatch_host_disk_io_time_weighted_seconds_total{{{NODE}}}{ask.RATE}))",
            ),
            ("{{mountpoint}} timeouts", f"sum by (mountpoint) (rate({timeouts}{ask.RATE})) > 0"),
        ),
        NO_STORAGE,
    )


def _watts() -> timeseries.Panel:
    rapl = f'gpuwatch_host_energy_joules_total{{{NODE},domain=~"package-.+|dram-.+|psys"}}'
    acpi, chassis = (f'gpuwatch_host_power_watts{{{NODE},source{which}"ipmi"}}' for which in ("!=", "="))
    own, module = ask.power(NODE), ask.power(NODE, "module")
    modelled = f'sum(rate(gpuwatch_device_energy_joules_total{{{NODE},method="modelled"}}{ask.RATE}))'
    # Devices alone would hide the words that say why there is nothing of the host.
    beside = (
        f" and on () count(gpuwatch_host_energy_joules_total{{{NODE}}} or gpuwatch_host_power_watts{{{NODE}}})"
    )
    return graph(
        "Power of host and devices",
        "Each meter of the host, and all devices together. The lines overlap: packages, dram and devices may be "
        "added, while psys has packages and dram in it, a module its CPU and GPU, and the chassis everything. "
        "Devices of which the module's power alone is known are shown with their CPUs.",
        WATT,
        lines(
            ("{{domain}}", f"sum by (domain) (rate({rapl}{ask.RATE}))"),
            ("{{source}}", f"sum by (source) ({acpi})"),
            ("chassis", f"sum({chassis})"),
            ("devices", f"sum({own}){beside}"),
            ("devices with their CPUs", f"sum({module} unless on (instance, uuid) {own}){beside}"),
            ("devices, modelled", f"{modelled}{beside}"),
        ),
        NO_METER,
    ).interval(LEAST)


def _divided() -> timeseries.Panel:
    to = (f'gpuwatch_host_divided_energy_joules_total{{{NODE},to="{whom}"}}' for whom in ("jobs", "node"))
    jobs, node = (f"sum(rate({each}{ask.RATE}))" for each in to)
    return graph(
        "The host's energy, divided",
        "Power of processors and memory: what goes to jobs by their processor time and memory, and what stays "
        "with the node: idle processors, the system, jobs without a control group. A chassis is divided in steps "
        "of a minute.",
        WATT,
        lines(("to jobs", jobs), ("stays with the node", node)),
        NOT_DIVIDED,
    ).interval(LEAST)


def _by_job() -> table.Panel:
    joules = f"gpuwatch_job_host_energy_joules_total{{{NODE}}}"
    seconds = f"gpuwatch_job_host_energy_measured_seconds_total{{{NODE}}}"
    devices = f"sum by (job_id) (gpuwatch_job_energy_joules_total{{{NODE}}}) / 3600"
    return listing(
        "The host by job",
        "What jobs of the last 15 minutes have of the host's energy on this node, beside that of their devices, "
        "which is never in it. Known says for how long it was; the rest of their time is not known, and not 0.",
        ask.columns(
            f"sum by (job_id) (rate({joules}{ask.RATE})) and on (job_id) gpuwatch_device_job_share{{{NODE}}}",
            f"sum by (job_id) ({joules}) / 3600",
            f"{devices} and on (job_id) {joules}",
            f"sum by (job_id) ({seconds})",
        ),
        {
            "job_id": Column("Job", link=ask.to_job()),
            "Value #A": Column("Now", WATT, 70),
            "Value #B": Column("Host", WATT_HOURS, 75),
            "Value #C": Column("Devices", WATT_HOURS, 75),
            "Value #D": Column("Known", SECONDS, 75),
        },
        NO_PART,
        by="job_id",
        sort="Host",
    ).interval(LEAST)


def power() -> Band:
    """What the host draws beside its devices, and whose it is."""
    watts = coloured(_watts().fill_opacity(0), {"devices": TEAL, "devices with their CPUs": TEAL})
    divided = coloured(stacked(_divided()), {"to jobs": GREEN, "stays with the node": NOBODY})
    return even(8, watts, divided, _by_job(), heading="Power of the host")


def host() -> Sequence[Band]:
    """The node around the devices."""
    cores = coloured(
        stacked(_cpu(), "processors"),
        {"user": GREEN, "system": ORANGE, "iowait": RED, "nice": BLUE, "softirq": PURPLE},
    )
    return (
        even(
            8,
            cores,
            coloured(_memory(), {"in use": BLUE, "installed": NOBODY, "swap": RED}),
            _network(),
            _disks(),
            heading="Host",
        ),
        power(),
        even(8, _network_storage(), _answers(), _in_line(), heading="Storage of the host"),
    )


def _ticks() -> timeseries.Panel:
    return graph(
        "Ticks of the agent",
        "How long a reading of everything takes; the agent makes one each second.",
        SECONDS,
        lines(
            ("a tick", f"max(gpuwatch_agent_tick_seconds{{{NODE}}})"),
            ("missed a second", f"sum(rate(gpuwatch_agent_ticks_missed_total{{{NODE}}}{ask.RATE}))"),
        ),
    )


def _sources() -> table.Panel:
    return listing(
        "Sources of the agent",
        "What the agent reads: whether the last read succeeded, how long it took, and values it refused as out "
        "of range.",
        ask.columns(
            f"min by (source) (gpuwatch_source_up{{{NODE}}})",
            f"max by (source) (gpuwatch_source_duration_seconds{{{NODE}}})",
            f"sum by (source) (gpuwatch_source_rejected_readings_total{{{NODE}}}) or 0 * max by (source) "
            f"(gpuwatch_source_up{{{NODE}}})",
        ),
        {
            "source": Column("Source"),
            "Value #A": Column(
                "Works",
                width=65,
                more={
                    "mappings": said({1: ("yes", GREEN), 0: ("no", RED)}),
                    "custom.cellOptions": {"type": "color-text"},
                },
            ),
            "Value #B": Column("Takes", SECONDS, 80),
            "Value #C": Column("Refused", width=80, more=graded((1, ORANGE))),
        },
        EMPTY,
        by="source",
    )


def _rest() -> timeseries.Panel:
    return graph(
        "Does it add up?",
        "Device time that neither jobs nor unallocated nor unattributed time account for, and by how much "
        "claimed shares exceed the whole. Both are 0 but for rounding, or the figures are wrong.",
        SECONDS,
        lines(
            ("residual", f"max(abs(gpuwatch_agent_residual_seconds{{{NODE}}}))"),
            ("shares above the whole", f"max(gpuwatch_agent_share_excess{{{NODE}}})"),
        ),
    ).axis_soft_max(1)


def agent() -> Band:
    """Whether what is shown here can be trusted."""
    return even(8, _ticks(), _sources(), _rest(), heading="The agent")
