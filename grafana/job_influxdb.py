"""One job, from InfluxDB: what agents push of it and its devices, and what accounting foresees."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import stat, statushistory, timeseries
from grafana_foundation_sdk.models import dashboard

from grafana import influxql as ask
from grafana.blocks import (
    BLUE,
    BYTES,
    CELSIUS,
    COUNT,
    GREEN,
    ORANGE,
    PURPLE,
    RATE,
    RATIO,
    RED,
    STATES,
    WATT,
    WATT_HOURS,
    YELLOW,
    Band,
    Page,
    at,
    band,
    choice,
    coloured,
    even,
    graph,
    history,
    number,
    renamed,
    shades,
    stacked,
    steps,
)
from grafana.fleet_influxdb import DEVICES, HOURS, JOBS, METHODS
from grafana.influxql import BUCKET, EACH_DEVICE, EACH_ROW, lines
from grafana.job import UNDECLARED, fan

JOB = "\"job_id\" = '$job_id' AND $timeFilter"
HELD_BY_JOB = '"node" =~ /^$node$/ AND "uuid" =~ /^$uuid$/ AND $timeFilter'
FORECAST = "\"scope_kind\" = 'job' AND \"scope\" = '$job_id' AND $timeFilter"
FAN = {"q05": "5 %", "q95": "95 %", "q25": "25 %", "q75": "75 %", "q50": "projected", "declared": "declared"}
LINKS = {
    f"mean_non_negative_derivative_link_bytes_total_{link}_{way}": f"{name} {way}"
    for name, link in (("PCIe", "pcie"), ("NVLink", "nvlink"), ("XGMI", "xgmi"))
    for way in ("receive", "transmit")
}
_PROGRESS = (
    f'SELECT last("step") / last("total") AS "done" FROM "gpuwatch_event" WHERE {JOB} AND "kind" = \'progress\''
)
EMPTY = "not seen by any agent"


def _sum_of_greatest(field: str, alias: str, divided: str = "") -> str:
    """A total of the job by the ledger's rule: the greatest of each series, added up."""
    inner = f'SELECT max("{field}") AS "most" FROM "gpuwatch_job" WHERE {JOB} GROUP BY {EACH_ROW}'
    return f'SELECT sum("most"){divided} AS "{alias}" FROM ({inner})'


def _growing(field: str, name: str) -> str:
    """A counter of seconds or joules as it adds up over the time range, in hours of that."""
    each = (
        f'SELECT non_negative_difference("{field}") AS "more" FROM "gpuwatch_job" WHERE {JOB} GROUP BY {EACH_ROW}'
    )
    total = f'cumulative_sum(sum("more")) / 3600 AS "{name}"'
    return f"SELECT {total} FROM ({each}) WHERE $timeFilter GROUP BY {BUCKET} fill(none)"


def _foreseen(quantity: str) -> str:
    """The fan of a quantity, in hours of its base unit."""
    asked = ", ".join(f'mean("{field}") / 3600 AS "{name}"' for field, name in FAN.items())
    return (
        f'SELECT {asked} FROM "gpuwatch_forecast" WHERE {FORECAST} AND "quantity" = \'{quantity}\' GROUP BY '
        f"{BUCKET} fill(none)"
    )


def _last(field: str) -> str:
    return (
        f'SELECT last("{field}") AS "{field}" FROM "gpuwatch_forecast" WHERE {FORECAST} AND "quantity" = '
        "'device-hours'"
    )


def _at_a_glance() -> Sequence[stat.Panel]:
    held, hour = "held_seconds_total", " / 3600"
    return (
        number(
            "Held so far",
            "Device-hours the job has held, idle or not: what it is charged for. As long as the time range "
            "holds the whole job.",
            HOURS,
            lines(("held", _sum_of_greatest(held, "held", hour))),
            EMPTY,
        ).decimals(2),
        number(
            "Worked",
            "Device-hours in which its devices worked.",
            HOURS,
            lines(("worked", _sum_of_greatest("state_seconds_total_working", "worked", hour))),
            "none",
            GREEN,
        ).decimals(2),
        number(
            "Idled",
            "Device-hours held in which its devices did nothing.",
            HOURS,
            lines(("idled", _sum_of_greatest("state_seconds_total_idle", "idled", hour))),
            "none",
        )
        .decimals(2)
        .thresholds(steps(GREEN, (0.01, ORANGE))),
    )


