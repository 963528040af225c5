"""The dashboards, from Python: `python grafana/generate.py` writes grafana/dashboards/*.json (`make generate`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = stat.Panel | timeseries.Panel | table.Panel

FOLDER = Path(__file__).parent / "dashboards"
STORE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

DEVICE_HOURS = "suffix: device-h"
WATT_HOURS = "watth"
RATIO = "percentunit"

HELD = 'gpuwatch_device_job_share{job_id="$job_id"}'
SHARE = f"on (uuid) group_left () sum by (uuid) ({HELD})"
JOB = '{job_id="$job_id"}'
SCOPE = 'scope_kind="job",scope="$job_id"'
HOURS = f'{{{SCOPE},quantity="device-hours"}}'
MEDIAN = f'{{{SCOPE},quantity="device-hours",q="0.5"}}'

USED = f"sum(gpuwatch_job_held_seconds_total{JOB}) / 3600"
DECLARED = f"max(gpuwatch_declared{HOURS}) / 3600"
PROJECTED = f"max(gpuwatch_forecast_quantile{MEDIAN}) / 3600"

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#8e8e8e"
STATE_COLOURS = {"working": GREEN, "spinning": RED, "idle": ORANGE, "unknown": GREY}


def of_job(metric: str) -> str:
    """The series of the devices that the job holds, whole."""
    return f"{metric} and on (uuid) {HELD}"


def power_of_job() -> str:
    """The job's share of the power of each of its devices; the sensor that averages where there is one."""
    average, instant = (
        f'max by (instance, uuid) (gpuwatch_device_power_watts{{scope="device",window="{window}"}})'
        for window in ("average", "instant")
    )
    return f"({average} or {instant}) * {SHARE}"


def query(expression: str, legend: str = "", ref: str = "A") -> Dataquery:
    """A query over the dashboard's time range."""
    return Dataquery().expr(expression).legend_format(legend).range().ref_id(ref).datasource(STORE)


def columns(expression: str, ref: str) -> Dataquery:
    """A query whose labels and value now become columns of a table."""
    asked = Dataquery().expr(expression).instant().format(PromQueryFormat.TABLE)
    return asked.ref_id(ref).datasource(STORE)


def steps(base: str, *above: tuple[float, str]) -> builder.ThresholdsConfig:
    """A colour for the lowest values and another from each limit on."""
    found = [dashboard.Threshold(None, base), *(dashboard.Threshold(limit, colour) for limit, colour in above)]
    return builder.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(found)


def number(title: str, description: str, unit: str, width: int, **legends: str) -> stat.Panel:
    """The last known value of some series (legend to expression), or in words that there is none."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(STORE)
        .unit(unit)
        .span(width)
        .height(4)
        .no_value("not known")
        .thresholds(steps(BLUE))
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    for ref, (legend, expression) in zip("ABCD", legends.items(), strict=False):
        panel.with_target(query(expression, legend.capitalize(), ref))
    return panel


def graph(title: str, description: str, unit: str, width: int = 12) -> timeseries.Panel:
    """Lines over time."""
    legend = (
        common_builder.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    tooltip = common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(STORE)
        .unit(unit)
        .span(width)
        .height(8)
        .axis_soft_min(0)
        .line_width(1.5)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(legend)
        .tooltip(tooltip.sort(common.SortOrder.DESCENDING))
        .no_value("nothing measured in this time range")
    )


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Lines that add up, as areas."""
    stacking = common_builder.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
    return panel.stacking(stacking).fill_opacity(60).line_width(0)


def coloured(panel: timeseries.Panel, colours: Mapping[str, str]) -> timeseries.Panel:
    """The colour of each series by its name."""
    for name, colour in colours.items():
        panel.override_by_name(name, [_property("color", {"mode": "fixed", "fixedColor": colour})])
    return panel


def _property(name: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val=name, value=value)


