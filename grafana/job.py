"""One job: what it used, where it will end, and what its devices do."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.models import common

from grafana import prometheus as ask
from grafana.blocks import (
    BLUE,
    COUNT,
    DEVICE_HOURS,
    GRAMS,
    GREEN,
    GREY,
    ORANGE,
    RATIO,
    RED,
    SINCE,
    STATES,
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
    said,
    setting,
    shades,
    stacked,
    steps,
)
from grafana.job_devices import (
    DEVICE,
    INFO,
    JOB,
    device_graphs,
    devices,
    of_job,
    power,
    throttled,
)
from grafana.prometheus import lines

SCOPE = 'scope_kind="job",scope="$job_id"'
USED = f"sum(gpuwatch_job_held_seconds_total{{{JOB}}}) / 3600"
DECLARED = f'max(gpuwatch_declared{{{SCOPE},quantity="device-hours"}}) / 3600'
ALERTS = f"max by (kind, quantity, severity) (gpuwatch_alert_active{{{SCOPE}}})"
UNDECLARED = "the job declared nothing"
# The fan, from the edge inwards, and what its lines are called.
FAN = {"0.05": "5 %", "0.95": "95 %", "0.25": "25 %", "0.75": "75 %", "0.5": "projected"}


def _quantile(q: str, quantity: str = "device-hours") -> str:
    return f'max(gpuwatch_forecast_quantile{{{SCOPE},quantity="{quantity}",q="{q}"}})'


def _ledger(name: str, by: str = "scope") -> str:
    return f"max by ({by}) (gpuwatch_ledger_{name}_total{{{SCOPE}}})"


def _at_a_glance() -> Sequence[stat.Panel]:
    return (
        number(
            "Held so far",
            "Device-hours the job has held, idle or not: what it is charged for.",
            DEVICE_HOURS,
            lines(("", USED)),
            "not seen by any agent",
        ).decimals(2),
        number(
            "Energy so far",
            "Energy of the job's share of its devices, without the hosts. Good for about ±5 %.",
            WATT_HOURS,
            lines(("", f"sum(gpuwatch_job_energy_joules_total{{{JOB}}}) / 3600")),
            "not measured",
        ),
        number(
            "Cost so far",
            "Device-hours times the price of the model and the date, in the currency that the site configured.",
            COUNT,
            lines(("{{currency}}", _ledger("cost", "currency"))),
            "no price is configured",
        )
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
        .decimals(2),
        number(
            "CO2e so far",
            "The energy with the facility's overhead (PUE), times the grid's intensity as configured.",
            GRAMS,
            lines(("", _ledger("carbon_grams"))),
            "not measured",
        ),
    )


def _besides() -> Sequence[stat.Panel]:
    return (
        number(
            "Progress",
            "How far the job says it is. Without it the projection knows past jobs and the time limit alone.",
            RATIO,
            lines(("", f"max(gpuwatch_job_progress_ratio{{{JOB}}})")),
            "not reported",
        ),
        number(
            "Projected",
            "The median projection of device-hours by what was declared. Above 100 % it ends over its estimate; "
            "the site's tolerance, 10 % by default, comes on top.",
            RATIO,
            lines(("", f"{_quantile('0.5')} / 3600 / ({DECLARED})")),
            UNDECLARED,
        ).thresholds(steps(GREEN, (1.0, YELLOW), (1.1, RED))),
        number(
            "Alerts",
            "What accounting holds true of the job now, of every kind.",
            COUNT,
            lines(("", f"count({ALERTS}) or 0 * max(gpuwatch_ledger_held_device_seconds_total{{{SCOPE}}})")),
            "not in the ledger",
        ).thresholds(steps(GREEN, (1, RED))),
        number(
            "Time limit",
            "Probability that the time limit ends the job before it is done. Only where the batch system says a "
            "limit and the job its progress.",
            RATIO,
            lines(("", f"max(gpuwatch_forecast_limit_probability{{{SCOPE}}})")),
            "no limit known",
        ).thresholds(steps(GREEN, (0.5, YELLOW), (0.8, RED))),
    )


def numbers() -> Sequence[stat.Panel]:
    """What a reader wants to know first, in one row."""
    return (*_at_a_glance(), *_besides())


def fan(panel: timeseries.Panel) -> timeseries.Panel:
    """The quantiles as areas around their middle, the declaration as a dashed line."""
    dashes = setting("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
    unnamed = setting("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False})
    orange = setting("color", {"mode": "fixed", "fixedColor": ORANGE})
    for low, high, opacity in (("5 %", "95 %", 12), ("25 %", "75 %", 25)):
        edge = [orange, setting("custom.lineWidth", 0), setting("custom.fillOpacity", 0), unnamed]
        panel.override_by_name(low, edge)
        filled = [setting("custom.fillBelowTo", low), setting("custom.fillOpacity", opacity)]
        panel.override_by_name(high, [orange, setting("custom.lineWidth", 0), unnamed, *filled])
    for name, colour in (("declared", GREY), ("projected", ORANGE)):
        line = [dashes, setting("custom.fillOpacity", 0), setting("custom.lineWidth", 2)]
        panel.override_by_name(name, [*line, setting("color", {"mode": "fixed", "fixedColor": colour})])
    return coloured(panel, {"held": BLUE, "used": BLUE})


def _hours() -> timeseries.Panel:
    return graph(
        "Burn-up",
        "Device-hours held so far, what was declared, and where the job is projected to end: the dashed line is "
        "the median, half of such jobs end in the darker area and nine of ten in the whole one. How well that "
        "holds here is on the page of estimates.",
        COUNT,
        lines(
            *((name, f"{_quantile(q)} / 3600") for q, name in FAN.items()), ("held", USED), ("declared", DECLARED)
        ),
    ).axis_label("device-hours")


def _energy() -> timeseries.Panel:
    return graph(
        "Energy",
        "The same for energy: the job's share of its devices' energy, what was declared, and where it will end.",
        WATT_HOURS,
        lines(
            *((name, f"{_quantile(q, 'energy')} / 3600") for q, name in FAN.items()),
            ("used", f"sum(gpuwatch_job_energy_joules_total{{{JOB}}}) / 3600"),
            ("declared", f'max(gpuwatch_declared{{{SCOPE},quantity="energy"}}) / 3600'),
        ),
    )


def _beside() -> Sequence[stat.Panel]:
    over = f'max(gpuwatch_forecast_over_probability{{{SCOPE},quantity="device-hours"}})'
    crossing = f'max(gpuwatch_forecast_crossing_timestamp_seconds{{{SCOPE},quantity="device-hours"}}) * 1000'
    return (
        number(
            "Probability of an overrun",
            "That it comes to more device-hours than declared and the tolerance above that.",
            RATIO,
            lines(("", over)),
            UNDECLARED,
        ).thresholds(steps(GREEN, (0.5, YELLOW), (0.8, RED))),
        number(
            "Uses up its declaration",
            "When the device-hours that were declared are used, or were. Absent where it most likely never "
            "comes to that.",
            SINCE,
            lines(("", crossing)),
            "most likely never",
        ),
        number(
            "Whole run",
            "Projected length of the whole run: median.",
            "s",
            lines(("", _quantile("0.5", "wall"))),
            "not projected",
        ),
    )


def burn_ups() -> Band:
    """Where the job will end."""
    return band(12, at(11, fan(_hours())), at(9, fan(_energy())), at(4, *_beside()))


def doing() -> Sequence[Band]:
    """What became of the time it holds."""
    states = graph(
        "What its devices do",
        "Devices by state. Working: activity and power above idle. Spinning: reported busy at idle power, as a "
        "hung collective is. Idle: held and unused. Unknown: not measured. Together they are what is held.",
        COUNT,
        lines(*((state, ask.in_state(f'{JOB},state="{state}"')) for state in ask.STATE_CODES)),
    )
    words = {code: (state, STATES[state]) for state, code in ask.STATE_CODES.items()}
    each = history(
        "State of each device",
        "What each of the job's devices did for more than half of the time; changing where nothing was. One row "
        "that differs from the others is a device to look at.",
        lines((DEVICE, ask.named(ask.state_of_each(JOB), INFO))),
    ).mappings(said({**words, 0: ("changing", YELLOW)}))
    use = history(
        "Utilization of each device",
        "Part of the time in which a kernel ran. A hung job can show 100 %: compare with the states.",
        lines((DEVICE, of_job("gpuwatch_device_utilization_ratio"))),
    )
    done = graph(
        "Progress over time",
        "How far the job says it is. A line that goes flat while devices are held is a job to look at.",
        RATIO,
        lines(("done", f"max(gpuwatch_job_progress_ratio{{{JOB}}})")),
        "the job reports no progress",
    ).max(1)
    return (
        even(8, coloured(stacked(states, "devices", 1), STATES), each, shades(use), heading="What its devices do"),
        even(8, coloured(done, {"done": BLUE}), power(), throttled()),
    )


def job() -> Page:
    """One job, chosen among those that any agent exports: what runs, and what ended in the last 15 minutes."""
    alerts = ask.Annotation("Alerts", f"{ALERTS} == 1", "{{kind}}: {{quantity}}", "{{severity}}", RED)
    return Page(
        "gpuwatch-job",
        "gpuwatch: job",
        "What one job used, what it will have used when it ends, and what its devices do. For staff.",
        ask.KIND,
        [choice(ask.KIND, "job_id", "Job", "label_values(gpuwatch_job_held_seconds_total, job_id)")],
        (
            even(4, *numbers()),
            burn_ups(),
            *doing(),
            *device_graphs(),
            even(6, devices()),
        ),
        [alerts],
    )
