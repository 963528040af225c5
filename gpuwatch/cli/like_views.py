"""What jobs of a kind came to, as text and as JSON, out of the document that the API answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import alike, amount, digits, split
from gpuwatch.cli.estimate_words import Row, declared, lines_to_paste
from gpuwatch.cli.like_brief import best
from gpuwatch.estimates.history import FEWEST, LEVELS

Document = Mapping[str, Any]

_HOURS = "device-hours"
_HOUR = 3600.0
_ENDS = {0.5: ("0.25", "0.75"), 0.8: ("0.1", "0.9"), 0.95: ("0.025", "0.975")}
_KINDS = {"user": "of user", "account": "of account", "partition": "in", "campaign": "of campaign", "name": "like"}


def lines(told: Document, asked: Mapping[str, str | None]) -> Iterator[str]:
    """The answer for people."""
    kind = " ".join(f"{_KINDS[key]} {hygiene.label(value)}" for key, value in asked.items() if value)
    since = f"{datetime.fromtimestamp(told['since'], UTC):%Y-%m-%d}"
    yield f"{told['jobs']:,} {_jobs(told['jobs'])} {kind} since {since}{_too_few(told)}"
    for each in told["endings"]:
        spent = amount(_HOURS, each["device_seconds"])
        yield f"  {each['ending']:13} {each['jobs']:>7,} {_jobs(each['jobs'])}, {spent}"
    for quantity, spread in told["spreads"].items():
        yield f"  {quantity:13} {_spread(quantity, spread)}"
        if spread["cut"]:
            yield f"  {'':13} {spread['cut']:,} of {spread['n']:,} were cut short: they needed more than they had"
    yield from _declared(told)
    yield from _nearest(told)
    text = declaration_of(told)
    if text:
        yield from lines_to_paste(text)


def document_of(told: Document) -> dict[str, Any]:
    """The answer for programs: the same, with the amounts and the line to declare with."""
    spread = best(told)
    quantiles = spread["quantiles"] if spread is not None else {}
    known = {f"q{name}": quantiles.get(q) for name, q in (("10", "0.1"), ("50", "0.5"), ("90", "0.9"))}
    hours = {name: None if value is None else value / _HOUR for name, value in known.items()}
    return {"device_hours": hours, "declaration": declaration_of(told), **told}


def declaration_of(told: Document) -> str | None:
    """What to declare by it; None where the 80 % interval is not known, or no declaration may have it."""
    spread = best(told)
    ends = {} if spread is None else {q: spread["quantiles"][f"{q:g}"] for q in (0.1, 0.5, 0.9)}
    if not ends or None in ends.values():
        return None
    return declared([Row("", _HOURS, ends)], "history")


def _too_few(told: Document) -> str:
    if told["jobs"] == 0:
        return ": nothing is known of what one comes to"
    return f": fewer than {FEWEST}, so that they are listed alone" if told["jobs"] < FEWEST else ""


def _spread(quantity: str, spread: Document) -> str:
    quantiles = spread["quantiles"]
    median = quantiles["0.5"]
    middle = amount(quantity, median) if median is not None else f"more than {amount(quantity, spread['most'])}"
    parts = [f"median {middle}"]
    parts += [f"{level * 100:g} % {_interval(quantity, spread, level)}" for level in LEVELS]
    return "; ".join(parts)


def _interval(quantity: str, spread: Document, level: float) -> str:
    low, high = (spread["quantiles"][end] for end in _ENDS[level])
    if low is not None and high is not None:
        return f"{alike(quantity, low, high)} to {amount(quantity, high)}"
    if low is not None and spread["cut"]:
        return f"{amount(quantity, low)} or more"
    return "needs more jobs"


def _declared(told: Document) -> Iterator[str]:
    asked, ratio, applied = told["declared_device_seconds"], told["ratio"], told["applied"]
    if asked is None:
        return
    if ratio is None or applied is None:
        few = f"fewer than {FEWEST} of them declared device-hours, so that nothing follows for yours"
        yield f"  {'declared':13} {few}"
        return
    yield f"  {'used/declared':13} of {ratio['n']:,} that declared: {_spread('ratio', ratio)}"
    yield f"  {digits(asked / _HOUR)} declared: {_spread(_HOURS, applied)}"


def _nearest(told: Document) -> Iterator[str]:
    for number, job in enumerate(told["nearest"]):
        ended = "runs" if job["ended"] is None else f"{datetime.fromtimestamp(job['ended'], UTC):%Y-%m-%d}"
        declared = job["declared_device_seconds"]
        said = f", declared {split(_HOURS, declared)[0]}" if declared is not None else ""
        name = hygiene.log(f"{job['display']} {job['name'] or ''}".rstrip())
        spent = amount(_HOURS, job["device_seconds"])
        yield f"  {'nearest' if number == 0 else '':13} {name}: {spent}{said}, {job['ending']}, {ended}"


def _jobs(count: int) -> str:
    return "job" if count == 1 else "jobs"
