"""The whole cluster: what the devices do, who holds some and does nothing with them, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import stat, table, timeseries

from grafana import prometheus as ask
from grafana.blocks import (
    BLUE,
    COUNT,
    DEVICE_HOURS,
    GRAMS,
    GREEN,
    HOLDERS,
    ORANGE,
    PURPLE,
    RATIO,
    RED,
    STATES,
    WATT,
    WATT_HOURS,
    YELLOW,
    Band,
    Column,
    Page,
    at,
    band,
    coloured,
    even,
    graded,
    graph,
    listing,
    number,
    said,
    stacked,
    steps,
)
from grafana.fleet_nodes import DEVICES, EMPTY, SHARE, ZERO, faults, nodes, state_now
from grafana.prometheus import ACCOUNTING, NODE, RATE, WHOLE, lines

NO_ACCOUNTING = f"0 * max(gpuwatch_accounting_leading{{{ACCOUNTING}}})"
ALERT = f"kind, {ask.SCOPE}, quantity, severity"
ALERTS = f"max by ({ALERT}) (gpuwatch_alert_active{{{ACCOUNTING}}})"
OBSERVED = f"max by ({ALERT}) (gpuwatch_alert_observed{{{ACCOUNTING}}})"


def _at_a_glance() -> Sequence[stat.Panel]:
    return (
        number(
            "Devices",
            "Devices that the agents see, slices of a device not counted apart.",
            COUNT,
            lines(("", DEVICES)),
            EMPTY,
        ),
        number(
            "Held",
            "Part of the devices that jobs hold now, used or not: what is charged.",
            RATIO,
            lines(("", f"(sum({SHARE}) or {ZERO}) / {DEVICES}")),
            EMPTY,
        ),
        number(
            "Working",
            "Part of all devices that work now: activity and power above their own idle level.",
            RATIO,
            lines(("", f"({state_now('working')}) / {DEVICES}")),
            EMPTY,
            GREEN,
        ),
    )


def _in_between() -> Sequence[stat.Panel]:
    return (
        number(
            "Held and idle",
            "Devices that are held now and do nothing.",
            COUNT,
            lines(("", state_now("idle"))),
            EMPTY,
        )
        .decimals(1)
        .thresholds(steps(GREEN, (0.5, ORANGE))),
        number(
            "Spinning",
            "Devices that report they are busy at idle power, as in a collective that hangs.",
            COUNT,
            lines(("", state_now("spinning"))),
            EMPTY,
        )
        .decimals(1)
        .thresholds(steps(GREEN, (0.5, RED))),
    )


def _and_at_last() -> Sequence[stat.Panel]:
    lost = f'sum(increase(gpuwatch_job_state_seconds_total{{{NODE},state=~"idle|spinning"}}[$__range])) / 3600'
    return (
        number(
            "Held for nothing",
            "Device-hours held and not used in the time range shown: idle or spinning. An upper bound of what "
            "could be saved.",
            DEVICE_HOURS,
            ask.now(("", f"{lost} or {ZERO}")),
            EMPTY,
        )
        .decimals(2)
        .thresholds(steps(GREEN, (0.01, ORANGE))),
        number(
            "Jobs",
            "Jobs that hold at least one device now.",
            COUNT,
            lines(("", f"count(max by (job_id) ({SHARE})) or {ZERO}")),
            EMPTY,
        ),
        number(
            "Alerts",
            "Alerts that accounting holds true now, told to somebody or only observed.",
            COUNT,
            lines(("", f"count({ALERTS} or {OBSERVED}) or {NO_ACCOUNTING}")),
            "no accounting is scraped",
        ).thresholds(steps(GREEN, (1, ORANGE))),
    )


def numbers() -> Sequence[stat.Panel]:
    """What a reader wants to know first, in one row."""
    return (*_at_a_glance(), *_in_between(), *_and_at_last())


def devices() -> Band:
    """What became of the devices' time; of which models they are; and who will need more than he declared."""
    what = graph(
        "What the devices do",
        "Devices by state. Working: activity and power above idle. Idle: held and unused. Spinning: reported "
        "busy at idle power. Unknown: held and not measured. Unattributed: the holder is not known. It adds up "
        "to all devices of which agents report.",
        COUNT,
        ask.states(NODE),
    )
    coming = at(9, models(), overruns())
    return band(10, at(15, coloured(stacked(what, "devices"), STATES)), coming, heading="Devices")


