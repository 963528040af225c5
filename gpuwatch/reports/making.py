"""Makes a statement out of what the ledger knows. Pure."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from gpuwatch import __version__, specs
from gpuwatch.ledger.campaign_document import OUTCOMES
from gpuwatch.ledger.campaigns import name_of, owner_of
from gpuwatch.ledger.records import devices_of
from gpuwatch.ledger.tables import SCHEMA_VERSION
from gpuwatch.ledger.waste import Parts
from gpuwatch.reports import lint, rates_used, timing
from gpuwatch.reports.declared import declared_of
from gpuwatch.reports.figures import Figure, energy_figure, exact, summed, unmeasured
from gpuwatch.reports.flop import computed
from gpuwatch.reports.gaps import gaps_of
from gpuwatch.reports.lint_devices import board_watts, device_known, peak_of, usual_precision
from gpuwatch.reports.material import Material
from gpuwatch.reports.own_claims import claims_of, sums_of
from gpuwatch.reports.pieces import ModelPart, Piece, RunPart, pieces_of
from gpuwatch.reports.statement import Group, ModelRow, RunRow, Statement
from gpuwatch.reports.unknowns import unknowns_of

Specs = Callable[[str], specs.Spec | None]


def statement_of(material: Material, specs_of: Specs = specs.lookup) -> Statement:
    """The statement, checked by the identities that it is to hold."""
    made = _made(material, pieces_of(material), specs_of)
    made = replace(made, unknown=tuple(unknowns_of(made)))
    checked = lint.lint(claims_of(made), device_known, sums_of(made))
    return replace(made, lint=checked)


def _made(material: Material, pieces: Sequence[Piece], specs_of: Specs) -> Statement:
    asked, total = material.asked, _group("total", pieces, None, specs_of)
    total = replace(total, share=1.0 if total.device_seconds > 0 else None)
    runs = [run for piece in pieces for run in piece.runs]
    begins, ends = timing.bounds(runs)
    head = Statement(
        id=_id(material),
        asked=asked,
        title=f"{asked.kind} {_called(material)}",
        purpose=asked.purpose or _purpose(pieces),
        author=asked.author or _owner(pieces),
        made=material.now,
        version=__version__,
        ledger_schema=SCHEMA_VERSION,
        begins=begins,
        ends=ends,
        goes_on=any(piece.job.state != "ended" for piece in pieces) and asked.ends > material.now,
        zone=material.zone,
        total=total,
        debugging=_group("debugging", [each for each in pieces if each.tagged.debugging], total, specs_of),
        outcomes=tuple(_outcomes(runs, total.device_seconds)),
        tags=tuple(_by_tag(pieces, asked.tag, total, specs_of)) if asked.tag else (),
        waiting=material.waiting,
        declared=declared_of(material, pieces, total, begins, ends),
        forecasts=material.forecasts,
        foretold=material.foretold,
        record=material.record,
        quality=material.quality,
        gaps=gaps_of(material.quality) if asked.whole else (),
        ledger_rows=material.rows,
        digest=material.digest,
    )
    return _priced(_used(head, pieces, runs, specs_of), material, pieces)


def _used(head: Statement, pieces: Sequence[Piece], runs: Sequence[RunPart], specs_of: Specs) -> Statement:
    """With what ran where and when, and what became of it."""
    models = summed(pieces)
    known = [piece.allocated_seconds for piece in pieces if piece.allocated_seconds is not None]
    return replace(
        head,
        runs=tuple(map(_row, pieces)),
        attempts=tuple(runs),
        models=tuple(_models(pieces, models, specs_of)),
        nodes=len({(piece.job.cluster, node) for piece in pieces for node in piece.job.nodes}),
        users=len({name_of(owner_of(piece.job)) for piece in pieces} - {""}),
        allocated_seconds=sum(known) if known else None,
        held_seconds=sum(piece.held_seconds for piece in pieces),
        parts=sum((piece.parts for piece in pieces), Parts()),
        wall_seconds=None if head.begins is None or head.ends is None else head.ends - head.begins,
        run_wall_seconds=timing.covered(runs) if runs else None,
        unknown_devices=sum(piece.unknown_devices for piece in pieces),
        devices_at_once=timing.most_at_once(runs),
        computed=computed(pieces, models, head.asked.flop, specs_of, head.asked.whole),
        by_method=_methods(pieces),
        charged_joules=_known(each.energy_joules for each in pieces if each.facility_joules is not None).value,
        host_joules=_known(each.host_joules for each in pieces if each.facility_joules is not None).value,
        unmeasured_seconds=unmeasured(models, _watts(models, specs_of)).seconds,
        days=timing.days(pieces, head.zone),
        burn_up=timing.burn_up(runs),
    )


def _priced(made: Statement, material: Material, pieces: Sequence[Piece]) -> Statement:
    """With money, the rates it was reckoned by, and what is advised."""
    said = material.advice
    return replace(
        made,
        cost={currency: _cost(each, pieces) for currency, each in sorted(made.total.cost.items())},
        prices=tuple(rates_used.prices(material)),
        rates=tuple(rates_used.rates(material, made.begins, made.ends)),
        rate_versions=tuple(sorted({each for piece in pieces for each in piece.rates})),
        editions=tuple(sorted({each for piece in pieces for each in piece.editions})),
        wasted_cost=_wasted_cost(pieces),
        advice=tuple((each.job.display, one) for each in pieces for one in said.get(each.job.scope.name, ())),
    )


def _id(material: Material) -> str:
    """The same for the same figures of the same scope, whenever and wherever it is made."""
    asked = material.asked
    of = (asked.kind, asked.name, asked.begins, asked.ends, asked.tag, asked.flop, material.digest)
    words = "gpuwatch:" + ":".join(map(str, of))
    return str(uuid.uuid5(uuid.NAMESPACE_URL, words.encode("utf-8", "backslashreplace").decode()))


def _called(material: Material) -> str:
    if material.asked.kind != "job" or not material.jobs:
        return material.asked.name
    job = material.jobs[0].job
    return f"{job.display} {job.name}" if job.name and job.name != job.display else job.display


def _purpose(pieces: Sequence[Piece]) -> str:
    """What tags `purpose` say, where all that have one say the same."""
    said = {piece.tagged.tags["purpose"] for piece in pieces if "purpose" in piece.tagged.tags}
    return said.pop() if len(said) == 1 else ""


def _owner(pieces: Sequence[Piece]) -> str:
    """Whose jobs they are, where they are one person's; others are not named without having been asked."""
    owners = {name_of(owner_of(piece.job)) for piece in pieces} - {""}
    return owners.pop() if len(owners) == 1 else ""


