"""A statement as one HTML file: no script, no request to anywhere, light, dark and on paper. Pure.

Everything that anybody wrote is escaped, and the policy in its head lets nothing be loaded or run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from gpuwatch.hygiene import html as escaped
from gpuwatch.reports import words
from gpuwatch.reports.blocks import Block, Facts, Plot, Section, Sentences, Table
from gpuwatch.reports.plots import plot
from gpuwatch.reports.sections import sections_of
from gpuwatch.reports.statement import Statement

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html(made: Statement) -> str:
    """The whole page."""
    body = "\n".join(_section(each, made) for each in sections_of(made))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Compute statement: {escaped(made.title)}</title>\n<style>\n{style()}</style>\n</head>\n"
        "<body>\n<main>\n"
        f"{_header(made)}\n{_cards(made)}\n{body}\n{_footer(made)}\n</main>\n</body>\n</html>\n"
    )


@cache
def style() -> str:
    """The page's style sheet."""
    return files("gpuwatch.reports").joinpath("style.css").read_text(encoding="utf-8")


def _header(made: Statement) -> str:
    parts = [
        f"{words.day(made.begins, made.zone)} to {words.day(made.ends, made.zone)}"
        if made.begins is not None and made.ends is not None
        else "nothing ran",
        made.author,
        made.asked.licence,
    ]
    line = " · ".join(escaped(each) for each in parts if each)
    purpose = f"<p>{escaped(made.purpose)}</p>" if made.purpose else ""
    return (
        '<header>\n<p class="kicker">Compute statement</p>\n'
        f'<h1 dir="auto">{escaped(made.title)}</h1>\n{purpose}<p>{line}</p>\n</header>'
    )


def _cards(made: Statement) -> str:
    if made.empty:
        return ""
    found = "\n".join(
        f'<div class="card"><span>{escaped(name)}</span><b>{escaped(value)}</b><span>{escaped(note)}</span></div>'
        for name, value, note in _headlines(made)
    )
    return f'<div class="cards">\n{found}\n</div>'


def _headlines(made: Statement) -> Iterator[tuple[str, str, str]]:
    """The few figures that are asked for first, each with how far to trust it."""
    total, findings = made.total, len(made.lint.findings)
    stopped = sum(
        each.share or 0.0 for each in made.outcomes if each.name not in ("completed", "running", "not known")
    )
    yield (
        "device-hours",
        f"{words.hours(total.device_seconds)} h",
        f"{words.percent(stopped)} in runs that did not end well",
    )
    for name, quantity, figure in (
        ("facility energy", "facility-energy", total.facility_energy),
        ("CO2e, location-based", "carbon", total.carbon),
    ):
        value = words.known(quantity, figure.value)
        note = words.bounded(quantity, figure).partition("(")[2].rstrip(")") if figure.known else figure.why
        yield name, value, note
    if made.cost:
        yield (
            "cost",
            words.cost({each: figure.value or 0.0 for each, figure in made.cost.items()}),
            "by the prices in force",
        )
    yield "energy measured", words.percent(total.covered_ratio, words.UNKNOWN), "of the charged device-time"
    yield (
        "checks",
        "all hold" if not findings else f"{words.count(findings, 'finding')}",
        f"of {len(made.lint.checks)} identities",
    )


def _footer(made: Statement) -> str:
    made_at = f"{words.moment(made.made, made.zone)} ({made.zone})"
    text = f"Made by gpuwatch {made.version} on {made_at} · id {made.id}"
    return f"<footer>{escaped(text)}</footer>"


def _section(section: Section, made: Statement) -> str:
    blocks = "\n".join(filter(None, (_block(each, made) for each in section.blocks)))
    return f'<section id="{section.name}">\n<h2>{escaped(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block, made: Statement) -> str:
    if isinstance(block, Facts):
        return _facts(block)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Plot):
        drawn = plot(block.name, made)
        return f"<figure>{drawn}<figcaption>{escaped(block.caption)}</figcaption></figure>" if drawn else ""
    return _sentences(block)


def _facts(block: Facts) -> str:
    rows = []
    for fact in block.rows:
        name, value = f"<dt>{escaped(fact.name)}</dt>", f"<b>{escaped(fact.value)}</b>"
        if fact.note:
            rows.append(f'{name}<dd dir="auto">{value}</dd><dd class="note">{escaped(fact.note)}</dd>')
        else:
            rows.append(f'{name}<dd class="wide" dir="auto">{value}</dd>')
    return "<dl>\n" + "\n".join(rows) + "\n</dl>"


def _sentences(block: Sentences) -> str:
    if block.listed:
        return "<ul>\n" + "\n".join(f'<li dir="auto">{escaped(text)}</li>' for text in block.texts) + "\n</ul>"
    return f"<p>{' '.join(map(escaped, block.texts))}</p>"


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_kind(place, table)}>{escaped(cell)}</th>' for place, cell in enumerate(table.head)
    )
    last = len(table.rows) - 1
    rows = "\n".join(
        f"<tr{' class=total' if table.total and number == last else ''}>{_cells(row, table)}</tr>"
        for number, row in enumerate(table.rows)
    )
    whole = (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'
    )
    if table.folded:
        return f"<details><summary>{escaped(table.caption or 'more')}</summary>{whole}</details>"
    return whole


def _cells(row: tuple[str, ...], table: Table) -> str:
    return "".join(f"<td{_kind(place, table, cell)}>{escaped(cell)}</td>" for place, cell in enumerate(row))


def _kind(place: int, table: Table, cell: str = "") -> str:
    if place >= table.left:
        return " class=n"
    if cell in ("wrong", "doubtful"):
        return f" class={cell}"
    return "" if cell.isascii() else ' dir="auto"'