def overview() -> Sequence[stat.Panel]:
    """What a reader wants to know first, in one row."""
    alert = (
        f"max(gpuwatch_alert_active{{{SCOPE}}}) or 0 * max(gpuwatch_ledger_held_device_seconds_total{{{SCOPE}}})"
    )
    said = {0: ("none", GREEN), 1: ("active", RED)}
    mapping = dashboard.ValueMap(
        options={
            str(value): dashboard.ValueMappingResult(text=text, color=colour)
            for value, (text, colour) in said.items()
        }
    )
    return (
        number(
            "Held so far",
            "Device-hours the job has held, idle or not: what it is charged for.",
            DEVICE_HOURS, 4, held=USED,
        ),
        number(
            "Energy so far",
            "Energy of the job's share of its devices. Sensors are good for about ±5 %; the host is not in it.",
            WATT_HOURS, 4, energy=f"sum(gpuwatch_job_energy_joules_total{JOB}) / 3600",
        ),
        number(
            "Progress",
            "How far the job says it is. Without it there is no projection.",
            RATIO, 3, progress=f"max(gpuwatch_job_progress_ratio{JOB})",
        ).no_value("not reported").min(0).max(1),
        number(
            "Projected and declared",
            "Device-hours the job will have held when it ends (median), beside what was declared for it.",
            DEVICE_HOURS, 6, projected=PROJECTED, declared=DECLARED,
        ).text_mode(common.BigValueTextMode.VALUE_AND_NAME),
        number(
            "Projected of declared",
            "Above 100 % the job ends over its estimate; above 110 % it is told.",
            RATIO, 4, ratio=f"({PROJECTED}) / ({DECLARED})",
        ).thresholds(steps(GREEN, (1.0, YELLOW), (1.1, RED))),
        number(
            "Alert",
            "Whether accounting now says that the job exceeds its estimate or will. Why is in its log.",
            "none", 3, alert=alert,
        ).mappings([mapping]).thresholds(steps(GREEN, (1, RED))),
    )  # fmt: skip