def _watts(models: Mapping[str, ModelPart], specs_of: Specs) -> dict[str, float]:
    found = ((model, specs_of(model)) for model in models)
    known = ((model, board_watts(spec)) for model, spec in found if spec is not None)
    return {model: watts for model, watts in known if watts is not None}


def _group(name: str, pieces: Sequence[Piece], total: Group | None, specs_of: Specs) -> Group:
    """Jobs together, with the bounds of their energy and what follows from it."""
    models, seconds = summed(pieces), sum(piece.device_seconds for piece in pieces)
    energy = [piece.energy_joules for piece in pieces if piece.energy_joules is not None]
    limits = unmeasured(models, _watts(models, specs_of))
    device = energy_figure(sum(energy) if energy else None, _methods(pieces), limits)
    cost: dict[str, float] = defaultdict(float)
    for piece in pieces:
        for currency, money in piece.cost.items():
            cost[currency] += money
    covered = sum(min(part.covered_seconds, part.device_seconds) for part in models.values())
    return Group(
        name,
        len(pieces),
        seconds,
        seconds / total.device_seconds if total is not None and total.device_seconds > 0 else None,
        device,
        _following(device, pieces, lambda piece: piece.facility_joules),
        _following(device, pieces, lambda piece: piece.carbon_grams),
        dict(cost),
        min(1.0, covered / seconds) if seconds > 0 else None,
    )


def _following(device: Figure, pieces: Sequence[Piece], of: Callable[[Piece], float | None]) -> Figure:
    """What was reckoned from measured energy: its bounds are as far away as those of the energy."""
    told = [(value, piece.energy_joules) for piece in pieces if (value := of(piece)) is not None]
    energy = sum(joules for _, joules in told if joules is not None)
    if not told or energy <= 0 or device.value is None:
        return Figure(
            None, None, None, device.why if device.value is None else "it was not charged yet, or has no rate"
        )
    value = sum(each for each, _ in told)
    per = value / energy
    why = device.why
    if energy < (1 - 1e-6) * device.value:
        why += "; of a part of the energy: the rest has no rate, or is not charged yet"
    high = None if device.high is None else device.high * per
    return Figure(value, (device.low or 0.0) * energy / device.value * per, high, why)


