"""Estimates: what was declared against what is used and projected, and how right projections and alerts were."""

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
    ORANGE,
    RATIO,
    RED,
    SINCE,
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
    listing,
    number,
    said,
    setting,
    steps,
)
from grafana.prometheus import ACCOUNTING, SCOPE, lines

CHOSEN = f'{ACCOUNTING},scope_kind=~"$scope_kind"'
OF = f"{SCOPE}, quantity"
NOTHING = "nobody has declared anything for what runs now"
STAGES = {"submit": ("nothing", ""), **{f"{part:g}": (f"{part:.0%}", "") for part in (0.1, 0.25, 0.5, 0.75)}}
NO_RECORD = "too few forecasts are over"
NO_ACCOUNTING = f"0 * max(gpuwatch_accounting_leading{{{ACCOUNTING}}})"
HOURS = 'quantity="device-hours"'
THRESHOLD = f"max(gpuwatch_forecast_alert_threshold{{{ACCOUNTING}}})"


def _of(metric: str, where: str = "", by: str = SCOPE) -> str:
    return f"max by ({by}) ({metric}{{{CHOSEN}{',' if where else ''}{where}}})"


DECLARED = _of("gpuwatch_declared", HOURS)
OVER = _of("gpuwatch_forecast_over_probability", HOURS)
MEDIAN = _of("gpuwatch_forecast_quantile", f'{HOURS},q="0.5"')
HELD = _of("gpuwatch_ledger_held_device_seconds_total")


def _at_a_glance() -> Sequence[stat.Panel]:
    jobs = f'max by (scope) (gpuwatch_ledger_held_device_seconds_total{{{ACCOUNTING},scope_kind="job"}})'
    said = f'max by (scope) (gpuwatch_declared{{{ACCOUNTING},scope_kind="job"}})'
    return (
        number(
            "Declared",
            "Jobs, arrays, campaigns and accounts that are current and have a declaration of any quantity.",
            COUNT,
            lines(("", f"count({_of('gpuwatch_declared')}) or {NO_ACCOUNTING}")),
            NOTHING,
        ),
        number(
            "Jobs without one",
            "Current jobs that declared nothing. They have no overrun to be told of, only an expectation from "
            "past jobs.",
            COUNT,
            lines(("", f"count({jobs} unless {said}) or {NO_ACCOUNTING}")),
            "no accounting is scraped",
        ).thresholds(steps(BLUE)),
        number(
            "Will exceed",
            "Scopes whose probability of more device-hours than declared is at or above the threshold from "
            "which it is told.",
            COUNT,
            lines(("", f"count({OVER} >= on () group_left () {THRESHOLD}) or {NO_ACCOUNTING}")),
            NOTHING,
        ).thresholds(steps(GREEN, (1, ORANGE))),
    )


def _besides() -> Sequence[stat.Panel]:
    return (
        number(
            "Have exceeded",
            "Scopes that have held more device-hours than was declared for them.",
            COUNT,
            lines(("", f"count({HELD} > {DECLARED}) or {NO_ACCOUNTING}")),
            NOTHING,
        ).thresholds(steps(GREEN, (1, RED))),
        number(
            "Forecasts that are over",
            "Forecasts whose jobs have ended, the latest of them: the record below is made of these.",
            COUNT,
            lines(("", f"sum(gpuwatch_forecast_finished{{{ACCOUNTING}}})")),
            "no pass yet",
        ),
        number(
            "Told from",
            "Probability from which an overrun is told: 0.8 until enough forecasts are over, then the lowest at "
            "which 85 % of such alerts were right here.",
            RATIO,
            lines(("", THRESHOLD)),
            "no pass yet",
        ),
    )


def numbers() -> Sequence[stat.Panel]:
    """The state of all estimates in one row."""
    return (*_at_a_glance(), *_besides())


