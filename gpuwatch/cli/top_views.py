"""A frame of `gpuwatch top`: as many lines as the terminal has, each as wide as it at most. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import amount, split
from gpuwatch.accounting.forecast_words import percent as probability
from gpuwatch.cli.text import cut
from gpuwatch.cli.top_state import DeviceNow, JobNow, Order, Top, chosen

LIKELY = 0.8
"""From such a probability on an overrun is likely."""

_HOURS = "device-hours"
_FULL, _EMPTY, _MARK = "█", "░", "│"
_WIDE = 110
_BAR = 20
_STALE_SECONDS = 180.0
_HEAD = ("JOB", "NAME", "USER", "USED", "DECLARED", "AT END", "P OVER", "DONE", "ALERT")
_WIDE_HEAD = (
    "JOB",
    "NAME",
    "USER",
    "USED",
    "DECLARED",
    "USED OF DECLARED",
    "AT END",
    "80 %",
    "P OVER",
    "DONE",
    "ALERT",
)
_DEVICES_GIVE = ((1, 8), (7, 12), (0, 6), (7, 4))
_JOBS_GIVE = ((1, 12), (2, 6), (0, 8), (1, 4))
"""Which column gives way in a narrow terminal, and down to how much, in this order."""


class Line(NamedTuple):
    """A line, and how it is shown: `head`, `title`, `warn`, `bad` or nothing."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Looks:
    """How jobs are sorted and filtered, how many are scrolled past, and what is being typed; None: nothing is."""

    sort: str = "P over"
    text: str = ""
    past: int = 0
    typing: str | None = None
    ascii_only: bool = False