def models() -> table.Panel:
    """How many devices of each model there are, and what they do."""
    info = f"max by (instance, uuid, model) ({WHOLE})"
    none = f"0 * max by (instance, uuid) ({WHOLE})"
    joined = f"* on (instance, uuid) group_left (model) {info}"
    work = ask.in_state(f'{NODE},state="working"', "instance, uuid")
    return listing(
        "Models",
        "Devices by model: how many, which part is held and works now, and the mean power of one. Power is that "
        "of the device's own sensor, good for about ±5 %.",
        ask.columns(
            f"count by (model) ({info})",
            f"avg by (model) ((sum by (instance, uuid) ({SHARE}) or {none}) {joined})",
            f"avg by (model) (({work} or {none}) {joined})",
            f"avg by (model) ({ask.power(NODE)} {joined})",
        ),
        {
            "model": Column("Model"),
            "Value #A": Column("Devices", width=75),
            "Value #B": Column("Held", RATIO, 80, more=graded(base=BLUE)),
            "Value #C": Column("Working", RATIO, 80, more=graded(base=GREEN)),
            "Value #D": Column("Each draws", WATT, 100),
        },
        EMPTY,
        by="model",
        sort="Devices",
    )


def overruns() -> table.Panel:
    """What is about to cost more than was said."""
    over = f"max by ({ask.SCOPE}, quantity) (gpuwatch_forecast_over_probability{{{ACCOUNTING}}})"
    return listing(
        "Likely to need more than declared",
        "The scopes most probable to come to more than was declared for them and the tolerance above that. Can "
        "the probabilities be trusted? The page of estimates has their record.",
        ask.columns(f"topk(10, {over})"),
        {
            "scope_kind": Column("Of", width=80),
            "scope": Column("Which", link=ask.to_job()),
            "quantity": Column("Quantity", width=115),
            "Value": Column("Probability", RATIO, 100, more=graded((0.5, YELLOW), (0.8, RED))),
        },
        "nothing is declared for what runs now",
        sort="Probability",
    )


def _power() -> timeseries.Panel:
    drawn = graph(
        "Power by holder",
        "Power of all devices by who holds them, from energy counters where devices have some. Hosts are not in "
        "it. Sensors are good for about ±5 %.",
        WATT,
        lines(
            *(
                (name, f"sum(rate(gpuwatch_device_{part}_energy_joules_total{{{NODE}}}{RATE})){only}")
                for name, part, only in (
                    ("held by jobs", "held", ""),
                    ("unattributed", "unattributed", " > 0"),
                    ("held by nobody", "unallocated", ""),
                )
            )
        ),
    )
    return coloured(stacked(drawn), HOLDERS)


def _use() -> timeseries.Panel:
    memory = (f"sum(gpuwatch_device_memory_{part}_bytes{{{NODE}}})" for part in ("used", "total"))
    used = graph(
        "Mean over all devices",
        "Utilization says in which part of the time any kernel ran, however small; SM and tensor activity say "
        "how much of the device did something, where the driver gives them. A hung job shows 100 % utilization.",
        RATIO,
        lines(
            ("utilization", f"avg(gpuwatch_device_utilization_ratio{{{NODE}}})"),
            ("SM activity", f"avg(gpuwatch_device_sm_activity_ratio{{{NODE}}})"),
            ("tensor activity", f"avg(gpuwatch_device_tensor_activity_ratio{{{NODE}}})"),
            ("memory in use", " / ".join(memory)),
        ),
    ).max(1)
    shades = {"utilization": BLUE, "SM activity": PURPLE, "tensor activity": GREEN, "memory in use": YELLOW}
    return coloured(used.fill_opacity(0), shades)