def hours() -> table.Panel:
    """Device-hours of every scope that has a declaration or a projection."""
    known = f"({DECLARED} or {MEDIAN})"

    def in_hours(expression: str) -> str:
        return f"({expression}) / 3600"

    quantiles = (_of("gpuwatch_forecast_quantile", f'{HOURS},q="{q}"') for q in ("0.05", "0.5", "0.95"))
    crossing = _of("gpuwatch_forecast_crossing_timestamp_seconds", HOURS)
    return listing(
        "Device-hours",
        "Declared, used so far, and where it will end: the median, and the values that 5 % and 95 % of such "
        "runs stay below. Declared used up: when that is or was; empty where it most likely never is. Held "
        "device-hours, where no batch system says what it allocated.",
        ask.columns(
            in_hours(DECLARED),
            in_hours(f"{HELD} and on ({SCOPE}) {known}"),
            *(in_hours(each) for each in quantiles),
            f"{MEDIAN} / {DECLARED}",
            OVER,
            f"({crossing}) * 1000",
        ),
        {
            "scope_kind": Column("Of", width=100),
            "scope": Column("Which", link=ask.to_job()),
            "Value #A": Column("Declared", COUNT, 110),
            "Value #B": Column("Used", COUNT, 100),
            "Value #C": Column("5 %", COUNT, 100),
            "Value #D": Column("Projected", COUNT, 110),
            "Value #E": Column("95 %", COUNT, 100),
            "Value #F": Column("Of declared", RATIO, 120, more=graded((1.0, YELLOW), (1.1, RED))),
            "Value #G": Column("Exceeds", RATIO, 110, more=graded((0.5, YELLOW), (0.8, RED))),
            "Value #H": Column("Declared used up", SINCE, 180),
        },
        NOTHING,
        sort="Exceeds",
    )


def quantities() -> table.Panel:
    """Energy, cost, carbon, time: each against its declaration."""
    median = _of("gpuwatch_forecast_quantile", 'q="0.5"', OF)
    declared = _of("gpuwatch_declared", "", OF)
    return listing(
        "Every quantity",
        "The median projection by what was declared, for each quantity that has a declaration, and how probable "
        "it is that it comes to more than that and the tolerance.",
        ask.columns(f"{median} / {declared}", _of("gpuwatch_forecast_over_probability", "", OF)),
        {
            "scope": Column("Which", link=ask.to_job()),
            "quantity": Column("Quantity", width=120),
            "Value #A": Column("Of declared", RATIO, 110, more=graded((1.0, YELLOW), (1.1, RED))),
            "Value #B": Column("Exceeds", RATIO, 90, more=graded((0.5, YELLOW), (0.8, RED))),
        },
        NOTHING,
        sort="Exceeds",
    )


def campaigns() -> table.Panel:
    """What campaigns and accounts have come to."""
    wanted = f'{ACCOUNTING},scope_kind!="job"'

    def of(name: str) -> str:
        return f"max by ({SCOPE}) (gpuwatch_ledger_{name}_total{{{wanted}}})"

    return listing(
        "Campaigns and accounts",
        "What belongs together, failed and repeated runs included, since it began: only those with something "
        "current. Energy and CO2e are missing where nothing was measured, money where no price is known.",
        ask.columns(
            f"{of('held_device_seconds')} / 3600", f"{of('energy_joules')} / 3600", of("cost"), of("carbon_grams")
        ),
        {
            "scope_kind": Column("Of", width=100),
            "scope": Column("Which"),
            "Value #A": Column("Held", DEVICE_HOURS, 130, more={"decimals": 2}),
            "Value #B": Column("Energy", WATT_HOURS, 100),
            "Value #C": Column("Cost", COUNT, 80, more={"decimals": 2}),
            "Value #D": Column("CO2e", GRAMS, 90),
        },
        "nothing belongs to a campaign or an account",
        sort="Held",
    )


def courses() -> Band:
    """How the expectation changed."""
    over = graph(
        "Probability of an overrun",
        "Of device-hours, the eight highest at the end of the time range; above the dashed line they are told. "
        "A probability near 0 or 1 from the start is no better than the record below.",
        RATIO,
        lines(("{{scope}}", _highest(OVER)), ("told from", THRESHOLD)),
        NOTHING,
    ).max(1)
    ratio = graph(
        "Projected of declared",
        "The median projection of device-hours by what was declared, the eight highest. It should settle: a "
        "line that goes on rising is a job whose pace falls.",
        RATIO,
        lines(("{{scope}}", _highest(f"{MEDIAN} / {DECLARED}")), ("as declared", f"0 * {THRESHOLD} + 1")),
        NOTHING,
    )
    return even(9, _lined(over, "told from"), _lined(ratio, "as declared"), heading="How expectations changed")


def _highest(expression: str) -> str:
    """The series that are highest at the end of the time range, so that lines do not come and go."""
    at_the_end = expression.replace("})", "} @ end())")
    return f"({expression}) and on ({SCOPE}) topk(8, {at_the_end})"


