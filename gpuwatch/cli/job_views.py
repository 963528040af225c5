"""A job of the ledger with its forecasts and alerts, as a table row and as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from gpuwatch import hygiene
from gpuwatch.accounting.advice import Advice
from gpuwatch.accounting.amounts import amount, digits, money, split
from gpuwatch.accounting.cases import is_open_ended
from gpuwatch.accounting.forecast_change import changes
from gpuwatch.accounting.forecast_words import current_lines, forecast_lines
from gpuwatch.accounting.forecast_words import percent as probability
from gpuwatch.accounting.forecasts import OPEN_ENDED
from gpuwatch.accounting.views import JobView
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger.alert_store import PastChange
from gpuwatch.ledger.quality import Figure, difference_text, partial_text
from gpuwatch.ledger.queries import Job, used
from gpuwatch.ledger.records import devices_of
from gpuwatch.ledger.scopes import Revision
from gpuwatch.ledger.waste import user_of
from gpuwatch.model import STATES, Expectation, Forecast, Usage

HEAD = ("JOB", "NAME", "STATE", "DEVICE-HOURS", "ENERGY", "DECLARED", "PROGRESS", "PROJECTED", "ALERT")
_HOURS = "device-hours"
_LISTED = 4
_METHODS = {
    "counter": "energy by the device's own counter, about ±5 %",
    "integrated": "energy integrated from power readings, about ±5 %",
    "modelled": "energy by a model of the device, as nothing reads it",
}
_RULES = {
    "generic": "its gres",
    "typed": "the sum of its typed gres",
    "gres": "the indices of its gres",
    "table": "the site's table",
}


def cells(view: JobView) -> tuple[str, ...]:
    """The row of the table, in the order of `HEAD`."""
    job, hours = view.job, view.job.estimates.get(_HOURS)
    energy = used(job, "energy")
    return (
        job.display,
        job.name or "",
        _state(job),
        split(_HOURS, job.device_seconds)[0],
        _at_least(view.quality.energy) + amount("energy", energy) if energy is not None else "",
        split(_HOURS, hours.likely)[0] if hours else _expected(view),
        f"{100 * min(1.0, job.progress.ratio):.0f} %" if job.progress else "",
        _projected(view),
        ", ".join(f"{alert.kind} {alert.quantity}" for alert in view.alerts),
    )


RUNNING_HEAD = ("JOB", "NAME", "USER", "DEVICE-HOURS", "DECLARED", "PROJECTED", "P OVER", "PROGRESS", "ALERT")


def running_cells(view: JobView) -> tuple[str, ...]:
    """The row of a job that runs, in the order of `RUNNING_HEAD`."""
    row = dict(zip(HEAD, cells(view), strict=True))
    over = likeliest(view)
    p_over = "" if over is None or over.p_over is None else probability(over.p_over)
    of = f" {over.quantity}" if over is not None and over.quantity != _HOURS else ""
    own = {"USER": user_of(view.job) or "", "P OVER": f"{p_over}{of}"}
    return tuple(own[name] if name in own else row[name] for name in RUNNING_HEAD)


def likeliest_first(views: Sequence[JobView]) -> list[JobView]:
    """Those that are likeliest to overrun before others, then those that came to most."""
    return sorted(views, key=lambda view: (-_p_over(view), -view.job.device_seconds, view.job.scope.name))


def likeliest(view: JobView) -> Forecast | None:
    """The forecast that is likeliest to be over what it is compared with; None where none is."""
    known = [each for each in view.forecasts.values() if each.p_over is not None]
    return max(known, key=lambda each: each.p_over or 0.0, default=None)


def _p_over(view: JobView) -> float:
    found = likeliest(view)
    return -1.0 if found is None or found.p_over is None else found.p_over


def _projected(view: JobView) -> str:
    forecast = view.forecasts.get(_HOURS)
    if forecast is None or not forecast.quantiles or view.job.state == "ended":
        return ""
    return split(_HOURS, forecast.quantiles[MEDIAN])[0]


def _expected(view: JobView) -> str:
    """What is expected of a job that declares nothing, so that nobody takes it for declared."""
    if view.expectation is None:
        return ""
    low, high = (view.expectation.quantiles.get(q) for q in (0.1, 0.9))
    if low is None:
        return ""
    return f"({split(_HOURS, low)[0]} to {split(_HOURS, high)[0] if high is not None else '…'} expected)"


def _state(job: Job) -> str:
    """How it is, by the batch system's word for how it ended, where it has one."""
    if job.state == "ended" and job.record is not None and job.record.facts.ended is not None:
        ended = job.record.facts.state.lower().replace("_", " ")
        return f"{ended} ({job.exit_code})" if job.exit_code else ended
    return f"failed ({job.exit_code})" if job.state == "ended" and job.exit_code else job.state


