"""Usage from the exporters that a site already runs: their series, attributed by what the batch system allocated.

No agent is needed. Samples are read as they are stored, each with its own time, window after window, and go
through the meter that the agents use. What it takes to go on is stored with the mark, in the ledger: a window that
is read again after a crash gives the same counters of the same epoch.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Client, ServerSettings, ServerUrl
from gpuwatch.http.times import skew_text
from gpuwatch.meter.documents import row_facts
from gpuwatch.model import DeviceUsage, JobRow, Probe, Site
from gpuwatch.usage.base import Allocated, Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.clocks import in_future
from gpuwatch.usage.exporter_boards import (
    MOST_GAP_SECONDS,
    Board,
    Standing,
    Times,
    advance,
    decode,
    encode,
    gap_of,
    times_of,
)
from gpuwatch.usage.exporter_claims import Claims, claims_of, heard_until
from gpuwatch.usage.exporter_names import LABELS, SERIES, SIGNALS, Kind, names_of, source_of
from gpuwatch.usage.exporter_series import Points, Seen, seen
from gpuwatch.usage.prometheus_api import QueryApi, less_may_do
from gpuwatch.usage.promql_questions import matchers
from gpuwatch.usage.windows import Window, check_over, halves, windows

log = logging.getLogger("gpuwatch.accounting")

ORIGIN = "exporter"
"""The one mark of this source: another address or other matchers go on where the ones before were."""

MOST_WINDOWS = 60
"""So many windows are read in a pass: five hours of the past in one minute of the present."""

LEAST_SECONDS = 60
"""Windows that are too much for a server are halved down to this."""

PATIENCE_SECONDS = 3600.0
"""So long a window waits for a batch system that does not answer."""

MOST_SKEW_SECONDS = 30.0
NOTABLE_RATIO = 0.01
"""From this part of the time on it is said that it cannot be attributed."""


def _matchers(text: str) -> str:
    return str(matchers(text))


class ExporterUsage:
    """Reads device series of dcgm-exporter, nvidia_gpu_exporter and AMD's device-metrics-exporter by PromQL."""

    class Settings(ServerSettings):
        """The table `[usage.exporter]`."""

        url: ServerUrl = Field(
            default="http://127.0.0.1:9090", description="address of the server, before /api/v1/query"
        )
        matchers: Annotated[str, AfterValidator(_matchers)] = Field(
            default="", description="conditions added to every selector, as that of a cluster's external label"
        )
        kind: Literal["auto", "dcgm", "nvidia_gpu_exporter", "amd"] = Field(
            default="auto",
            description="the exporter, one of `dcgm`, `nvidia_gpu_exporter`, `amd`; "
            "auto: whichever of them there are",
        )
        node_label: str = Field(
            default="",
            max_length=128,
            description="label with the node's name as the batch system has it; unset: the host, up to a dot",
        )
        window_seconds: int = Field(default=300, ge=60, le=3600, description="read so much time at once")
        first_seconds: float = Field(
            default=3600.0, ge=0, le=30 * 86_400, description="reach so far back when reading for the first time"
        )
        lag_seconds: float = Field(
            default=90.0, ge=0, le=3600, description="stay so far behind: samples and the batch system come late"
        )
        gap_seconds: float = Field(
            default=0.0, ge=0, le=900,
            description="samples further apart say nothing of what is between; 0: three times the scrape interval",
        )  # fmt: skip

    def __init__(
        self,
        settings: Settings,
        site: Site,
        api: QueryApi | None = None,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        self._settings = settings
        self._cluster = site.cluster
        self._client = Client(settings)
        self._api = api or QueryApi(settings.url, self._client)
        self._kinds: frozenset[Kind] = frozenset(kind for kind in LABELS if settings.kind in ("auto", kind))
        self._new_epoch = new_epoch
        self._reached: Mark | None = None
        self._standing = Standing("")
        self._unattributed: float | None = None

    def collect(self, asking: Asking) -> Iterator[Delivery | Reached | Failure]:
        """The rows of each window since the mark, and after them the mark with all that the next one needs."""
        self._client.renew()
        mark = asking.marks.get(ORIGIN)
        its = self._settings
        if mark is not None and (wrong := in_future(mark.seq, asking.now, MOST_SKEW_SECONDS)):
            yield Failure(ORIGIN, wrong)
            return
        due = windows(
            None if mark is None else mark.seq, asking.now, its.lag_seconds, its.window_seconds, its.first_seconds,
            MOST_WINDOWS,
        )  # fmt: skip
        for number, window in enumerate(due):
            if number == 0 and not self._resume(mark):
                # First of all the epoch: what is posted before a crash must be the same row after it.
                yield self._reach(window.start)
            waiting = [window]
            while waiting:
                part = waiting.pop(0)
                allocated = asking.allocated(part.start, part.end)
                if not _heard(allocated, asking.now, part):
                    return
                try:
                    series = self._series(part)
                    check_over(part.end, self._api.date)
                except Unavailable as exc:
                    waiting[:0] = parts = halves(part, LEAST_SECONDS) if less_may_do(exc) else ()
                    if not parts:
                        yield Failure(ORIGIN, str(exc))
                        return
                    continue
                yield from self._deliveries(series, allocated, part)
                yield self._reach(part.end)

    def acknowledge(self, delivery: Delivery) -> None:
        """Servers of time series forget by their own rules."""

    def check(self, now: float) -> Sequence[Probe]:
        """Whether the server answers, by which clock, and which exporters' devices it has now."""
        self._client.renew()
        try:
            date = self._api.ask("query", {"query": "time()"}).date
            names = "|".join(names_of("power", self._kinds))
            found = self._api.vector(self._selector(names), now)
        except Unavailable as exc:
            return [Probe(self._settings.url, False, str(exc))]
        agrees = date is None or abs(date - now) <= MOST_SKEW_SECONDS
        told = "answers" if date is None or agrees else skew_text(date - now)
        return [
            Probe(self._settings.url, agrees, told),
            _found((sample.labels for sample in found), self._settings.node_label),
        ]

    def figures(self) -> Mapping[str, float]:
        """Of the last window: the part of the device time whose holder is not known, and how many devices."""
        unattributed = {} if self._unattributed is None else {"unattributed_ratio": self._unattributed}
        return {"devices": float(len(self._standing.boards)), **unattributed}

    def _resume(self, mark: Mark | None) -> bool:
        """Go on from a mark; False where there is nothing to go on from, and a new epoch begins."""
        if mark is not None and mark == self._reached:
            return True
        try:
            self._standing = decode(mark.state or "") if mark is not None else Standing(self._new_epoch())
        except ValueError as exc:
            log.error("usage state cannot be read; a new epoch begins source=exporter reason=%s", _safe(str(exc)))
            self._standing = Standing(self._new_epoch())
        else:
            if mark is not None:
                return True
        return False

    def _reach(self, until: int) -> Reached:
        self._reached = Mark(self._standing.epoch, until, encode(self._standing))
        return Reached(ORIGIN, self._reached)

    def _series(self, window: Window) -> list[tuple[Mapping[str, str], Points]]:
        found: list[tuple[Mapping[str, str], Points]] = []
        for signal in SIGNALS:
            if names := names_of(signal, self._kinds):
                found += self._api.samples(self._selector("|".join(names)), window.seconds, window.end)
        return found

    def _selector(self, names: str) -> str:
        more = self._settings.matchers
        return f'{{__name__=~"{names}"{"," + more if more else ""}}}'

    def _deliveries(
        self, series: Sequence[tuple[Mapping[str, str], Points]], allocated: Sequence[Allocated], window: Window
    ) -> Iterator[Delivery]:
        # Until the next mark there is no way back but by what is stored.
        self._reached = None
        boards = self._standing.boards
        found = seen(series, window, self._settings.node_label)
        for uid, each in found.items():
            self._welcome(uid, each, window)
        metered = [
            board.source for board in boards.values() if board.meter is not None or board.source.uid in found
        ]
        claims = claims_of(allocated, metered, window.end)
        before = times_of(boards.values())
        rows: dict[str, list[Mapping[str, object]]] = {each.source.node: [] for each in found.values()}
        for uid, board in boards.items():
            changed = _advanced(board, found.get(uid), claims, window)
            if changed:
                rows.setdefault(board.source.node, []).extend(_facts(board, row, window) for row in changed)
        self._tell_unattributed(before, times_of(boards.values()))
        self._standing.boards = {uid: each for uid, each in boards.items() if each.meter is not None or each.rows}
        epoch, end = self._standing.epoch, float(window.end)
        for node, told in rows.items():
            yield Delivery(self._cluster, node, epoch, None, end, told, (), (), f"{ORIGIN} {node}")

    def _welcome(self, uid: str, each: Seen, window: Window) -> None:
        board = self._standing.boards.get(uid)
        if board is None:
            usage = DeviceUsage(uid)
            board = self._standing.boards[uid] = Board(
                each.source, float(window.start), MOST_GAP_SECONDS, usage=usage
            )
        source, known = each.source, board.source
        number = known.number if source.number is None else source.number
        board.source = source._replace(number=number, model=source.model or known.model)
        board.gap_seconds = gap_of(each.spacing_seconds, board.gap_seconds, self._settings.gap_seconds)

    def _tell_unattributed(self, before: Times, after: Times) -> None:
        """Once when it begins to matter, and once when it does so no more."""
        seconds = after.seconds - before.seconds
        if seconds <= 0:
            return
        ratio = max(0.0, (after.unattributed_seconds - before.unattributed_seconds) / seconds)
        notable = ratio >= NOTABLE_RATIO
        if notable != ((self._unattributed or 0.0) >= NOTABLE_RATIO):
            level = logging.WARNING if notable else logging.INFO
            log.log(level, "device time without a known holder source=exporter ratio=%.3f", ratio)
        self._unattributed = ratio


def _advanced(board: Board, seen_now: Seen | None, claims: Claims, window: Window) -> list[JobRow]:
    uid = board.source.uid
    readings = () if seen_now is None else seen_now.readings
    return advance(board, readings, claims.held.get(uid, ()), claims.unknown.get(uid, ()), claims.running, window)


def _facts(board: Board, row: JobRow, window: Window) -> Mapping[str, object]:
    return row_facts(replace(row, seq=window.end), hygiene.label(board.source.model))


def _found(series: Iterable[Mapping[str, str]], node_label: str) -> Probe:
    """Which exporters' devices there are, and on how many nodes."""
    devices: dict[Kind, set[str]] = defaultdict(set)
    nodes: set[str] = set()
    sliced: set[str] = set()
    for labels in series:
        metric = SERIES.get(labels.get("__name__", ""))
        source = source_of(metric.kind, labels, node_label) if metric is not None else None
        if metric is not None and source is not None:
            devices[metric.kind].add(source.uid)
            nodes.add(source.node)
            sliced |= {source.uid} if source.sliced else set()
    if not devices:
        return Probe("exporters", False, "no device of any exporter that is known here")
    counts = ", ".join(f"{len(devices[kind])} of {kind}" for kind in LABELS if kind in devices)
    divided = f"; {len(sliced)} divided into slices, which nobody can attribute" if sliced else ""
    shown = ", ".join(sorted(nodes)[:3])
    return Probe("exporters", True, f"devices: {counts}; nodes: {len(nodes)} ({hygiene.log(shown)}){divided}")


def _heard(allocated: Sequence[Allocated], now: float, window: Window) -> bool:
    """Whether the batch system has said who held what in a window, or is not waited for any longer."""
    return now - window.end >= PATIENCE_SECONDS or heard_until(allocated, window.end) >= window.end


def _safe(text: str) -> str:
    return hygiene.log(text)