def frame(top: Top, looks: Looks, now: float, width: int, height: int, order: Order | None = None) -> list[Line]:
    """What is on the screen; `order` is one's own where frame follows frame."""
    jobs = (order or chosen)(top.jobs, looks.sort, looks.text)
    lines = [*_summary(top, jobs, looks, now)]
    lines += _devices(top, width, max(4, (height - len(lines)) // 2), looks)
    lines += _jobs(top, jobs, looks, width, height - len(lines) - 1)
    lines = lines[: height - 1]
    lines += [Line("")] * (height - 1 - len(lines)) + [_keys(looks)]
    return [Line(set_cell_size(line.text, width) if line.style == "head" else cut(line.text, width), line.style)
            for line in lines]  # fmt: skip


def whole(top: Top, looks: Looks, now: float, width: int) -> list[Line]:
    """Everything, for a pipe or one look: without keys, and as long as it gets."""
    jobs = chosen(top.jobs, looks.sort, looks.text)
    size = len(top.devices) + len(jobs) + 8
    lines = [*_summary(top, jobs, looks, now), *_devices(top, width, size, looks)]
    lines += _jobs(top, jobs, looks, width, size)
    return [Line(cut(line.text, width) if width else line.text, line.style) for line in lines]


def _summary(top: Top, jobs: Sequence[JobNow], looks: Looks, now: float) -> Iterator[Line]:
    likely = sum(job.p_over is not None and job.p_over >= LIKELY for job in top.jobs)
    alerted = sum(bool(job.alerts) for job in top.jobs)
    words = [f"gpuwatch {datetime.fromtimestamp(now, UTC):%H:%M:%S}Z"]
    if top.as_of is not None:
        words += [f"{len(top.jobs):,} running", f"{likely:,} likely to overrun", f"{alerted:,} alerted"]
        if now - top.as_of > _STALE_SECONDS:
            words.append(f"as of {amount('wall', now - top.as_of)} ago")
    if looks.text:
        words.append(f"{len(jobs):,} with {hygiene.log(looks.text)!r}")
    yield Line("  ".join((words[0], ", ".join(words[1:]))).rstrip(), "title")


def _devices(top: Top, width: int, room: int, looks: Looks) -> Iterator[Line]:
    if top.devices_trouble:
        yield Line(hygiene.log(top.devices_trouble), "warn")
    if not top.devices:
        return
    names = {job.job_id: f"{job.name} {job.display}".strip() for job in top.jobs}
    head = ("DEVICE", "MODEL", "UTIL", "", "POWER", "MEMORY", "TEMP", "HELD BY")
    shown = top.devices if len(top.devices) < room else top.devices[: room - 2]
    rows = [_device_cells(each, names, looks.ascii_only) for each in shown]
    texts = _table([head, *rows], width, _DEVICES_GIVE)
    yield Line(texts[0], "head")
    for each, text in zip(shown, texts[1:], strict=True):
        yield Line(text, "" if each.up else "bad")
    if len(shown) < len(top.devices):
        yield Line(f"and {len(top.devices) - len(shown)} more devices")


def _device_cells(each: DeviceNow, names: dict[str, str], ascii_only: bool) -> tuple[str, ...]:
    limit = f"/{each.watts_limit:.0f}" if each.watts_limit else ""
    memory = "" if each.memory_used is None else f"{each.memory_used / 2**30:.0f}"
    total = f"/{each.memory_total / 2**30:.0f} GiB" if each.memory_total else " GiB"
    holders = ", ".join(hygiene.log(names.get(job, job)) for job in each.holders)
    return (
        hygiene.log(each.index or each.uuid), hygiene.log(each.model.removeprefix("NVIDIA ")),
        "" if each.utilization is None else f"{100 * each.utilization:3.0f} %",
        "" if each.utilization is None else bar(each.utilization, 8, ascii_only=ascii_only),
        "" if each.watts is None else f"{each.watts:.0f}{limit} W", memory + total if memory else "",
        "" if each.celsius is None else f"{each.celsius:.0f} °C",
        "cannot be read" if not each.up else holders or "nobody",
    )  # fmt: skip


def _jobs(top: Top, jobs: Sequence[JobNow], looks: Looks, width: int, room: int) -> Iterator[Line]:
    if top.jobs_trouble:
        yield Line(hygiene.log(top.jobs_trouble), "warn")
    if top.as_of is None:
        if not top.jobs_trouble:
            yield Line("reading jobs …")
        return
    if not jobs:
        yield Line(f"no job has {hygiene.log(looks.text)!r}" if looks.text else "no job runs now")
        return
    past = max(0, min(looks.past, len(jobs) - 1))
    fit = room - 1 - bool(top.jobs_trouble)
    shown = jobs[past : past + (fit if len(jobs) - past <= fit else max(1, fit - 1))]
    wide = width >= _WIDE or not width
    head = _WIDE_HEAD if wide else _HEAD
    rows = [_job_cells(job, wide, looks.ascii_only) for job in shown]
    texts = _table([head, *rows], width, ((len(head) - 1, 12), *_JOBS_GIVE, (len(head) - 1, 5)))
    yield Line(texts[0], "head")
    for job, text in zip(shown, texts[1:], strict=True):
        yield Line(text, _style(job))
    rest = len(jobs) - past - len(shown)
    if rest or past:
        yield Line(f"{past:,} above and {rest:,} below" if past else f"and {rest:,} more jobs")


def _style(job: JobNow) -> str:
    if job.severity == "critical":
        return "bad"
    return "warn" if job.alerts or (job.p_over is not None and job.p_over >= LIKELY) else ""


def _job_cells(job: JobNow, wide: bool, ascii_only: bool) -> tuple[str, ...]:
    declared = "" if job.declared is None else _hours(job.declared)
    drawn = "" if not job.declared else bar(job.used / job.declared, _BAR, _end(job), ascii_only)
    interval = "" if job.low is None or job.high is None else f"{_hours(job.low)} to {_hours(job.high)}"
    over = "" if job.p_over is None else probability(job.p_over).replace("above ", "> ").replace("below ", "< ")
    return (
        hygiene.log(job.display), hygiene.log(job.name), hygiene.log(job.user), _hours(job.used),
        f"({declared})" if job.expected and declared else declared, *((drawn,) if wide else ()),
        "" if job.projected is None else _hours(job.projected), *((interval,) if wide else ()),
        f"{over} {job.over}" if wide and over and job.over != _HOURS else over,
        "" if job.progress is None else f"{100 * job.progress:.0f} %", hygiene.log(", ".join(job.alerts)),
    )  # fmt: skip


def _end(job: JobNow) -> float | None:
    return job.projected / job.declared if job.projected is not None and job.declared else None


def _hours(seconds: float) -> str:
    return split(_HOURS, seconds)[0]


def bar(ratio: float, size: int, mark: float | None = None, ascii_only: bool = False) -> str:
    """How much of it is full, with a mark where it will end; what is over is at the end."""
    full, empty, line = ("#", ".", "|") if ascii_only else (_FULL, _EMPTY, _MARK)
    filled = max(0, round(min(ratio, 1.0) * size))
    cells = [full] * filled + [empty] * (size - filled)
    if mark is not None:
        cells[max(0, min(size - 1, round(min(mark, 1.0) * size)))] = line if mark <= 1 else ">"
    return "".join(cells)


def _table(rows: Sequence[Sequence[str]], width: int, giving: Sequence[tuple[int, int]]) -> list[str]:
    """Rows in columns two blanks apart; where they do not fit columns give way in turn, each down to its least."""
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(rows[0]))]
    over = sum(widths) + 2 * (len(widths) - 1) - width if width else 0
    for place, least in giving:
        given = max(0, min(over, widths[place] - least))
        widths[place] -= given
        over -= given
    return [
        "  ".join(set_cell_size(cut(cell, size), size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _keys(looks: Looks) -> Line:
    if looks.typing is not None:
        return Line(f"only jobs with: {hygiene.log(looks.typing)}_   (enter: keep, esc: all)", "title")
    only = f", f filter ({hygiene.log(looks.text)})" if looks.text else ", f filter"
    return Line(f"q quit, s sort ({looks.sort}){only}, up and down", "title")


def document_of(top: Top, now: float) -> dict[str, Any]:
    """For JSON: base units, null for what is not known."""
    return {
        "time": now, "as_of": top.as_of, "devices_trouble": top.devices_trouble or None,
        "jobs_trouble": top.jobs_trouble or None,
        "devices": [
            {
                "uuid": each.uuid, "index": each.index, "model": each.model, "up": each.up,
                "utilization_ratio": each.utilization, "power_watts": each.watts,
                "power_limit_watts": each.watts_limit, "memory_used_bytes": each.memory_used,
                "memory_total_bytes": each.memory_total, "temperature_celsius": each.celsius,
                "holders": list(each.holders),
            }
            for each in top.devices
        ],
        "jobs": [
            {
                "job": each.display, "job_id": each.job_id, "name": each.name or None, "user": each.user or None,
                "started": each.started, "devices": each.devices, "used_device_seconds": each.used,
                "declared_device_seconds": None if each.expected else each.declared,
                "projected_device_seconds": each.projected, "low_device_seconds": each.low,
                "high_device_seconds": each.high, "p_over": each.p_over, "p_over_quantity": each.over or None,
                "progress_ratio": each.progress, "alerts": list(each.alerts),
            }
            for each in chosen(top.jobs, "P over", "")
        ],
    }  # fmt: skip