def detail_lines(
    view: JobView, history: Sequence[PastChange], others: Sequence[str], now: float, advice: Sequence[Advice] = ()
) -> Iterator[str]:
    """The job as text, line by line."""
    yield f"job {view.job.scope.name}" + (f"  {view.job.name}" if view.job.name else "")
    if others:
        yield f"  of the same name: {', '.join(others[:10])}{', …' if len(others) > 10 else ''}"
    for title, lines in (
        ("", _identity(view.job)),
        ("allocated", _allocated(view.job)),
        ("held", _held(view)),
        ("at work", _at_work(view.job.usage)),
        ("energy", _energy(view)),
        ("host", _host(view)),
        ("measured", _measured(view)),
        ("cost", _cost(view)),
        ("progress", _progress(view.job, now)),
        ("projected", _forecast(view, now)),
        ("declared", _declared(view)),
        ("alerts", _alerts(view, history)),
        ("advice", (each.text for each in advice)),
    ):
        for number, line in enumerate(lines):
            yield f"  {title if number == 0 else '':10} {hygiene.log(line)}".rstrip()


def _identity(job: Job) -> Iterator[str]:
    yield f"{_state(job)}, {moment(job.started)} to {moment(job.last_seen)} ({amount('wall', job.wall_seconds)})"
    seen = f": {_count(len(job.devices), 'device')} {', '.join(job.models)}".rstrip() if job.devices else ""
    if job.nodes:
        yield f"on {', '.join(job.nodes)}{seen}"
    if job.record is not None:
        facts = job.record.facts
        known = (("user", facts.user), ("account", facts.account), ("partition", facts.partition))
        yield ", ".join(f"{name} {value}" for name, value in known if value)
    if job.campaign:
        yield f"campaign {job.campaign}"
    if job.uid is not None:
        yield f"user id {job.uid}"


def _allocated(job: Job) -> Iterator[str]:
    """What the batch system says it gave, attempt by attempt."""
    if job.record is None:
        yield "no batch system says"
        return
    facts, count = job.record.facts, devices_of(job.record)
    if job.allocated_seconds is None or count is None:
        yield "how many devices is not known"
    else:
        rule = f" by {_RULES.get(facts.rule, facts.rule)}" if facts.rule else ""
        yield f"{amount(_HOURS, job.allocated_seconds)}, {_count(digits(count), 'device')}{rule}"
    if facts.doubt:
        yield f"but {facts.doubt}"
    indices = job.record.live.indices if job.record.live is not None else {}
    if indices and not job.devices:
        yield "indices " + "; ".join(f"{node}: {', '.join(map(str, indices[node]))}" for node in sorted(indices))
    if facts.limit_seconds is not None:
        yield f"time limit {amount('wall', facts.limit_seconds)}: a ceiling, not an estimate"
    if len(job.runs) > 1:
        for number, run in enumerate(job.runs, 1):
            outcome = f", {run.outcome.lower()}" if run.outcome else ""
            spent = amount(_HOURS, run.device_seconds)
            yield f"attempt {number}: {moment(run.started)} to {moment(run.last_seen)}, {spent}{outcome}"


