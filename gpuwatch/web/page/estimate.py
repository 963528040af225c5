"""Before a run: what it should need, by its like or by its FLOP, and the line that declares it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from gpuwatch import declaration, specs
from gpuwatch.errors import DeclarationError, Rejected
from gpuwatch.estimates import devices, needs, training
from gpuwatch.web.page import words
from gpuwatch.web.page.asking import Asker, View
from gpuwatch.web.page.html import Child, Html, joined, name, prose, tag
from gpuwatch.web.page.job import command
from gpuwatch.web.page.tables import Cell, Column, table
from gpuwatch.web.page.words import UNKNOWN, Document

_LEVELS = (0.1, 0.5, 0.9)
_AMOUNTS = (
    Column("Quantity"), Column("10 %", number=True), Column("Likely", number=True), Column("90 %", number=True),
)  # fmt: skip
_NEAREST = (
    Column("Job"), Column("User", wide=True), Column("Ended as"), Column("Declared", number=True),
    Column("Used", number=True),
)  # fmt: skip
_COUNT = re.compile(r"(\d{1,40}(?:\.\d{1,40})?(?:[eE]\+?\d{1,2})?)([kKMBGT]?)", re.ASCII)
_SUFFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_UNITS = {"device-hours": (3600.0, "h"), "energy": (3.6e6, "kWh"), "wall": (3600.0, "h")}

Rows = Mapping[str, Sequence[float | None]]
"""Low, likely and high by quantity, base units."""


def view(asker: Asker) -> View | None:
    """Two forms, and the answer to the one that was filled in."""
    way = asker.given.get("way", "")
    main = joined([
        tag("h1", "Plan a run"),
        tag("p", "What a run should need, before it starts, and the line to declare it with."),
        _like(asker, way == "like"),
        _flops(asker, way == "flops"),
    ])  # fmt: skip
    return View("Plan a run", main)


def _field(given: Mapping[str, str], key: str, label: str, hint: str = "") -> Html:
    return tag(
        "label", label, tag("input", name=key, value=given.get(key), placeholder=hint or None, maxlength=256)
    )


def _form(way: str, key: str, heading: str, said: str, fields: Sequence[Html], answer: Child) -> Html:
    form = tag(
        "form", tag("input", type="hidden", name="way", value=way), *fields,
        tag("button", "Estimate", type="submit"), method="get", action=words.address("estimate"), class_="filters",
        aria_labelledby=key,
    )  # fmt: skip
    return tag("section", tag("h2", heading, id=key), tag("p", said), form, answer, aria_labelledby=key)


def _like(asker: Asker, is_asked: bool) -> Html:
    given = asker.given if is_asked else {}
    fields = [
        _field(given, "user", "User", asker.question.viewer.name), _field(given, "account", "Account"),
        _field(given, "name", "Name", "llama-*"),
        _field(given, "declared", "Device-hours you would declare", "640"),
    ]  # fmt: skip
    return _form(
        "like", "like", "By what runs like it came to",
        "Of the jobs that you may read, of the last year; with what you would declare, by what such declarations"
        " came to.",
        fields, _answered(lambda: _like_answer(asker)) if is_asked else None,
    )  # fmt: skip


def _like_answer(asker: Asker) -> Html:
    asked = {key: asker.given.get(key, "").strip() for key in ("user", "account", "name", "declared")}
    found = asker.said("/expectations", **asked)
    best = found["applied"] or found["spreads"].get("device-hours")
    if best is None:
        return tag("p", f"{found['jobs']} jobs are like that: too few for an interval.", class_="none")
    spreads = {**found["spreads"], "device-hours": best}
    rows = {key: [each["quantiles"].get(f"{level:g}") for level in _LEVELS] for key, each in spreads.items()}
    endings = ", ".join(f"{each['jobs']} {each['ending']}" for each in found["endings"])
    return joined([
        tag("p", prose(f"Of {found['jobs']:,} jobs: {endings}.")),
        _amounts(rows),
        _lines(_declared({"device-hours": rows["device-hours"]}, "history")),
        _nearest(found["nearest"]),
    ])  # fmt: skip


def _nearest(nearest: Sequence[Document]) -> Html | None:
    rows = [
        (
            words.link(each["name"] or each["display"], "jobs", each["display"]),
            name(each["user"] or UNKNOWN, 24), each["ending"],
            Cell(words.hours(each["declared_device_seconds"]), each["declared_device_seconds"]),
            Cell(words.hours(each["device_seconds"]), each["device_seconds"]),
        )
        for each in nearest
    ]  # fmt: skip
    return table("The most alike, in device-hours", _NEAREST, rows) if rows else None


def _flops(asker: Asker, is_asked: bool) -> Html:
    given = asker.given if is_asked else {}
    there = [tag("option", value=each.name) for each in specs.known() if each.peak_flops]
    device = tag(
        "label", "Device",
        tag("input", name="device", value=given.get("device"), list="devices", placeholder="H100 SXM",
            maxlength=256),
        tag("datalist", *there, id="devices"),
    )  # fmt: skip
    fields = [
        _field(given, "params", "Parameters", "7B"), _field(given, "tokens", "Tokens", "300B"),
        _field(given, "flop", "or FLOP", "1e22"), device,
        _field(given, "devices", "So many at once", "64"), _field(given, "mfu", "MFU of its steps", "0.4"),
    ]  # fmt: skip
    return _form(
        "flops", "flops", "By the FLOP of a training",
        "6 × parameters × tokens, by what such runs reach of a device's peak: a lower bound.",
        fields, _answered(lambda: _flops_answer(asker.given)) if is_asked else None,
    )  # fmt: skip


def _flops_answer(given: Mapping[str, str]) -> Html:
    flop, params, tokens = (_count(given, key) for key in ("flop", "params", "tokens"))
    if flop is None and (params is None or tokens is None):
        raise Rejected("give parameters and tokens, or the FLOP of the whole training")
    counted = training.given(flop) if flop is not None else training.count(
        training.Network(params, params or 0.0), training.Data(tokens or 0.0)
    )  # fmt: skip
    spec = devices.find(specs.load(*specs.site_files()), given.get("device", "").strip())
    machine = training.machine(spec, None, _ratio(given), None)
    seconds = needs.device_seconds(counted.flop, spec, machine.precision, machine.utilization)
    at_once, watts = _count(given, "devices"), needs.power_of(spec)
    rows: dict[str, Sequence[float | None]] = {"device-hours": [seconds[level] for level in _LEVELS]}
    if watts is not None:
        rows["energy"] = [seconds[level] * watts[0.5] for level in _LEVELS]
    if at_once is not None:
        rows["wall"] = [seconds[level] / at_once for level in _LEVELS]
    said = [training.LOWER_BOUND, *counted.words, *training.assumptions(machine)]
    return joined([
        _amounts(rows),
        _lines(_declared(rows, "flops")),
        tag("details", tag("summary", "What that rests on"),
            tag("ul", *(tag("li", prose(each)) for each in said))),
    ])  # fmt: skip


def _answered(make: Callable[[], Html]) -> Html:
    """The answer, or why there is none: what was typed stays in the form."""
    try:
        found = make()
    except Rejected as exc:
        found = tag("p", prose(str(exc)), class_="late", role="alert")
    return tag("div", found, class_="answer")


def _count(given: Mapping[str, str], key: str) -> float | None:
    text = given.get(key, "").strip()
    if not text:
        return None
    found = _COUNT.fullmatch(text)
    if found is None or not float(found[1]) > 0:
        raise Rejected(f"{key}: {text[:40]!r} is no number more than 0; write 7B, 350M, 1.4T or 1.75e11")
    return float(found[1]) * _SUFFIXES[found[2]]


def _ratio(given: Mapping[str, str]) -> float | None:
    text = given.get("mfu", "").strip()
    try:
        return float(text) if text else None
    except ValueError as exc:
        raise Rejected(f"mfu: {text[:40]!r} is no number; write it as 0.4") from exc


def _amounts(rows: Rows) -> Html:
    told = [(quantity, *(words.of(quantity, each) for each in amounts)) for quantity, amounts in rows.items()]
    return table("What it should need, in 8 of 10 cases between the outer two", _AMOUNTS, told)


def _declared(rows: Rows, basis: str) -> str | None:
    """The declaration of these quantities, three digits each; None where it cannot be declared."""
    said = []
    for quantity, amounts in rows.items():
        per, unit = _UNITS[quantity]
        if known := [f"{each / per:.3g}" for each in amounts if each is not None]:
            said.append(f"{quantity}={'..'.join(known if len(known) == len(_LEVELS) else known[-1:])}{unit}")
    try:
        return declaration.format(declaration.parse(" ".join([*said, f"basis={basis}"])))
    except DeclarationError:
        return None


def _lines(text: str | None) -> Html:
    if text is None:
        return tag("p", "Too much or too little to be declared in one line.", class_="none")
    options = " ".join("--" + word.replace("=", " ", 1) for word in text.split())
    comment = shlex.quote(f"gpuwatch: {text}")
    return joined([
        command("Into the batch script", f"#SBATCH --comment={comment}"),
        command("Or inside the job", f"gpuwatch declare {options}"),
    ])  # fmt: skip