def _besides() -> Sequence[stat.Panel]:
    hour = " / 3600"
    ratio = _last("q50").replace('last("q50") AS "q50"', 'last("q50") / last("declared") AS "ratio"')
    return (
        number(
            "Spun",
            "Device-hours held in which devices reported they were busy, at idle power.",
            HOURS,
            lines(("spun", _sum_of_greatest("state_seconds_total_spinning", "spun", hour))),
            "none",
        )
        .decimals(2)
        .thresholds(steps(GREEN, (0.01, RED))),
        number(
            "Energy so far",
            "Energy of the job's share of its devices by method of measurement; good for about ±5 %.",
            WATT_HOURS,
            lines(
                *((method, _sum_of_greatest(f"energy_joules_total_{method}", method, hour)) for method in METHODS)
            ),
            "not measured",
        ),
        number(
            "Projected",
            "The median projection of device-hours by what was declared.",
            RATIO,
            lines(("projected", ratio)),
            UNDECLARED,
        ).thresholds(steps(GREEN, (1.0, YELLOW), (1.1, RED))),
    )


def numbers() -> Sequence[stat.Panel]:
    """What a reader wants to know first."""
    return (*_at_a_glance(), *_besides())


def _hours() -> timeseries.Panel:
    return (
        graph(
            "Burn-up",
            "Device-hours held so far, what was declared, and where the job is projected to end: the dashed "
            "line is the median, half of such jobs end in the darker area and nine of ten in the whole one.",
            COUNT,
            lines(("$col", _foreseen("device-hours")), ("held", _growing("held_seconds_total", "held"))),
        )
        .axis_label("device-hours")
        .interval(DEVICES)
    )


def _energy() -> timeseries.Panel:
    panel = graph(
        "Energy burn-up",
        "The same for energy: the job's share of its devices' energy by method of measurement, what was declared, "
        "and where it will end.",
        WATT_HOURS,
        lines(
            ("$col", _foreseen("energy")),
            *((f"used: {each}", _growing(f"energy_joules_total_{each}", each)) for each in METHODS),
        ),
    ).interval(DEVICES)
    return coloured(panel, {"used: counter": BLUE, "used: integrated": PURPLE, "used: modelled": YELLOW})


def _over() -> stat.Panel:
    return number(
        "Probability of an overrun",
        "That it comes to more device-hours than declared and the tolerance above that.",
        RATIO,
        lines(("over", _last("p_over"))),
        UNDECLARED,
    ).thresholds(steps(GREEN, (0.5, YELLOW), (0.8, RED)))


def _done() -> stat.Panel:
    return number(
        "Progress",
        "How far the job last said it is.",
        RATIO,
        lines(("done", _PROGRESS)),
        "not reported",
    )


def burn_ups() -> Band:
    """Where the job will end."""
    return band(10, at(11, fan(_hours())), at(9, fan(_energy())), at(4, _over(), _done()))


def _states() -> timeseries.Panel:
    return (
        graph(
            "What its devices do",
            "Part of the held time by state. Spinning: reported busy at idle power.",
            RATIO,
            lines(
                *(
                    (state, ask.pace("gpuwatch_job", f"state_seconds_total_{state}", JOB, EACH_ROW))
                    for state in ("working", "idle", "spinning")
                )
            ),
        )
        .max(1)
        .interval(JOBS)
    )


def _course() -> timeseries.Panel:
    last = f"{_PROGRESS} GROUP BY {BUCKET} fill(none)"
    panel = graph(
        "Progress over time",
        "How far the job says it is. A line that goes flat while devices are held is a job to look at.",
        RATIO,
        lines(("done", last)),
        "the job reports no progress",
    )
    return coloured(panel.max(1).interval(DEVICES), {"done": BLUE})