def _methods(pieces: Iterable[Piece]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for piece in pieces:
        for method, joules in piece.by_method.items():
            found[method] += joules
    return dict(sorted(found.items()))


def _outcomes(runs: Sequence[RunPart], whole: float) -> Iterator[Group]:
    """Runs by how they ended; each run counts once."""
    for outcome in OUTCOMES:
        those = [run for run in runs if run.outcome == outcome]
        if not those:
            continue
        seconds = sum(run.device_seconds for run in those)
        cost: dict[str, float] = defaultdict(float)
        for run in those:
            for currency, money in run.cost.items():
                cost[currency] += money
        yield Group(
            outcome, len(those), seconds, seconds / whole if whole > 0 else None,
            _known(run.energy_joules for run in those), _known(run.facility_joules for run in those),
            _known(run.carbon_grams for run in those), dict(cost),
        )  # fmt: skip


def _known(values: Iterable[float | None]) -> Figure:
    known = [value for value in values if value is not None]
    return Figure(sum(known)) if known else Figure()


def _by_tag(pieces: Sequence[Piece], key: str, total: Group, specs_of: Specs) -> Iterator[Group]:
    """By the values of a tag, numbers by size; jobs without it come last."""
    found: dict[str | None, list[Piece]] = defaultdict(list)
    for piece in pieces:
        found[piece.tagged.tags.get(key)].append(piece)
    values = sorted((value for value in found if value is not None), key=_natural)
    for value in (*values, *([None] if None in found else [])):
        yield _group(f"{key}:{value}" if value is not None else f"without {key}", found[value], total, specs_of)


def _natural(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def _row(piece: Piece) -> RunRow:
    job = piece.job
    covered = sum(min(part.covered_seconds, part.device_seconds) for part in piece.models.values())
    seconds = piece.device_seconds
    return RunRow(
        job.display, job.name or "", min((run.begins for run in piece.runs), default=float(job.started)),
        max((run.ends for run in piece.runs), default=job.last_seen), piece.outcome, piece.tagged.debugging,
        len(piece.runs), (devices_of(job.record) if job.record is not None else None) or len(job.devices) or None,
        job.models, seconds, piece.energy_joules, min(1.0, covered / seconds) if seconds > 0 else None,
        piece.carbon_grams, piece.cost, dict(sorted(piece.tagged.tags.items())),
    )  # fmt: skip


def _models(pieces: Sequence[Piece], models: Mapping[str, ModelPart], specs_of: Specs) -> Iterator[ModelRow]:
    seen: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for piece in pieces:
        for run in piece.job.runs:
            for line in run.lines:
                if line.uuid:
                    seen[line.model].add((piece.job.cluster, line.uuid))
    for model, part in models.items():
        spec = specs_of(model) if model else None
        precision = usual_precision(spec) if spec is not None else None
        yield ModelRow(
            model, len(seen[model]) or None, part.device_seconds, part.covered_seconds, part.energy_joules,
            board_watts(spec) if spec is not None else None, peak_of(spec) if spec is not None else None,
            precision or "", spec.source if spec is not None else "",
        )  # fmt: skip


def _cost(value: float, pieces: Sequence[Piece]) -> Figure:
    """Hours are counted: what they cost is exact, unless some of them have no price or are not charged yet."""
    without = [piece for piece in pieces if not piece.cost and piece.device_seconds > 0]
    if not without:
        return exact(value, "device-hours are counted and not measured")
    jobs = "1 job has" if len(without) == 1 else f"{len(without):,} jobs have"
    return Figure(value, value, None, f"{jobs} no price, or no charge yet")


def _wasted_cost(pieces: Iterable[Piece]) -> dict[str, float]:
    """What idle, spinning and lost time cost at most, at the mean price of each job."""
    found: dict[str, float] = defaultdict(float)
    for piece in pieces:
        if piece.parts.wasted > 0:
            for currency, money in piece.cost.items():
                found[currency] += money * piece.parts.wasted_ratio
    return dict(found)
