"""What ran: how runs ended, by tag, on which devices, and what became of their device-hours. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from gpuwatch.ledger.quality import difference_text
from gpuwatch.reports import words
from gpuwatch.reports.blocks import Fact, Facts, Plot, Section, Sentences, Table
from gpuwatch.reports.statement import Group, ModelRow, RunRow, Statement

LISTED = 1000
"""So many jobs are listed by themselves, those that took the most; the others are one line."""


def sections(made: Statement) -> Iterator[Section]:
    """Device-hours, runs, tags, devices and FLOP."""
    yield _hours(made)
    yield _runs(made)
    yield _tags(made)
    yield _devices(made)
    yield _computed(made)


def _hours(made: Statement) -> Section:
    parts, total = made.parts, made.total.device_seconds
    rows = tuple(
        (name, what, words.hours(seconds), words.percent(seconds / total if total > 0 else None))
        for name, what, seconds in (
            ("working", "seen at work", parts.working),
            ("spinning", "reported busy at idle power", parts.spinning),
            ("idle", "held, measured, and not used", parts.idle),
            ("lost", "work of runs that failed or were started again", parts.lost),
            ("unknown", "not measured", parts.unknown),
            ("total", "charged: allocated, else held", total),
        )
    )
    allocated = words.UNKNOWN if made.allocated_seconds is None else f"{words.hours(made.allocated_seconds)} h"
    facts = (
        Fact("device-hours", f"{words.hours(total)} h", _exactness(made)),
        Fact("allocated", allocated, "by the batch system's word"),
        Fact("held", f"{words.hours(made.held_seconds)} h", _held(made)),
        Fact("wall time", words.known("wall", made.wall_seconds), "from the first begin to the last end"),
        Fact("of it anything ran", words.known("wall", made.run_wall_seconds), _QUEUED),
        Fact("devices at once", words.known("", made.devices_at_once), "the most, by even rates"),
    )
    return Section(
        "hours", "Device-hours",
        (
            Facts(facts),
            Plot("burn-up", "Device-hours used over time, with what was declared and what was forecast."),
            Plot("days", "Device-hours by day, and how the runs ended."),
            Plot("states", "Where the device-hours went."),
            Table(("where they went", "", "device-hours", "share"), rows, 2, total=True),
        ),
    )  # fmt: skip


_QUEUED = "time in a queue is in no device-hours"


def _exactness(made: Statement) -> str:
    if made.unknown_devices:
        return f"at least: the devices of {words.count(made.unknown_devices, 'job')} are not known"
    return "counted, failed and debugging runs included; to the second"


def _held(made: Statement) -> str:
    quality = made.quality
    if quality is None or not made.asked.whole:
        return "as agents on the nodes saw it"
    return difference_text(quality) or "as agents on the nodes saw it"


def _runs(made: Statement) -> Section:
    rows = [_group_row(each) for each in (*made.outcomes, made.total)]
    rows[-1] = (rows[-1][0], f"{sum(each.count for each in made.outcomes):,}", *rows[-1][2:])
    blocks: list[Table | Sentences] = [Table(("how runs ended", "runs", *_HEAD), tuple(rows), 1, total=True)]
    blocks.append(Sentences((_debugging(made.debugging),)))
    if len(made.attempts) > 1:
        blocks.append(_attempts(made) if len(made.runs) == 1 else _listed(made))
    return Section("runs", "Runs", tuple(blocks))


def _debugging(group: Group) -> str:
    if not group.count:
        return "No job was only debugging, by name, partition, QOS or the tag run:debug."
    jobs = f"{words.count(group.count, 'job')} with {words.hours(group.device_seconds)} device-hours"
    share = words.percent(group.share)
    return f"Of these {jobs} ({share}) only tried something, by name, partition, QOS or the tag run:debug."


_HEAD = ("device-hours", "share", "energy of devices", "CO2e", "cost")


def _group_row(group: Group) -> tuple[str, ...]:
    return (
        group.name, f"{group.count:,}", words.hours(group.device_seconds), words.percent(group.share),
        words.cell("energy", group.device_energy.value), words.cell("carbon", group.carbon.value),
        words.cost(group.cost),
    )  # fmt: skip


def _attempts(made: Statement) -> Table:
    """Every run of one job."""
    rows = tuple(
        (
            words.moment(run.begins, made.zone), words.moment(run.ends, made.zone), run.outcome,
            words.hours(run.device_seconds), words.cell("energy", run.energy_joules),
            words.cell("carbon", run.carbon_grams), words.cost(run.cost),
        )
        for run in made.attempts
    )  # fmt: skip
    head = ("began", "ended", "outcome", "device-hours", "energy", "CO2e", "cost")
    return Table(head, rows, 3, caption=f"all {words.count(len(rows), 'run')}", folded=len(rows) > _FEW)


_FEW = 12


def _listed(made: Statement) -> Table:
    most = sorted(made.runs, key=lambda row: (-row.device_seconds, row.begins, row.job))[:LISTED]
    chosen = {id(row) for row in most}
    rows = [_run_row(row, made) for row in made.runs if id(row) in chosen]
    rest = [row for row in made.runs if id(row) not in chosen]
    if rest:
        seconds = sum(row.device_seconds for row in rest)
        rows.append((f"{len(rest):,} others", "", "", "", "", "", words.hours(seconds), "", "", ""))
    head = ("job", "name", "began", "ended", "outcome", "devices", "device-hours", "energy", "CO2e", "cost")
    return Table(head, tuple(rows), 5, caption=f"all {words.count(len(made.runs), 'job')}", folded=True)


def _run_row(row: RunRow, made: Statement) -> tuple[str, ...]:
    outcome = (
        row.outcome + (f", {row.runs} runs" if row.runs > 1 else "") + (", debugging" if row.debugging else "")
    )
    return (
        row.job, row.name, words.moment(row.begins, made.zone), words.moment(row.ends, made.zone), outcome,
        "" if row.devices is None else words.known("", row.devices), words.hours(row.device_seconds),
        words.cell("energy", row.energy_joules), words.cell("carbon", row.carbon_grams), words.cost(row.cost),
    )  # fmt: skip


def _tags(made: Statement) -> Section:
    """What each row of the paper's table cost."""
    if not made.tags:
        return Section("tags", "", ())
    rows = tuple(
        (
            each.name, f"{each.count:,}", words.hours(each.device_seconds), words.percent(each.share),
            words.bounded("energy", each.device_energy) if each.device_energy.known else "",
            words.bounded("carbon", each.carbon) if each.carbon.known else "", words.cost(each.cost),
        )
        for each in (*made.tags, made.total)
    )  # fmt: skip
    return Section("tags", f"By {made.asked.tag}", (Table(("row", "jobs", *_HEAD), rows, 1, total=True),))


