"""One node: its devices, who holds them, what they draw, what holds them back, and the host around them."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import stat, statushistory, table, timeseries

from grafana import prometheus as ask
from grafana.blocks import (
    BLUE,
    BYTES,
    CELSIUS,
    COUNT,
    DEVICE_HOURS,
    GREEN,
    HERTZ,
    NOBODY,
    ORANGE,
    RATE,
    RATIO,
    RED,
    SINCE,
    STATES,
    WATT,
    WATT_HOURS,
    YELLOW,
    Band,
    Column,
    Page,
    at,
    band,
    choice,
    coloured,
    even,
    graded,
    graph,
    history,
    listing,
    number,
    said,
    setting,
    shades,
    stacked,
    steps,
)
from grafana.node_host import EMPTY, agent, host
from grafana.prometheus import NODE, WHOLE, lines

EVERY = f"0 * count({WHOLE})"
SHARE = f"gpuwatch_device_job_share{{{NODE}}}"
# How far back counters of errors are looked at.
OVER = "[$__range]"


def _each(metric: str) -> tuple[str, str]:
    return "{{index}}", ask.named(ask.by_device(metric))


def _at_a_glance() -> Sequence[stat.Panel]:
    return (
        number(
            "Devices",
            "Devices of the node, slices not counted apart.",
            COUNT,
            lines(("", f"count({WHOLE})")),
            EMPTY,
        ),
        number(
            "Held",
            "Devices that jobs hold now, by their share of each.",
            COUNT,
            lines(("", f"sum({SHARE}) or {EVERY}")),
            EMPTY,
        ).decimals(1),
        number(
            "Power now",
            "Power of all its devices, without the host.",
            WATT,
            lines(("", f"sum({ask.power(NODE)})")),
            "no device tells its power",
        ),
        number(
            "Energy",
            "Energy of all its devices in the time range shown, without the host. Good for about ±5 %.",
            WATT_HOURS,
            ask.now(("", f"sum(increase(gpuwatch_device_energy_joules_total{{{NODE}}}{OVER})) / 3600")),
            EMPTY,
        ),
    )


def _besides() -> Sequence[stat.Panel]:
    idle = f'gpuwatch_host_cpu_seconds_total{{{NODE},mode=~"idle|iowait"}}'
    busy = f"1 - sum(rate({idle}{ask.RATE})) / sum(gpuwatch_host_cpus{{{NODE}}})"
    memory = (f"sum(gpuwatch_host_memory_{part}_bytes{{{NODE}}})" for part in ("used", "total"))
    last = f"max(gpuwatch_source_last_success_timestamp_seconds{{{NODE}}}) * 1000"
    return (
        number(
            "Hottest sensor",
            "The hottest sensor of any of its devices.",
            CELSIUS,
            lines(("", f"max(gpuwatch_device_temperature_celsius{{{NODE}}})")),
            "no device tells its temperature",
        ).thresholds(steps(GREEN, (80, YELLOW), (88, RED))),
        number(
            "Host CPU",
            "Part of the host's processors that is busy, waiting for disks not counted.",
            RATIO,
            lines(("", busy)),
            EMPTY,
        ).thresholds(steps(BLUE, (0.9, ORANGE))),
        number(
            "Host memory",
            "Part of the host's memory that is in use.",
            RATIO,
            lines(("", " / ".join(memory))),
            EMPTY,
        ).thresholds(steps(BLUE, (0.9, ORANGE))),
        number("Last reading", "When the agent last read one of its sources.", SINCE, lines(("", last)), EMPTY),
    )


def numbers() -> Sequence[stat.Panel]:
    """The node at a glance."""
    return (*_at_a_glance(), *_besides())


def states() -> Band:
    """What the devices do, together and each."""
    together = graph(
        "What the devices do",
        "Devices by state. Working: activity and power above idle. Idle: held and unused. Spinning: reported "
        "busy at idle power. Unknown: held and not measured. Unattributed: the holder is not known.",
        COUNT,
        ask.states(NODE),
    )
    unused = f"sum by (instance, uuid) (rate(gpuwatch_device_unallocated_seconds_total{{{NODE}}}{ask.RATE}))"
    free = f"5 * ({unused} > bool 0.5) > 0"
    words = {code: (state, STATES[state]) for state, code in ask.STATE_CODES.items()}
    each = history(
        "State of each device",
        "What each device did for more than half of the time; changing where nothing was.",
        lines(("device {{index}}", ask.named(f"{free} or {ask.state_of_each(NODE)}"))),
    ).mappings(said({**words, 5: ("held by nobody", NOBODY), 0: ("changing", YELLOW)}))
    return band(9, at(12, coloured(stacked(together, "devices"), STATES)), at(12, each), heading="Devices")


def _who() -> table.Panel:
    held = f"max by (instance, uuid, job_id, basis) ({SHARE})"
    hours = f"sum by (instance, uuid, job_id) (gpuwatch_job_held_seconds_total{{{NODE}}}) / 3600"
    now = f"{hours} and on (instance, uuid, job_id) {SHARE}"
    energy = f"sum by (instance, uuid, job_id) (gpuwatch_job_energy_joules_total{{{NODE}}}) / 3600"
    return listing(
        "Who holds what",
        "Jobs on devices now. Held as says by which rule the share is told: whole, mig, shard, mps, timeslice, "
        "or holders, where several processes share a device without a grant.",
        ask.columns(
            ask.named(held), ask.named(now), ask.named(f"{energy} and on (instance, uuid, job_id) {SHARE}")
        ),
        {
            "index": Column("Device", width=80),
            "job_id": Column("Job", link=ask.to_job()),
            "basis": Column("Held as", width=90),
            "Value #A": Column("Share", RATIO, 80),
            "Value #B": Column("Held", DEVICE_HOURS, 130, more={"decimals": 2}),
            "Value #C": Column("Energy", WATT_HOURS, 110),
        },
        "no job holds a device",
        sort="Held",
    )


def _what() -> table.Panel:
    sensors = ask.by_device("gpuwatch_device_temperature_celsius")
    memory = " / ".join(ask.by_device(f"gpuwatch_device_memory_{part}_bytes") for part in ("used", "total"))
    return listing(
        "What they are",
        "The devices of the node, whether the last reading of each succeeded, and what it said.",
        ask.columns(
            f"max by (uuid, index, model, driver) (gpuwatch_device_info{{{NODE}}})",
            f"max by (uuid) (gpuwatch_device_up{{{NODE}}})",
            f"sum by (uuid) ({ask.power(NODE)})",
            f"max by (uuid) ({sensors})",
            f"max by (uuid) ({memory})",
        ),
        {
            "index": Column("Device", width=80),
            "model": Column("Model"),
            "driver": Column("Driver", width=90),
            "Value #B": Column(
                "Read",
                width=70,
                more={
                    "mappings": said({1: ("yes", GREEN), 0: ("no", RED)}),
                    "custom.cellOptions": {"type": "color-text"},
                },
            ),
            "Value #C": Column("Power", WATT, 90),
            "Value #D": Column("Hottest", CELSIUS, 90, more=graded((80, YELLOW), (88, RED))),
            "Value #E": Column("Memory", RATIO, 90),
        },
        EMPTY,
        by="uuid",
    )


def holders() -> Sequence[table.Panel]:
    """Who holds what, and what the devices are."""
    return _who(), _what()


def _watts() -> timeseries.Panel:
    limit = f"max(gpuwatch_device_power_limit_watts{{{NODE}}})"
    return graph(
        "Power",
        "Power of each device by its own sensor, good for about ±5 %, and the limit that is enforced.",
        WATT,
        lines(("{{index}}", ask.named(ask.power(NODE))), ("limit", limit)),
    )


def _use() -> statushistory.Panel:
    return history(
        "Utilization of each device",
        "Part of the time in which a kernel ran. A hung job can show 100 %: compare with the states above.",
        lines(("device {{index}}", _each("gpuwatch_device_utilization_ratio")[1])),
    )


def _busy() -> timeseries.Panel:
    return graph(
        "Tensor activity",
        "Part of the cycles in which a tensor (matrix) unit was active, where the driver gives it.",
        RATIO,
        lines(_each("gpuwatch_device_tensor_activity_ratio")),
        "the driver does not tell",
    )


def _hot() -> timeseries.Panel:
    return graph(
        "Temperature",
        "Hottest sensor of each device.",
        CELSIUS,
        lines(_each("gpuwatch_device_temperature_celsius")),
    )


def _clocks() -> timeseries.Panel:
    clock = f'gpuwatch_device_clock_hz{{{NODE},domain="sm"}}'
    return graph(
        "Clocks",
        "Clock of the multiprocessors of each device.",
        HERTZ,
        lines(("{{index}}", ask.named(f"max by (instance, uuid) ({clock})"))),
    )


def _slow() -> timeseries.Panel:
    return graph(
        "Throttled",
        "Devices whose clocks are held down, by reason. A power cap is often meant; heat never is.",
        COUNT,
        lines(("{{reason}}", ask.throttled(NODE))),
        "no device is throttled",
    )


def _memory() -> timeseries.Panel:
    return graph(
        "Device memory",
        "Device memory in use, by all who share the device.",
        BYTES,
        lines(_each("gpuwatch_device_memory_used_bytes")),
    )


def device_graphs() -> Sequence[Band]:
    """One line for each device."""
    watts = _watts()
    dashes = [setting("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}), setting("custom.fillOpacity", 0)]
    watts.override_by_name("limit", [*dashes, setting("color", {"mode": "fixed", "fixedColor": RED})])
    busy = _busy()
    hot = _hot()
    clocks = _clocks()
    memory = _memory()
    thin = (watts, busy, hot, clocks, memory)
    for panel in thin:
        panel.fill_opacity(0)
    return (
        even(8, watts, shades(_use()), busy),
        even(8, hot, clocks, coloured(stacked(_slow(), "devices", 1), ask.REASONS)),
        even(8, memory, links(), errors()),
    )


def links() -> timeseries.Panel:
    """Bytes between devices, and between them and the host."""
    return graph(
        "Links",
        "Bytes a second over PCIe, NVLink and XGMI, all devices together, as the devices count them.",
        RATE,
        lines(
            *(
                (
                    f"{name} {{{{direction}}}}",
                    f"sum by (direction) (rate(gpuwatch_device_{metric}_bytes_total{{{NODE}}}{ask.RATE}))",
                )
                for name, metric in (("PCIe", "pcie"), ("NVLink", "nvlink"), ("XGMI", "xgmi"))
            )
        ),
    )


def errors() -> table.Panel:
    """What the hardware complained about."""
    info = ask.INFO
    ecc = f'sum by (instance, uuid, type) (gpuwatch_device_ecc_errors_total{{{NODE},scope="volatile"}})'
    xid = f"sum by (instance, uuid, xid) (increase(gpuwatch_device_xid_errors_total{{{NODE}}}{OVER})) > 0"
    both = " or ".join(
        f"label_replace(({each}) * on (instance, uuid) group_left (index) {info}, 'what', '{words} $1', "
        f"'{label}', '(.+)')"
        for each, words, label in ((f"{ecc} > 0", "ECC", "type"), (xid, "XID", "xid"))
    )
    return listing(
        "Errors",
        "Memory errors (ECC) since the driver was loaded: corrected ones are common, uncorrected ones kill "
        "jobs. Driver errors (XID) in the time range shown.",
        ask.columns(f"sum by (index, what) ({both})"),
        {
            "index": Column("Device", width=90),
            "what": Column("What"),
            "Value": Column("Count", width=100, more={"decimals": 0}),
        },
        "no errors",
        sort="Count",
    )


def node() -> Page:
    """One node, or several that are chosen together."""
    return Page(
        "gpuwatch-node",
        "gpuwatch: node",
        "One node: what its devices do and who holds them, what they draw, how hot and how fast they are. For "
        "staff.",
        ask.KIND,
        [
            ask.cluster_variables()[0],
            choice(ask.KIND, "node", "Node", 'label_values(gpuwatch_agent_info{cluster=~"$cluster"}, instance)'),
        ],
        (
            even(4, *numbers()),
            states(),
            even(10, *holders()),
            *device_graphs(),
            *host(),
            agent(),
        ),
    )
