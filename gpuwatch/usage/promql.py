"""Usage from what agents export, read back from Prometheus, Thanos, Mimir or VictoriaMetrics.

What it has and lacks is in docs/usage-sources.md. Each window since the last one taken is read whole, and the mark
moves with it: accounting may be down for a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Client, ServerSettings, ServerUrl
from gpuwatch.http.times import skew_text
from gpuwatch.model import EMPTY, Probe, Site
from gpuwatch.usage import promql_absent as absent
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.clocks import MOST_SKEW_SECONDS, in_future
from gpuwatch.usage.prometheus_api import QueryApi, less_may_do
from gpuwatch.usage.promql_questions import Questions, matchers
from gpuwatch.usage.promql_rows import Agents, Assembled, assemble
from gpuwatch.usage.windows import Window, check_over, halves, windows

EPOCH = "windows"
"""The epoch of marks that are times."""

MOST_WINDOWS = 48
"""So many windows are read in one pass; the rest comes with the next."""

LEAST_SECONDS = 60.0
"""Windows that are too much for the server are halved down to this."""

MOST_LATE_WINDOWS = 1000
"""So many are read again where an agent was not heard for a week."""

CHECK_SECONDS = 300
"""How long ago an agent may have been seen to count as there."""


_NEVER: tuple[str, None, None] = (EPOCH, None, None)


def _matchers(text: str) -> str:
    return str(matchers(text))


class PromqlUsage:
    """Reads the series of this cluster's agents, window by window."""

    class Settings(ServerSettings):
        """The table `[usage.promql]`."""

        url: ServerUrl = Field(
            default="http://127.0.0.1:9090", description="address of the server, before /api/v1/query"
        )
        matchers: Annotated[str, AfterValidator(_matchers)] = Field(
            default="", description="conditions added to every selector, as that of a cluster's external label"
        )
        window_seconds: float = Field(default=3600.0, ge=60, le=86_400, description="read so much time at once")
        first_seconds: float = Field(
            default=86_400.0, ge=0, le=31_536_000, description="the first time, read what is not older than this"
        )
        lag_seconds: float = Field(default=30.0, ge=0, le=3600, description="what is newer may not be there yet")
        overlap_seconds: float = Field(
            default=300.0, ge=0, le=86_400, description="read so much before a window again, for what came late"
        )

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._cluster = site.cluster
        self._matchers = matchers(settings.matchers)
        self._client = Client(settings)
        self._api = QueryApi(settings.url, self._client)
        self._origin = settings.url + (f" {{{self._matchers}}}" if settings.matchers else "")

    def collect(self, asking: Asking) -> Iterator[Delivery | Reached | Failure]:
        """Every window since the last one taken, in order; one that cannot be read whole is asked for again."""
        self._client.renew()
        _, until, state = asking.marks.get(self._origin, _NEVER)
        if until is not None and (wrong := in_future(until, asking.now)):
            yield Failure(self._origin, wrong)
            return
        missing = absent.read(state)
        overlap = round(self._settings.overlap_seconds)
        lag = self._settings.lag_seconds
        try:
            for window, found in self._walk(until, asking.now - lag, MOST_WINDOWS):
                begin = window.start - overlap
                if (since := absent.returned(missing, found.heard, begin)) is not None:
                    for _, late in self._walk(since, window.start, MOST_LATE_WINDOWS):
                        yield from self._told(late)
                yield from self._told(found)
                missing = absent.absent_after(missing, found.heard, begin, window.end)
                yield Reached(self._origin, Mark(EPOCH, window.end, absent.written(missing)))
        except Unavailable as exc:
            yield Failure(self._origin, str(exc))

    def acknowledge(self, delivery: Delivery) -> None:
        """The store keeps what it has."""

    def figures(self) -> Mapping[str, float]:
        """None: agents export their own."""
        return EMPTY

    def check(self, now: float) -> Sequence[Probe]:
        """Ask which agents of the cluster it has seen in the last five minutes, and what time it is there."""
        self._client.renew()
        try:
            told = self._api.ask("query", {"query": "vector(1)"})
            window = Window(int(now) - CHECK_SECONDS, int(now))
            lives = Questions(self._api.vector, self._matchers, window, 0).lives()
        except Unavailable as exc:
            return [Probe(self._origin, False, str(exc))]
        return [
            *self._clock(told.date, now),
            self._seen(Agents(lives, self._cluster, bool(self._settings.matchers))),
        ]

    def _clock(self, date: float | None, now: float) -> Iterator[Probe]:
        if date is None:
            return
        ahead = date - now
        yield Probe(f"{self._origin} clock", abs(ahead) <= MOST_SKEW_SECONDS, skew_text(ahead))

    def _seen(self, agents: Agents) -> Probe:
        nodes = {agent.node for agent in agents.by_node.values()}
        cluster = hygiene.log(self._cluster)
        if nodes:
            return Probe(
                self._origin, True, f"nodes of cluster {cluster} seen within {CHECK_SECONDS} s: {len(nodes)}"
            )
        others = f"; there are {len(agents.foreign)} of others" if agents.foreign else ""
        return Probe(
            self._origin, False, f"no agent of cluster {cluster} was seen within {CHECK_SECONDS} s{others}"
        )

    def _walk(self, until: int | None, end: float, most: int) -> Iterator[tuple[Window, Assembled]]:
        """What each window from `until` to `end` has; shorter ones from where the server cannot do more."""
        length, first_seconds = self._settings.window_seconds, self._settings.first_seconds
        for _ in range(most):
            window = next(windows(until, end, 0.0, length, first_seconds, 1), None)
            if window is None:
                return
            try:
                found = self._read(window, until is None)
            except Unavailable as exc:
                shorter = halves(window, LEAST_SECONDS) if less_may_do(exc) else ()
                if not shorter:
                    raise Unavailable(f"{exc}; it stays to be read from {window.start}") from exc
                length = shorter[0].seconds
                continue
            yield window, found
            until = window.end

    def _read(self, window: Window, first: bool) -> Assembled:
        questions = Questions(self._api.vector, self._matchers, window, round(self._settings.overlap_seconds))
        since = None if first else float(window.start)
        any_name = bool(self._settings.matchers)
        found = questions.ask()
        check_over(window.end, self._api.date)
        return assemble(found, self._cluster, self._origin, any_name, questions.begin, since)

    def _told(self, found: Assembled) -> Iterator[Delivery | Failure]:
        for target in found.unknown:
            # A failure of its own, which holds nothing up: what is not scraped whole will not become so.
            yield Failure(
                f"{self._origin} target {hygiene.log(target)}", "has rows, and no gpuwatch_agent_info says whose"
            )
        yield from found.deliveries