def progress_graphs() -> Sequence[timeseries.Panel]:
    """Where the job will end, and what became of the time it holds."""
    burn_up = (
        graph(
            "Burn-up",
            "Device-hours held so far against what was declared, and where the job is projected to end.",
            DEVICE_HOURS,
        )
        .with_target(query(USED, "held", "A"))
        .with_target(query(DECLARED, "declared", "B"))
        .with_target(query(PROJECTED, "projected", "C"))
    )
    dashes = _property("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
    for name in ("declared", "projected"):
        burn_up.override_by_name(name, [dashes, _property("custom.fillOpacity", 0)])
    states = (
        graph(
            "What its devices do",
            "Devices by state. Working: activity and power above idle. Spinning: reported busy at idle power, as "
            "a hung collective is. Idle: held and unused. Unknown: not measured. Together they are what is held.",
            "none",
        )
        .axis_label("devices")
        .axis_soft_max(1)
    )
    states.with_target(
        query(f"sum by (state) (rate(gpuwatch_job_state_seconds_total{JOB}[$__rate_interval]))", "{{state}}")
    )
    return (
        coloured(burn_up, {"held": BLUE, "declared": GREY, "projected": ORANGE}),
        coloured(stacked(states), STATE_COLOURS),
    )


def device_graphs() -> Sequence[timeseries.Panel]:
    """The devices the job holds, one line each; and what slows them down."""
    name = "{{instance}} {{uuid}}"
    throttled = f"sum by (reason) (rate(gpuwatch_device_throttle_seconds_total[$__rate_interval]) * {SHARE})"
    hottest = f"max by (instance, uuid) ({of_job('gpuwatch_device_temperature_celsius')})"
    return (
        graph(
            "Power",
            "Electrical power of the job's devices, times its share of each.",
            "watt", 8,
        ).with_target(query(power_of_job(), name)),
        graph(
            "Utilization",
            "Fraction of time in which a kernel ran. A hung job can show 100 %: compare with power and state.",
            RATIO, 8,
        ).max(1).with_target(query(of_job("gpuwatch_device_utilization_ratio"), name)),
        graph(
            "Memory",
            "Device memory in use, by all who share the device.",
            "bytes", 8,
        ).with_target(query(of_job("gpuwatch_device_memory_used_bytes"), name)),
        graph(
            "Temperature",
            "Hottest sensor of each device.",
            "celsius",
        ).with_target(query(hottest, name)),
        stacked(
            graph(
                "Throttled",
                "Devices whose clocks were held down, by reason. A power cap is often meant; heat never is.",
                "none",
            ).axis_label("devices").axis_soft_max(1)
        ).with_target(query(throttled, "{{reason}}")),
    )  # fmt: skip


def devices_table() -> table.Panel:
    """Which devices the job holds now, and what it made of each."""
    labels = "uuid, instance, index, model, kind"
    info = f"max by ({labels}) (gpuwatch_device_info)"
    held = f"sum by (uuid) (gpuwatch_job_held_seconds_total{JOB})"
    working = JOB.replace("}", ',state="working"}')
    worked = f"sum by (uuid) (gpuwatch_job_state_seconds_total{working})"
    shown: dict[str, tuple[str, str | None]] = {
        "instance": ("Node", None),
        "index": ("Index", None),
        "model": ("Model", None),
        "uuid": ("Device", None),
        "basis": ("Held as", None),
        "Value #A": ("Share", RATIO),
        "Value #B": ("Held", DEVICE_HOURS),
        "Value #C": ("Energy", WATT_HOURS),
        "Value #D": ("Working", RATIO),
    }
    panel = (
        table.Panel()
        .title("Devices")
        .description("The devices the job holds now. Working: fraction of the held time, by state.")
        .datasource(STORE)
        .span(24)
        .height(8)
        .no_value("holds no device now")
        .with_target(columns(f"sum by (uuid, basis) ({HELD}) * on (uuid) group_left ({labels[6:]}) {info}", "A"))
        .with_target(columns(f"{held} / 3600", "B"))
        .with_target(columns(f"sum by (uuid) (gpuwatch_job_energy_joules_total{JOB}) / 3600", "C"))
        .with_target(columns(f"({worked} or 0 * {held}) / {held}", "D"))
        .transformations(_joined(shown))
    )
    for title, unit in shown.values():
        if unit is not None:
            panel.override_by_name(title, [_property("unit", unit)])
    for title, width in {"Index": 60, "Model": 200, "Device": 310, "Held as": 90}.items():
        panel.override_by_name(title, [_property("custom.width", width)])
    return panel


def _joined(shown: Mapping[str, tuple[str, str | None]]) -> list[dashboard.DataTransformerConfig]:
    steps: Mapping[str, dict[str, Any]] = {
        "joinByField": {"byField": "uuid", "mode": "outer"},
        "filterFieldsByName": {"include": {"names": list(shown)}},
        "organize": {
            "excludeByName": {},
            "indexByName": {column: place for place, column in enumerate(shown)},
            "renameByName": {column: title for column, (title, _) in shown.items()},
        },
    }
    return [dashboard.DataTransformerConfig(id_val=name, options=options) for name, options in steps.items()]


def job_dashboard() -> builder.Dashboard:
    """One job: what it used, where it will end, and what its devices do."""
    store = builder.DatasourceVariable("datasource").label("Data source").type("prometheus")
    job = (
        builder.QueryVariable("job_id")
        .label("Job")
        .datasource(STORE)
        .query("label_values(gpuwatch_job_held_seconds_total, job_id)")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )
    made = (
        builder.Dashboard("gpuwatch: job")
        .uid("gpuwatch-job")
        .description("What one job used, what it will have used when it ends, and what its devices do. For staff.")
        .tags(["gpuwatch"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .with_variable(store)
        .with_variable(job)
    )
    panels: Sequence[Panel] = (*overview(), *progress_graphs(), *device_graphs(), devices_table())
    for place, panel in enumerate(panels, start=1):
        made.with_panel(panel.id(place))
    return made


DASHBOARDS = {"gpuwatch-job.json": job_dashboard}


def render(name: str) -> str:
    """The JSON of the dashboard in file `name`; the same bytes each time."""
    return JSONEncoder(sort_keys=True, indent=2).encode(DASHBOARDS[name]().build()) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / name).write_text(render(name), encoding="utf-8")