def _traffic() -> timeseries.Panel:
    links = (
        f'SELECT non_negative_derivative(/^link_bytes_total_/, 1s) FROM "gpuwatch_job" WHERE {JOB} GROUP BY '
        f"{EACH_ROW}"
    )
    return (
        graph(
            "Links",
            "Bytes a second of one of its devices over PCIe, NVLink and XGMI, the mean of all.",
            RATE,
            lines(
                (
                    "$col",
                    f"SELECT mean(/^non_negative_derivative_link/) FROM ({links}) WHERE $timeFilter GROUP BY "
                    f"{BUCKET} fill(none)",
                )
            ),
            "the devices do not count them",
        )
        .interval(JOBS)
        .fill_opacity(0)
    )


def doing() -> Sequence[Band]:
    """What became of the time it holds."""
    found = (coloured(stacked(_states()), STATES), _course(), renamed(_traffic(), LINKS))
    return (even(8, *found, heading="What its devices do"),)


def _each(field: str, by: str = "mean") -> str:
    return (
        f'SELECT {by}("{field}") FROM "gpuwatch_device" WHERE {HELD_BY_JOB} GROUP BY {BUCKET}, {EACH_DEVICE} '
        "fill(none)"
    )


def _use() -> statushistory.Panel:
    name = "$tag_node $tag_uuid"
    return history(
        "Utilization of each device",
        "Part of the time in which a kernel ran, also before and after the job held the device. A hung job can "
        "show 100 %.",
        lines((name, _each("utilization_ratio"))),
    ).interval(DEVICES)


def _of_devices() -> Sequence[timeseries.Panel]:
    name = "$tag_node $tag_uuid"
    return (
        graph(
            "Power",
            "Power of each device by its own sensor, good for about ±5 %, also before and after the job held it.",
            WATT,
            lines((name, _each("power_watts_average_device"))),
        ),
        graph(
            "Temperature",
            "The highest that the device's own sensor said.",
            CELSIUS,
            lines((name, _each("temperature_celsius_gpu_max", "max"))),
            "no device tells its temperature",
        ),
        graph(
            "Clocks",
            "Clock of the multiprocessors.",
            "hertz",
            lines((name, _each("clock_hz_sm"))),
            "the driver does not tell",
        ),
        graph(
            "Tensor activity",
            "Part of the cycles in which a tensor (matrix) unit was active.",
            RATIO,
            lines((name, _each("tensor_activity_ratio"))),
            "the driver does not tell",
        ),
        graph(
            "Memory",
            "Device memory in use, by all who share the device.",
            BYTES,
            lines((name, _each("memory_used_bytes"))),
        ),
    )


def device_graphs() -> Sequence[Band]:
    """One line for each of its devices, also before and after the job held them."""
    panels = _of_devices()
    for panel in panels:
        panel.fill_opacity(0).interval(DEVICES)
    return (even(8, shades(_use()), *panels[:2], heading="Its devices"), even(8, *panels[2:]))


def job_influxdb() -> Page:
    """One job that agents pushed."""
    jobs = 'SHOW TAG VALUES FROM "gpuwatch_job" WITH KEY = "job_id"'
    hidden = [
        choice(
            ask.KIND,
            key,
            key,
            f'SHOW TAG VALUES FROM "gpuwatch_job" WITH KEY = "{key}" WHERE "job_id" = \'$job_id\'',
            several=True,
        ).hide(dashboard.VariableHide.HIDE_VARIABLE)
        for key in ("node", "uuid")
    ]
    events = (
        f'SELECT "kind", "text", "uuid", "seq" FROM "gpuwatch_event" WHERE {JOB} AND "kind" !~ '
        "/^(progress|declaration|replayed)$/"
    )
    return Page(
        "gpuwatch-job-influxdb",
        "gpuwatch: job (InfluxDB)",
        "What one job used, what it will have used when it ends, and what its devices do, from what is pushed "
        "to InfluxDB. For staff.",
        ask.KIND,
        [choice(ask.KIND, "job_id", "Job", jobs), *hidden],
        (even(4, *numbers()), burn_ups(), *doing(), *device_graphs()),
        [ask.Annotation("Runs and faults", events, "kind", BLUE)],
    )
