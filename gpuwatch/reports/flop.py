"""What was computed: FLOP by what jobs are tagged with, or by what the author counted, and the utilization. Pure.

Tags are `params:7e9` and `tokens:1e12` (6ND), or `flop:8e22`, and `precision:bf16`. They are of the whole run that
a job, or a chain of jobs that took up each other's work, was to make: what of it was done is what was reported as
progress, and all of it where a job that reports none ended well. Of others nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuwatch import specs
from gpuwatch.ledger.chains import chains_of
from gpuwatch.reports.claims import read_number
from gpuwatch.reports.lint_devices import peak_of, usual_precision
from gpuwatch.reports.pieces import ModelPart, Piece

Specs = Callable[[str], specs.Spec | None]


class Computed(NamedTuple):
    """FLOP and what they are by; `left_out` jobs have tags, and nobody knows how much of their work was done.

    `peak` is what was used as dense peak, in words; `utilization` is FLOP over device-time times peak.
    """

    flop: float | None = None
    basis: str = ""
    jobs: int = 0
    left_out: int = 0
    parameters: float | None = None
    tokens: float | None = None
    precision: str = ""
    assumed: bool = False
    peak: str = ""
    peak_flops: float | None = None
    utilization: float | None = None
    why: str = ""


class _Work(NamedTuple):
    """What one run was to compute, and the part of it that was done; None: nobody knows."""

    flop: float
    done: float | None
    parameters: float | None
    tokens: float | None
    basis: str


def computed(
    pieces: Sequence[Piece], models: Mapping[str, ModelPart], given: float | None, specs_of: Specs, whole: bool
) -> Computed:
    """FLOP, and the utilization of all device-time, failed runs included; not of a part of the time."""
    if given is not None:
        return _used(Computed(given, "counted by the author (--flop)"), pieces, models, specs_of)
    if not whole:
        return Computed(why="tags are of whole runs, and this statement is of a part of the time")
    works = list(_works(pieces))
    if not works:
        return Computed(why="no job has the tags `params` and `tokens`, or `flop`; --flop says it")
    known = [work for work in works if work.done is not None]
    if not known:
        return Computed(why="no tagged job ended well or reported progress", left_out=len(works))
    parameters, tokens = ({getattr(work, name) for work in known} for name in ("parameters", "tokens"))
    found = Computed(
        sum(work.flop * (work.done or 0.0) for work in known),
        " and ".join(sorted({work.basis for work in known})),
        len(known),
        len(works) - len(known),
        parameters.pop() if len(parameters) == 1 else None,
        tokens.pop() if len(tokens) == 1 else None,
    )
    return _used(found, pieces, models, specs_of)


def _works(pieces: Sequence[Piece]) -> Iterator[_Work]:
    by_job = {id(piece.job): piece for piece in pieces}
    chained: set[int] = set()
    for chain in chains_of([piece.job for piece in pieces]):
        tags = [tags for job in chain.jobs if _flop_of(tags := by_job[id(job)].tagged.tags) is not None]
        if tags:
            done = (
                1.0 if chain.finished else max(0.0, chain.progress.step - chain.start_step) / chain.progress.total
            )
            yield from _work(tags[-1], min(1.0, done))
        chained |= {id(job) for job in chain.jobs}
    for piece in pieces:
        if id(piece.job) not in chained:
            yield from _work(piece.tagged.tags, 1.0 if piece.outcome == "completed" else None)


def _work(tags: Mapping[str, str], done: float | None) -> Iterator[_Work]:
    flop = _flop_of(tags)
    if flop is not None:
        parameters, tokens = _number(tags, "params"), _number(tags, "tokens")
        basis = "as tagged" if "flop" in tags else "6 × parameters × tokens, as tagged"
        yield _Work(flop, done, parameters, tokens, basis)


def _flop_of(tags: Mapping[str, str]) -> float | None:
    stated = _number(tags, "flop")
    if stated is not None:
        return stated
    parameters, tokens = _number(tags, "params"), _number(tags, "tokens")
    return None if parameters is None or tokens is None else 6.0 * parameters * tokens


def _number(tags: Mapping[str, str], key: str) -> float | None:
    read = read_number(tags[key]) if key in tags else None
    return read[0].value if read is not None and not read[1] and read[0].value > 0 else None


def _used(found: Computed, pieces: Sequence[Piece], models: Mapping[str, ModelPart], specs_of: Specs) -> Computed:
    """With the utilization, where the peak of every model is known."""
    said = {piece.tagged.tags["precision"] for piece in pieces if "precision" in piece.tagged.tags}
    precision = said.pop() if len(said) == 1 else ""
    peaks: dict[str, tuple[float, str]] = {}
    for model in models:
        spec = specs_of(model)
        name = precision or (usual_precision(spec) if spec is not None else None)
        peak = peak_of(spec, name) if spec is not None else None
        if peak is None:
            return found._replace(
                why=f"no dense peak is known of {model or 'devices of which nobody says the model'}"
            )
        peaks[model] = peak, f"{peak / 1e12:,.4g} TFLOP/s {name} dense ({spec.name if spec else model})"
    could = sum(part.device_seconds * peaks[model][0] for model, part in models.items())
    if could <= 0 or found.flop is None:
        return found._replace(why="no device-time is known")
    seconds = sum(part.device_seconds for part in models.values())
    return found._replace(
        utilization=found.flop / could, peak="; ".join(dict.fromkeys(words for _, words in peaks.values())),
        peak_flops=could / seconds, precision=precision, assumed=not precision,
    )  # fmt: skip