def _held(view: JobView) -> Iterator[str]:
    job, held = view.job, view.job.usage.held_seconds
    if not job.devices:
        yield "no agent saw it hold a device"
        return
    yield amount(_HOURS, held)
    if view.quality.differs:
        yield difference_text(view.quality)
    for state in STATES:
        seconds = job.usage.state_seconds.get(state, 0.0)
        if seconds > 0:
            yield f"{amount(_HOURS, seconds)} {state} ({_share(seconds, held)})"


def _at_work(usage: Usage) -> Iterator[str]:
    """What stands beside the states: clock, tensor activity, throttling, waiting, errors; only what is known."""
    held = usage.held_seconds
    if usage.clock_cycles is not None and usage.clock_seconds:
        yield f"mean clock {usage.clock_cycles / usage.clock_seconds / 1e6:,.0f} MHz"
    if usage.tensor_seconds is not None:
        yield f"tensor units active {_share(usage.tensor_seconds, held)}"
    for reason, seconds in sorted(usage.throttled_seconds.items(), key=str):
        if seconds > 0:
            yield f"clocks held down {_share(seconds, held)} ({reason})"
    if usage.storage_wait_seconds:
        yield f"waited for storage {_share(usage.storage_wait_seconds, held)}"
    errors = {str(kind): count for kind, count in usage.errors.items() if count > 0}
    if errors:
        yield "errors " + ", ".join(f"{kind} {count:,.0f}" for kind, count in sorted(errors.items()))


def _energy(view: JobView) -> Iterator[str]:
    usage, figure = view.job.usage, view.quality.energy
    joules, why = used(view.job, "energy"), partial_text(figure)
    if joules is None:
        yield "not measured" + "".join(f"; {gap.why}" for gap in figure.gaps[:1])
        return
    yield f"{_at_least(figure)}{amount('energy', joules)}" + (f" ({why})" if why else "")
    for method, part in sorted(usage.energy_joules.items(), key=str):
        yield f"{amount('energy', part)} by method {method}"
    if usage.energy_unmeasured_seconds > 0:
        longest = f", {amount('wall', figure.longest_gap)} at most on end" if figure.longest_gap else ""
        unmeasured = _share(usage.energy_unmeasured_seconds, usage.held_seconds)
        yield f"not measured for {unmeasured} of the held time{longest}"


def _host(view: JobView) -> Iterator[str]:
    """The job's part of its nodes' own energy, which is in no energy of devices; nothing where none is known."""
    joules, covered = view.job.usage.host_energy_joules, view.quality.host_coverage
    if joules is None:
        return
    known = "" if covered is None else f", known for {_percent(covered)} of its time on the nodes"
    yield f"{amount('energy', joules)} of processors and memory, by its CPU time and memory{known}"


def _cost(view: JobView) -> Iterator[str]:
    """Money and carbon, by what they were reckoned; nothing where neither is known."""
    cost = view.cost
    if cost.cost:
        yield money(cost.cost)
    elif view.job.device_seconds:
        yield "no price is known; accounting.rates_file can say it"
    if cost.carbon_grams is not None and cost.facility_joules is not None:
        energy = amount("facility-energy", cost.facility_joules)
        yield f"{amount('carbon', cost.carbon_grams)} CO2e, of {energy} with the facility's share"
        yield from view.bases
    if cost.rates:
        yield f"by rates {', '.join(sorted(cost.rates))}"


def _measured(view: JobView) -> Iterator[str]:
    """How far the figures can be trusted: what of the charged time they cover, by what method, what is missing."""
    figures = (("states", view.quality.states), ("energy", view.quality.energy))
    covered = [(name, each.coverage) for name, each in figures if each.coverage is not None]
    if covered:
        yield ", ".join(f"{name} of {_percent(ratio)}" for name, ratio in covered) + " of the charged time"
    methods = {str(method) for method in view.job.usage.energy_joules}
    if methods:
        yield "; ".join(_METHODS[each] for each in ("counter", "integrated", "modelled") if each in methods)
    difference = view.quality.difference
    if difference is not None:
        yield f"held {_percent(1 + difference)} of what was allocated"
    gaps = dict.fromkeys(gap.why for _, each in figures for gap in each.gaps)
    if gaps:
        yield "missing: " + "; ".join(list(gaps)[:_LISTED])