def _devices(made: Statement) -> Section:
    rows = tuple(map(_model_row, made.models))
    head = ("model", "devices seen", "device-hours", "board power", "dense peak", "mean power", "energy measured")
    sources = tuple(f"{name}: {source}." for name, source in _sources(made))
    nodes = f"On {words.count(made.nodes, 'node')}. " if made.nodes else ""
    text = f"{nodes}Board power and peak are the maker's; the limit that was enforced is not kept."
    return Section("devices", "Devices", (Table(head, rows, 1), Sentences((text, *sources))))


def _model_row(model: ModelRow) -> tuple[str, ...]:
    peak = "" if model.peak_flops is None else f"{model.peak_flops / 1e12:,.4g} TFLOP/s {model.peak_precision}"
    board = "" if model.board_watts is None else f"{model.board_watts:,.4g} W"
    return (
        model.name or words.UNKNOWN, "" if model.devices is None else f"{model.devices:,}",
        words.hours(model.device_seconds), board, peak,
        _mean(model.energy_joules, model.covered_seconds),
        words.percent(_ratio(model.covered_seconds, model.device_seconds)),
    )  # fmt: skip


def _sources(made: Statement) -> Iterator[tuple[str, str]]:
    known = sorted((model.source, model.name) for model in made.models if model.source)
    for source, those in groupby(known, key=lambda each: each[0]):
        yield ", ".join(name for _, name in those), source


def _mean(joules: float, seconds: float) -> str:
    return f"{joules / seconds:,.0f} W" if seconds > 0 and joules > 0 else ""


def _ratio(part: float, whole: float) -> float | None:
    return min(1.0, part / whole) if whole > 0 else None


def _computed(made: Statement) -> Section:
    computed = made.computed
    if computed.flop is None:
        return Section("flop", "", ())
    left, jobs = "", f" ({words.count(computed.jobs, 'run')})" if computed.jobs else ""
    if computed.left_out:
        left = f"; {words.count(computed.left_out, 'tagged run')} left out, as nobody knows what was done of them"
    facts = [Fact("FLOP", words.scientific(computed.flop), f"{computed.basis}{jobs}{left}; a lower bound")]
    for name, value in (("parameters", computed.parameters), ("tokens", computed.tokens)):
        if value is not None:
            facts.append(Fact(name, words.si(value), "as tagged"))
    if computed.utilization is not None:
        precision = "the precision is assumed" if computed.assumed else "precision as tagged"
        note = f"FLOP / (all device-hours × peak), failed runs included; peak {computed.peak}; {precision}"
        facts.append(Fact("utilization of the run", f"{computed.utilization:.3f}", note))
    return Section("flop", "Computation", (Facts(tuple(facts)),))
