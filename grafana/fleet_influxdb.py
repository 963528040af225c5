"""The whole cluster, from InfluxDB: what agents push. Alerts and figures of accounting itself are not there."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import stat, table, timeseries

from grafana import influxql as ask
from grafana.blocks import (
    BLUE,
    CELSIUS,
    COUNT,
    GREEN,
    HOLDERS,
    NOTHING,
    ORANGE,
    PURPLE,
    RATIO,
    RED,
    SECONDS,
    STATES,
    WATT,
    WATT_HOURS,
    YELLOW,
    Band,
    Column,
    Page,
    choice,
    coloured,
    even,
    graded,
    graph,
    listing,
    number,
    stacked,
    steps,
)
from grafana.influxql import BUCKET, EACH_DEVICE, EACH_ROW, NODES, columns, lines

HOURS = "suffix: device-h"
# Jobs are pushed once a minute, devices every 15 seconds; for a sum each device has to be in every interval.
JOBS, DEVICES, SUMS = "1m", "30s", "1m"
METHODS = ("counter", "integrated", "modelled")
EVENTS = "/^(xid|device_lost|device_back|device_gone|driver_reloaded)$/"
DEVICE_TAGS = f"GROUP BY {EACH_DEVICE}"


def _hours(state: str) -> str:
    grown = ask.grown("gpuwatch_job", f"state_seconds_total_{state}", NODES, EACH_ROW)
    return grown.replace('sum("grown")', 'sum("grown") / 3600')


def _at_a_glance() -> Sequence[stat.Panel]:
    seen = f'SELECT last("held_seconds_total") AS "seen" FROM "gpuwatch_device" WHERE {NODES} {DEVICE_TAGS}'
    jobs = f'SELECT last("held_seconds_total") AS "held" FROM "gpuwatch_job" WHERE {NODES} GROUP BY "job_id"'
    held = ask.grown("gpuwatch_device", "held_seconds_total", NODES, EACH_DEVICE)
    hour = ('sum("grown")', 'sum("grown") / 3600')
    return (
        number(
            "Devices",
            "Devices that agents told of in the time range shown.",
            COUNT,
            lines(("devices", f'SELECT count("seen") FROM ({seen})')),
            NOTHING,
        ),
        number(
            "Jobs",
            "Jobs that held devices in the time range shown.",
            COUNT,
            lines(("jobs", f'SELECT count("held") FROM ({jobs})')),
            "no job",
        ),
        number(
            "Held",
            "Device-hours that jobs held in the time range shown, used or not: what is charged.",
            HOURS,
            lines(("held", held.replace(*hour))),
            NOTHING,
        ).decimals(2),
    )


def _in_between() -> Sequence[stat.Panel]:
    return (
        number(
            "Worked",
            "Device-hours held in which the devices worked: activity and power above idle.",
            HOURS,
            lines(("worked", _hours("working"))),
            "none",
            GREEN,
        ).decimals(2),
        number(
            "Idled",
            "Device-hours held in which the devices did nothing. An upper bound of what could be saved.",
            HOURS,
            lines(("idled", _hours("idle"))),
            "none",
        )
        .decimals(2)
        .thresholds(steps(GREEN, (0.01, ORANGE))),
    )


def _and_at_last() -> Sequence[stat.Panel]:
    free = ask.grown("gpuwatch_device", "unallocated_seconds_total", NODES, EACH_DEVICE)
    hour = ('sum("grown")', 'sum("grown") / 3600')
    return (
        number(
            "Spun",
            "Device-hours held in which devices reported they were busy, at idle power: a hung collective.",
            HOURS,
            lines(("spun", _hours("spinning"))),
            "none",
        )
        .decimals(2)
        .thresholds(steps(GREEN, (0.01, RED))),
        number(
            "Held by nobody",
            "Device-hours that no job held.",
            HOURS,
            lines(("free", free.replace(*hour))),
            NOTHING,
        ).decimals(2),
        number(
            "Energy",
            "Energy of all devices by method of measurement, without their hosts: good for about ±5 %.",
            WATT_HOURS,
            lines(*((method, _energy(method).replace(*hour)) for method in METHODS)),
            "not measured",
        ),
    )


def numbers() -> Sequence[stat.Panel]:
    """The time range shown, in numbers."""
    return (*_at_a_glance(), *_in_between(), *_and_at_last())


def _energy(method: str) -> str:
    return ask.grown("gpuwatch_device", f"energy_joules_total_{method}", NODES, EACH_DEVICE)


def uses() -> Sequence[timeseries.Panel]:
    """Who has the devices, and what is done with those that are held."""
    holders = (
        graph(
            "Who has the devices",
            "Part of all devices that jobs hold, that nobody holds, and whose holder is not known.",
            RATIO,
            lines(
                *(
                    (name, ask.pace("gpuwatch_device", f"{part}_seconds_total", NODES, EACH_DEVICE))
                    for name, part in (
                        ("held by jobs", "held"),
                        ("unattributed", "unattributed"),
                        ("held by nobody", "unallocated"),
                    )
                )
            ),
        )
        .max(1)
        .interval(DEVICES)
    )
    states = (
        graph(
            "What is done with held ones",
            "Part of the held time by state. Working: activity and power above idle. Idle: held and unused. "
            "Spinning: reported busy at idle power.",
            RATIO,
            lines(
                *(
                    (state, ask.pace("gpuwatch_job", f"state_seconds_total_{state}", NODES, EACH_ROW))
                    for state in ("working", "idle", "spinning")
                )
            ),
        )
        .max(1)
        .interval(JOBS)
    )
    return coloured(stacked(holders), HOLDERS), coloured(stacked(states), STATES)


def _watts() -> timeseries.Panel:
    return graph(
        "Power",
        "Power of all devices by their own sensors, without hosts, good for about ±5 %. The last point is of an "
        "interval that is not over.",
        WATT,
        lines(("power", ask.total("gpuwatch_device", "power_watts_average_device", NODES, EACH_DEVICE))),
    ).interval(SUMS)


def _used() -> timeseries.Panel:
    parts = {
        "utilization": "utilization_ratio",
        "SM activity": "sm_activity_ratio",
        "tensor activity": "tensor_activity_ratio",
    }
    return (
        graph(
            "Mean over all devices",
            "Utilization says in which part of the time any kernel ran; SM and tensor activity how much of the "
            "device did something, where the driver gives them. A hung job shows 100 % utilization.",
            RATIO,
            lines(
                *(
                    (
                        name,
                        f'SELECT mean("{field}") FROM "gpuwatch_device" WHERE {NODES} GROUP BY {BUCKET} '
                        f"fill(none)",
                    )
                    for name, field in parts.items()
                )
            ),
        )
        .max(1)
        .interval(DEVICES)
        .fill_opacity(0)
    )


def _hot() -> timeseries.Panel:
    return (
        graph(
            "Hottest device of each node",
            "The highest that a sensor of a device said.",
            CELSIUS,
            lines(
                (
                    "$tag_node",
                    'SELECT max("temperature_celsius_gpu_max") FROM "gpuwatch_device" '
                    f'WHERE {NODES} GROUP BY {BUCKET}, "node" fill(none)',
                )
            ),
            "no device tells its temperature",
        )
        .interval(DEVICES)
        .fill_opacity(0)
    )


def measured() -> Sequence[timeseries.Panel]:
    """Power, use and heat."""
    return (
        coloured(_watts(), {"power": GREEN}),
        coloured(_used(), {"utilization": BLUE, "SM activity": PURPLE, "tensor activity": GREEN}),
        _hot(),
    )


def jobs() -> table.Panel:
    """Who held devices and did nothing with them."""
    fields = {
        "held": "held_seconds_total",
        "idle": "state_seconds_total_idle",
        "spinning": "state_seconds_total_spinning",
    }
    inner = ", ".join(f'spread("{field}") AS "{name}"' for name, field in fields.items())
    outer = ", ".join(f'sum("{name}") / 3600 AS "{name}"' for name in fields)
    rows = f'SELECT {inner} FROM "gpuwatch_job" WHERE {NODES} GROUP BY {EACH_ROW}'
    return listing(
        "Who held what",
        "Jobs of the time range shown: device-hours they held, and how many of these their devices idled or "
        "span. Whose they are accounting knows; what agents push does not say.",
        columns(f'SELECT {outer} FROM ({rows}) GROUP BY "job_id"'),
        {
            "job_id": Column("Job", link=ask.to_job()),
            "held": Column("Held", HOURS, 150, more={"decimals": 2}),
            "idle": Column("Idled", HOURS, 150, more={"decimals": 2, **graded((0.01, ORANGE))}),
            "spinning": Column("Spun", HOURS, 150, more={"decimals": 2, **graded((0.01, RED))}),
        },
        "none",
        sort="Idled",
    )


def nodes() -> table.Panel:
    """Every node: what its devices draw, how hot they are, how long they were held back."""
    gauges = (
        'mean("power_watts_average_device") AS "power", max("temperature_celsius_gpu_max") AS "hottest", '
        'mean("utilization_ratio") AS "utilization"'
    )
    heat = ask.grown("gpuwatch_device", "throttle_seconds_total_sw_thermal", NODES, EACH_DEVICE)
    return listing(
        "Nodes",
        "Nodes that pushed in the time range shown: mean power and utilization of one of their devices, the "
        "hottest sensor, and how long devices held their clocks down for heat, all devices added up.",
        columns(
            f'SELECT {gauges} FROM "gpuwatch_device" WHERE {NODES} GROUP BY "node"',
            f'{heat} GROUP BY "node"',
        ),
        {
            "node": Column("Node"),
            "power": Column("A device draws", WATT, 140),
            "utilization": Column("Utilization", RATIO, 110),
            "hottest": Column("Hottest", CELSIUS, 110, more=graded((80, YELLOW), (88, RED))),
            "sum": Column("Hot for", SECONDS, 120, more=graded((1, ORANGE))),
        },
        NOTHING,
        by="node",
        sort="A device draws",
    )


def fleet_influxdb() -> Page:
    """All clusters that push to one database, or the nodes of one."""
    query = f'SELECT "kind", "text", "uuid", "seq" FROM "gpuwatch_event" WHERE {NODES} AND "kind" =~ {EVENTS}'
    clusters = 'SHOW TAG VALUES FROM "gpuwatch_device" WITH KEY = "cluster"'
    of_cluster = 'SHOW TAG VALUES FROM "gpuwatch_device" WITH KEY = "node" WHERE "cluster" =~ /^$cluster$/'
    bands: Sequence[Band] = (
        even(4, *numbers()),
        even(9, *uses(), heading="Devices"),
        even(8, *measured(), heading="Power, use, heat"),
        even(8, jobs(), nodes(), heading="Jobs and nodes"),
    )
    return Page(
        "gpuwatch-fleet-influxdb",
        "gpuwatch: fleet (InfluxDB)",
        "The whole cluster from what agents push to InfluxDB: who has the devices, and what is done with them. "
        "For staff.",
        ask.KIND,
        [
            choice(ask.KIND, "cluster", "Cluster", clusters, several=True),
            choice(ask.KIND, "node", "Node", of_cluster, several=True),
        ],
        bands,
        [ask.Annotation("Devices lost, driver errors", query, "kind", RED)],
    )
