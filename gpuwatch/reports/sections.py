"""The sections of a compute statement, in their order, as text that any format can show. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Forecast
from gpuwatch.reports import sections_energy, sections_runs, words
from gpuwatch.reports.blocks import Block, Fact, Facts, Section, Sentences, Table
from gpuwatch.reports.checks import Check, Linted, shown
from gpuwatch.reports.statement import Declared, Statement


def sections_of(made: Statement) -> tuple[Section, ...]:
    """All that there is something to say in."""
    return tuple(each for each in _sections(made) if each.blocks)


def _sections(made: Statement) -> Iterator[Section]:
    yield _about(made)
    yield _declared(made)
    if not made.empty:
        yield from sections_runs.sections(made)
        yield from sections_energy.sections(made)
        yield _savings(made)
        yield _forecasts(made)
        yield _lint(made)
    yield _unknown(made)
    yield _provenance(made)


def _about(made: Statement) -> Section:
    facts = [
        Fact("statement of", made.title),
        Fact("purpose", made.purpose or words.UNKNOWN),
        Fact("author", made.author or words.UNKNOWN),
        Fact("licence", made.asked.licence or words.UNKNOWN),
        Fact("period", f"{_period(made)} ({made.zone})"),
    ]
    if made.empty:
        nothing = Sentences(("Nothing ran in that time, as far as the ledger knows.",))
        return Section("about", "About", (Facts(tuple(facts)), nothing))
    ran = f"{words.count(len(made.runs), 'job')}, {words.count(_runs(made), 'run')}"
    facts.append(Fact("jobs and runs", ran, _people(made)))
    if made.goes_on:
        facts.append(Fact("state", "goes on", "figures are those of the day on which this was made"))
    return Section("about", "About", (Facts(tuple(facts)),))


def _runs(made: Statement) -> int:
    return sum(group.count for group in made.outcomes)


def _people(made: Statement) -> str:
    if made.users < 2:
        return ""
    return f"of {made.users:,} people, who are not named here"


def _period(made: Statement) -> str:
    zone, ran = made.zone, ""
    if made.begins is not None:
        ran = f"{words.moment(made.begins, zone)} to {words.moment(made.ends, zone)}"
    if made.asked.whole:
        return ran or words.UNKNOWN
    first = words.moment(made.asked.begins, zone) if made.asked.begins > 0 else "the first job"
    last = words.moment(min(made.asked.ends, made.made), zone)
    return f"{first} to {last}" + (f"; jobs ran {ran}" if ran else "")


def _declared(made: Statement) -> Section:
    """Every revision, the newest first, and what it came to."""
    rows = tuple(_revision(each, revision, made) for each in made.declared for revision in each.revisions)
    head = ("quantity", "declared", "by", "", "likely", "range", "came to", "of declared")
    return Section("declared", "Declared and used", (Table(head, rows, 4),) if rows else ())


def _revision(each: Declared, revision: Revision, made: Statement) -> tuple[str, ...]:
    estimate = revision.estimate
    marks = [
        mark
        for mark, holds in (
            ("in force", revision.in_force),
            ("original", revision.original),
            ("after its end", revision.after_end),
        )
        if holds
    ]
    ratio = each.ratio if revision.in_force else each.original_ratio if revision.original else None
    low, likely, high = (_amount(each, value) for value in (estimate.low, estimate.likely, estimate.high))
    return (
        each.quantity, words.moment(estimate.declared_at, made.zone), estimate.basis or "", ", ".join(marks),
        likely, f"{low} to {high}" if estimate.low != estimate.high else "",
        "" if each.final is None else _amount(each, each.final), words.factor(ratio),
    )  # fmt: skip


def _amount(each: Declared, value: float) -> str:
    return (
        f"{words.hours(value)} h" if each.quantity == words.HOURS else words.known(each.quantity, value, each.unit)
    )


def _savings(made: Statement) -> Section:
    """Upper bounds of what was measured as lost; nothing of what was not measured."""
    parts, blocks = made.parts, list[Block]()
    rows = tuple(
        (name, note, words.hours(seconds), words.percent(seconds / parts.total))
        for name, seconds, note in (
            ("idle", parts.idle, "held, measured, and not at work"),
            ("spinning", parts.spinning, "reported busy at idle power: a hung collective looks so"),
            ("lost", parts.lost, _lost(made)),
        )
        if seconds > 0
    )
    if rows:
        blocks.append(Table(("part", "what it is", "device-hours at most", "of all"), rows, 2))
    if rows and made.wasted_cost:
        cost = words.cost(made.wasted_cost)
        blocks.append(Sentences((f"Together they cost {cost} at most, at the mean price of each job.",)))
    texts = tuple(_advised(made))
    if texts:
        blocks.append(Sentences(texts, listed=True))
    return Section("savings", "What could have been saved, at most", tuple(blocks))


_ADVICE = 10


def _advised(made: Statement) -> Iterator[str]:
    """All that is said of one job; of many what could have been saved, the most first."""
    if len(made.runs) == 1:
        yield from (each.text for _, each in made.advice)
        return
    priced = [(each.device_seconds, job, each.text) for job, each in made.advice if each.device_seconds]
    for _, job, text in sorted(priced, key=lambda each: (-each[0], each[1]))[:_ADVICE]:
        yield f"{job}: {text}"


def _lost(made: Statement) -> str:
    text = "work of runs that failed or were started again, since it was last known to be kept"
    if made.parts.bounded > 0:
        text += f"; of it {words.hours(made.parts.bounded)} without a report of progress, counted whole"
    return text


def _forecasts(made: Statement) -> Section:
    """How right forecasts were here, and what is forecast where it goes on."""
    record, blocks = made.record, list[Block]()
    blocks.append(Sentences((f"Forecasts of device-hours: {record.words}.",)))
    if record.coverage:
        held = tuple((_STAGES.get(stage, stage), words.percent(each)) for stage, each in record.coverage.items())
        blocks.append(Table(("forecast made", "80 % intervals that held"), held))
    rows = tuple(
        (quantity, *(_forecast(quantity, each, value) for value in (each.used, each.quantiles[0.5])),
         f"{_forecast(quantity, each, each.quantiles[0.1])} to {_forecast(quantity, each, each.quantiles[0.9])}")
        for quantity, each in sorted(made.forecasts.items())
        if {0.1, 0.5, 0.9} <= each.quantiles.keys()
    )  # fmt: skip
    if rows and made.goes_on:
        blocks.append(Table(("quantity", "so far", "will come to", "in 8 of 10 cases"), rows))
    return Section("forecasts", "Forecasts and their record", tuple(blocks))


_STAGES = {
    "submit": "as it began",
    "0.1": "at a tenth",
    "0.25": "at a quarter",
    "0.5": "at half",
    "0.75": "at three quarters",
}


def _forecast(quantity: str, each: Forecast, value: float) -> str:
    return words.known(quantity, value, each.declared.unit if each.declared is not None else "")


def _lint(made: Statement) -> Section:
    return Section("checks", "Do the numbers fit each other?", tuple(lint_blocks(made.lint)))


def lint_blocks(linted: Linted) -> Iterator[Sentences | Table]:
    """What does not hold first, then what does."""
    held = tuple(each for each in linted.checks if each.verdict == "holds")
    total = len(held) + len(linted.findings)
    yield Sentences((f"{len(held):,} of {total:,} {'identity holds' if total == 1 else 'identities hold'}.",))
    told = tuple(map(_finding, (*linted.findings, *linted.notes)))
    if told:
        yield Table(("row", "identity", "verdict", "one side", "the other", "factor", "what to do"), told, 7)
    good = tuple((each.row, each.identity, each.left, each.right) for each in held)
    if good:
        caption = f"the {len(good):,} that hold"
        yield Table(("row", "identity", "one side", "the other"), good, 4, caption=caption, folded=True)


def _finding(each: Check) -> tuple[str, ...]:
    by = "" if each.factor is None else shown("×", each.factor)
    return each.row, each.identity, each.verdict, each.left, each.right, by, each.remedy


def _unknown(made: Statement) -> Section:
    """What is absent is named."""
    rows = tuple((each.what, each.why) for each in made.unknown)
    return Section("unknown", "What is not known", (Table(("what", "why"), rows, 2),) if rows else ())


def _provenance(made: Statement) -> Section:
    """What it takes to make the same statement again."""
    asked = made.asked
    facts = [
        Fact("id", made.id, "the same as long as no figure changes"),
        Fact("made", words.moment(made.made, made.zone), str(made.zone)),
        Fact("software", f"gpuwatch {made.version}, ledger schema {made.ledger_schema}"),
        Fact(
            "configuration",
            f"sha256 {asked.configuration}" if asked.configuration else "none: everything is default",
        ),
        Fact("rates", ", ".join(made.rate_versions) or words.UNKNOWN, _editions(made)),
        Fact("ledger rows", f"{made.ledger_rows:,}, sha256 {made.digest}" if made.digest else "none"),
    ]
    if made.waiting:
        facts.append(Fact("not counted", words.count(made.waiting, "job"), "their owners have not agreed"))
    return Section("provenance", "Provenance", (Facts(tuple(facts)),))


def _editions(made: Statement) -> str:
    restated = [each for each in made.editions if each > 0]
    return f"restated: editions {', '.join(map(str, restated))}" if restated else "as first charged"