def _percent(ratio: float) -> str:
    """Whole per cent; what is not the whole never reads as 100."""
    shown = round(100 * ratio)
    return f"{100 * ratio:.1f} %" if shown == 100 and ratio != 1 else f"{shown} %"


def _at_least(figure: Figure) -> str:
    return "≥ " if figure.partial else ""


def _progress(job: Job, now: float) -> Iterator[str]:
    progress = job.progress
    if progress is None:
        yield "none reported"
        return
    ago = amount("wall", max(0.0, now - progress.time))
    ratio = _share(min(progress.step, progress.total), progress.total)
    yield f"{digits(progress.step)} of {digits(progress.total)} steps ({ratio}), reported {ago} ago"
    if progress.start_step > 0:
        yield f"began at step {digits(progress.start_step)}"
    if progress.other_totals:
        yield f"the total was {' and '.join(map(digits, progress.other_totals))} before"
    if progress.gone_back > 0:
        yield f"went back {digits(progress.gone_back)} steps: that work was lost"


def _forecast(view: JobView, now: float) -> Iterator[str]:
    """What it came to, or will come to; what has no end that is known of beforehand is not waited for."""
    if view.job.state == "ended":
        yield from forecast_lines(view.forecasts.values())
    elif not view.forecasts and is_open_ended(view.job, ()):
        yield OPEN_ENDED
    else:
        yield from current_lines(view.forecasts, now)
        for change in changes(view):
            yield f"{change.now.quantity} before: {change.text}"


def _declared(view: JobView) -> Iterator[str]:
    """What was declared, and what is expected of a job like this one."""
    lines = list(revision_lines(view.job.revisions))
    if view.expectation is not None:
        lines.append(f"{expected_text(view.expectation)}: {view.expectation.basis}")
    yield from lines


def revision_lines(revisions: Sequence[Revision]) -> Iterator[str]:
    """Everything that was declared for a scope: what, when, by whom, through what, and whether it counts."""
    if not revisions:
        yield "nothing"
    for each in revisions:
        estimate = each.estimate
        value = _labelled(estimate.quantity, estimate.likely, estimate.unit)
        if estimate.low != estimate.high:
            low, high = (
                amount(estimate.quantity, bound, estimate.unit) for bound in (estimate.low, estimate.high)
            )
            value += f", from {low} to {high}"
        by = f" by {estimate.declared_by}" if estimate.declared_by else ""
        yield f"{value}, {moment(estimate.declared_at)}{by} via {estimate.channel}{_standing(each)}"


def _standing(revision: Revision) -> str:
    if revision.after_end:
        return " (after the end)"
    words = ["original"] if revision.original else []
    words += [] if revision.in_force else ["no longer in force"]
    return f" ({', '.join(words)})" if words else ""


def _alerts(view: JobView, history: Sequence[PastChange]) -> Iterator[str]:
    if not view.alerts and not history:
        yield "none"
    for alert in view.alerts:
        yield f"since {moment(alert.since)}: {alert.text}"
    for past in reversed(history):
        yield f"{moment(past.time)} {past.change.what} {past.change.alert.kind} {past.change.alert.quantity}"


def expected_text(expectation: Expectation) -> str:
    """The 80 % interval, as `expected 120 to 310 device-hours`, as far as it is known."""
    low, high = expectation.quantiles.get(0.1), expectation.quantiles.get(0.9)
    if low is None:
        return "no longer expected anything: it came to more than all that is known"
    until = f"to {amount(_HOURS, high)}" if high is not None else "device-hours or more"
    return f"expected {split(_HOURS, low)[0]} {until}"


def _labelled(quantity: str, value: float, unit: str = "") -> str:
    return amount(quantity, value) if quantity == _HOURS else f"{amount(quantity, value, unit)} {quantity}"


def moment(time: float) -> str:
    """A time as it is shown, in UTC."""
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{time:.0f}"


def _count(number: int | str, noun: str) -> str:
    return f"{number} {noun}" if number in (1, "1") else f"{number} {noun}s"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole > 0 else "0 %"