def energy() -> Band:
    """Power by who holds the device, and how much of the devices is used."""
    total = number(
        "Energy",
        "Energy of all devices in the time range shown, without their hosts. Good for about ±5 %.",
        WATT_HOURS,
        ask.now(("", f"sum(increase(gpuwatch_device_energy_joules_total{{{NODE}}}[$__range])) / 3600")),
        EMPTY,
    )
    drawing = number(
        "Power now",
        "Power of all devices together, without their hosts.",
        WATT,
        lines(("", f"sum({ask.power(NODE)})")),
        EMPTY,
    )
    carbon = number(
        "CO2e of current jobs",
        "Of all current jobs since each began, with the facility's overhead (PUE), and the grid's intensity "
        "that is configured for the place and date.",
        GRAMS,
        lines(("", f'sum(max by (scope) (gpuwatch_ledger_carbon_grams_total{{{ACCOUNTING},scope_kind="job"}}))')),
        "no energy measured",
    )
    return band(9, at(10, _power()), at(10, _use()), at(4, drawing, total, carbon), heading="Power and use")


def idlers() -> table.Panel:
    """Who holds devices and does nothing with them."""
    held = f"sum by (job_id) ({SHARE})"

    def hours(states: str) -> str:
        seconds = f'sum by (job_id) (gpuwatch_job_state_seconds_total{{{NODE},state=~"{states}"}})'
        return f"({seconds} / 3600 and on (job_id) {held})"

    worst = f"topk(10, {hours('idle|spinning')})"
    unused = ask.in_state(f'{NODE},state=~"idle|spinning"', "job_id")
    return listing(
        "Holding and not using",
        "The ten running jobs that lost most device-hours to idling and spinning since they began. Upper "
        "bounds: some of it was bound to be lost. Whose they are accounting knows; metrics do not say.",
        ask.columns(worst, *(f"{each} and on (job_id) {worst}" for each in (held, unused, hours(".+")))),
        {
            "job_id": Column("Job", link=ask.to_job()),
            "Value #B": Column("Devices", width=80),
            "Value #C": Column("Unused now", COUNT, 110, more={"decimals": 1, **graded((0.5, ORANGE))}),
            "Value #D": Column("Held", DEVICE_HOURS, 130, more={"decimals": 2}),
            "Value #A": Column("For nothing", DEVICE_HOURS, 130, more={"decimals": 2, **graded((0.01, ORANGE))}),
        },
        "every job uses what it holds",
        by="job_id",
        sort="For nothing",
    )


def alerts() -> table.Panel:
    """What accounting holds true."""
    told = said({1: ("told", ORANGE), 2: ("observed", BLUE)})
    cell = {"mappings": told, "custom.cellOptions": {"type": "color-text"}}
    return listing(
        "Active alerts",
        "What accounting holds true now. Told: by the alert policy somebody is told. Observed: it is recorded, "
        "and no rule tells it. How often each kind was right is on the page of estimates.",
        ask.columns(f"{ALERTS} * 1 or {OBSERVED} * 2"),
        {
            "kind": Column("What", width=110),
            "scope_kind": Column("Of", width=90),
            "scope": Column("Which", link=ask.to_job()),
            "quantity": Column("Quantity", width=120),
            "severity": Column("Severity", width=100),
            "Value": Column("Told", width=100, more=cell),
        },
        "no alert is active",
        sort="What",
    )


def fleet() -> Page:
    """All clusters that one Prometheus knows, or the nodes of one."""
    return Page(
        "gpuwatch-fleet",
        "gpuwatch: fleet",
        "The whole cluster: what its devices do, who holds some for nothing, and what is wrong. For staff.",
        ask.KIND,
        [*ask.cluster_variables(), ask.accounting_variable()],
        (
            even(4, *numbers()),
            devices(),
            energy(),
            even(9, idlers(), alerts(), heading="Jobs"),
            faults(),
            even(6, nodes(), heading="Nodes"),
        ),
    )