def _lined(panel: timeseries.Panel, name: str) -> timeseries.Panel:
    dashed = setting("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
    panel.override_by_name(name, [dashed, setting("custom.fillOpacity", 0)])
    return coloured(panel.fill_opacity(0), {name: RED})


def coverage() -> table.Panel:
    """Whether intervals hold what they promise."""

    def at_level(level: str) -> str:
        return f'max by (stage) (gpuwatch_forecast_coverage_ratio{{{ACCOUNTING},level="{level}",weight="jobs"}})'

    return listing(
        "Coverage",
        "Part of the intervals of each level that held what the job came to, by how much of what was declared, "
        "or else expected, was used when the forecast was made. Good is the level itself: less is too sure, "
        "more is too vague.",
        ask.columns(*(at_level(level) for level in ("0.5", "0.8", "0.9"))),
        {
            "stage": Column("Of it was used", more={"mappings": said(STAGES)}),
            "Value #A": Column("50 %", RATIO, 80, more=graded((0.4, GREEN), base=ORANGE)),
            "Value #B": Column("80 %", RATIO, 80, more=graded((0.7, GREEN), base=ORANGE)),
            "Value #C": Column("90 %", RATIO, 80, more=graded((0.8, GREEN), base=ORANGE)),
        },
        NO_RECORD,
        by="stage",
    )


def thresholds() -> table.Panel:
    """What alerts would have been worth at other thresholds."""
    asked = {
        "precision": Column("Right", RATIO, 85),
        "recall": Column("Found", RATIO, 85),
        "early": Column("In time", RATIO, 85),
        "per_job": Column("Per job", COUNT, 85, more={"decimals": 2}),
    }
    found = (f"max by (threshold) (gpuwatch_forecast_alert_{name}_ratio{{{ACCOUNTING}}})" for name in asked)
    return listing(
        "Overruns, if told from …",
        "Right: part of those told that were overruns. Found: part of the overruns that were told of. In time: "
        "part of the right ones told before the declaration was used up. Per job: how many are told.",
        ask.columns(*found),
        {
            "threshold": Column("Told from", width=85),
            **{f"Value #{ref}": column for ref, column in zip("ABCD", asked.values(), strict=True)},
        },
        NO_RECORD,
        by="threshold",
    )


def kinds() -> table.Panel:
    """How often each kind of alert was right."""
    return listing(
        "Alerts of 90 days, by kind",
        "How often a kind was right, of those of which that is known. Below about 20 it says little. Facts, as "
        "exceeded, are not judged.",
        ask.columns(
            f"max by (kind) (gpuwatch_alert_judged{{{ACCOUNTING}}})",
            f"max by (kind) (gpuwatch_alert_right_ratio{{{ACCOUNTING}}})",
        ),
        {
            "kind": Column("Kind"),
            "Value #A": Column("Judged", COUNT, 90),
            "Value #B": Column("Right", RATIO, 90, more=graded((0.5, YELLOW), (0.85, GREEN), base=RED)),
        },
        "not known",
        by="kind",
        sort="Judged",
    )


def letters() -> Sequence[stat.Panel]:
    """What people make of alerts."""
    weekly = f'max(gpuwatch_alert_letters_per_person_week{{{ACCOUNTING},statistic="max"}})'
    return (
        number(
            "Muted",
            "Part of the alerts of 90 days that somebody muted: much of it says that they are a nuisance.",
            RATIO,
            lines(("", f"max(gpuwatch_alert_muted_ratio{{{ACCOUNTING}}})")),
            "no alert yet",
        ),
        number(
            "Acted upon",
            "Part of the alerts told in 90 days upon which somebody cancelled, declared anew or acknowledged.",
            RATIO,
            lines(("", f"max(gpuwatch_alert_acted_ratio{{{ACCOUNTING}}})")),
            "no alert yet",
        ),
        number(
            "Most letters",
            "The most letters that one person got in the last 7 days.",
            COUNT,
            lines(("", weekly)),
            "no letters are sent",
        ),
    )


def estimates() -> Page:
    """All that is declared and projected, by scope; and the record of both."""
    kinds_of_scopes = choice(
        ask.KIND, "scope_kind", "Scopes", "label_values(gpuwatch_declared, scope_kind)", several=True
    )
    return Page(
        "gpuwatch-estimates",
        "gpuwatch: estimates",
        "What was declared against what is used and projected, and how right projections and alerts were here. "
        "For staff.",
        ask.KIND,
        [ask.accounting_variable(), kinds_of_scopes],
        (
            even(4, *numbers()),
            even(10, hours()),
            courses(),
            even(8, quantities(), campaigns()),
            band(
                9, at(7, coverage()), at(8, thresholds()), at(6, kinds()), at(3, *letters()), heading="The record"
            ),
        ),
    )
