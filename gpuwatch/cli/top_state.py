"""What `gpuwatch top` shows: devices of this node as they are, and jobs as the latest pass left them. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from gpuwatch.forecast.projection import HOURS, MEDIAN
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.waste import user_of
from gpuwatch.model import Alert, Forecast

SORTS = ("P over", "used", "name", "user", "started")
"""What jobs may be sorted by; the first is the default."""

_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """A device of this node; None is what the agent does not know. `holders` are job ids."""

    uuid: str
    index: str = ""
    model: str = ""
    up: bool = True
    utilization: float | None = None
    watts: float | None = None
    watts_limit: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    celsius: float | None = None
    holders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobNow:
    """A job that runs; device-seconds. `over` is which quantity is likeliest to be over, `p_over` how likely."""

    job_id: str
    display: str
    name: str
    user: str
    started: float
    devices: float
    used: float
    declared: float | None = None
    expected: bool = False
    projected: float | None = None
    low: float | None = None
    high: float | None = None
    p_over: float | None = None
    over: str = ""
    progress: float | None = None
    alerts: tuple[str, ...] = ()
    severity: str = ""

    def has(self, text: str) -> bool:
        """Whether the text is in one of its names, whatever the case."""
        wanted = text.casefold()
        return any(wanted in each.casefold() for each in (self.display, self.name, self.user, *self.alerts))


@dataclass(frozen=True, slots=True)
class Top:
    """Everything that is shown; a trouble says why a part is not there. `as_of` is when jobs were last read."""

    devices: tuple[DeviceNow, ...] = ()
    jobs: tuple[JobNow, ...] = ()
    as_of: float | None = None
    devices_trouble: str = ""
    jobs_trouble: str = ""


def job_now(job: Job, forecasts: Mapping[str, Forecast], alerts: Iterable[Alert], devices: float) -> JobNow:
    """A job of the ledger, or of the API, with its latest forecasts and its alerts."""
    hours, declared = forecasts.get(HOURS), job.estimates.get(HOURS)
    known = [each for each in forecasts.values() if each.p_over is not None]
    over = max(known, key=lambda each: each.p_over or 0.0, default=None)
    told = sorted(alerts, key=lambda each: each.severity != "critical")
    quantiles = hours.quantiles if hours is not None else {}
    expected = hours.reference if hours is not None and hours.against == "expected" else None
    return JobNow(
        job.job_id, job.display, job.name or "", user_of(job) or "", float(job.started), devices,
        job.device_seconds, declared.likely if declared is not None else expected,
        declared is None and expected is not None,
        quantiles.get(MEDIAN), quantiles.get(_LOW), quantiles.get(_HIGH),
        over.p_over if over is not None else None, over.quantity if over is not None else "",
        job.progress.ratio if job.progress is not None else None,
        tuple(dict.fromkeys(each.kind for each in told)), told[0].severity if told else "",
    )  # fmt: skip


def chosen(jobs: Iterable[JobNow], sort: str, text: str) -> list[JobNow]:
    """The jobs that have the text, in an order of `SORTS`."""
    those = [job for job in jobs if not text or job.has(text)]
    if sort == "used":
        return sorted(those, key=lambda job: (-job.used, job.display))
    if sort in ("name", "user"):
        return sorted(those, key=lambda job: (job.name if sort == "name" else job.user, job.display))
    if sort == "started":
        return sorted(those, key=lambda job: (-job.started, job.display))
    return sorted(those, key=lambda job: (-_p(job), not job.alerts, -job.used, job.display))


class Order:
    """`chosen`, which does not sort the same jobs again with every frame: ten thousand take a while."""

    def __init__(self) -> None:
        self._of: tuple[object, str, str] | None = None
        self._found: list[JobNow] = []

    def __call__(self, jobs: tuple[JobNow, ...], sort: str, text: str) -> list[JobNow]:
        """As `chosen`; `jobs` are another tuple where anything is another."""
        if self._of is None or self._of[0] is not jobs or self._of[1:] != (sort, text):
            self._of, self._found = (jobs, sort, text), chosen(jobs, sort, text)
        return self._found


def _p(job: JobNow) -> float:
    return -1.0 if job.p_over is None else job.p_over


_SAMPLE = re.compile(r"gpuwatch_device_(\w+?)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_WANTED = frozenset({
    "info", "up", "utilization_ratio", "power_watts", "power_limit_watts", "memory_used_bytes",
    "memory_total_bytes", "temperature_celsius", "job_share",
})  # fmt: skip
_FIELDS = {
    "utilization_ratio": "utilization", "power_limit_watts": "watts_limit", "memory_used_bytes": "memory_used",
    "memory_total_bytes": "memory_total",
}  # fmt: skip


def devices_in(page: str) -> tuple[DeviceNow, ...]:
    """The devices of an agent's page of metrics, in order of their indices."""
    found: dict[str, dict[str, object]] = defaultdict(dict)
    holders: dict[str, dict[str, None]] = defaultdict(dict)
    for name, labels, value in _samples(page):
        device = found[labels.get("uuid", "")]
        if name == "info":
            device |= {"index": labels.get("index", ""), "model": labels.get("model", "")}
        elif name == "up":
            device["up"] = value > 0
        elif name == "job_share":
            holders[labels.get("uuid", "")][labels.get("job_id", "")] = None
        elif name == "power_watts":
            _power(device, labels, value)
        elif name == "temperature_celsius":
            device.setdefault("celsius", value)
        else:
            device[_FIELDS[name]] = value
    devices = [_device(uuid, values, tuple(holders.get(uuid, ()))) for uuid, values in found.items() if uuid]
    return tuple(sorted(devices, key=lambda each: (not each.index, each.index.zfill(6), each.uuid)))


def _power(device: dict[str, object], labels: Mapping[str, str], value: float) -> None:
    """What the device itself draws, at the moment where that is told."""
    if labels.get("scope", "device") == "device" and ("watts" not in device or labels.get("window") == "instant"):
        device["watts"] = value


def _device(uuid: str, values: Mapping[str, object], holders: tuple[str, ...]) -> DeviceNow:
    return DeviceNow(uuid, holders=holders, **values)  # type: ignore[arg-type]


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """What is wanted of the page; a value that is no number is not known."""
    for line in page.splitlines():
        found = _SAMPLE.match(line) if line.startswith("gpuwatch_device_") else None
        if found is None or found[1] not in _WANTED:
            continue
        value = _number(found[3])
        if value is not None:
            yield found[1], {name: _unescaped(text) for name, text in _LABEL.findall(found[2])}, value


def _unescaped(text: str) -> str:
    return text.replace(r"\"", '"').replace(r"\n", "\n").replace(r"\\", "\\") if "\\" in text else text


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
