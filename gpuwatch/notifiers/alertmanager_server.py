"""One Alertmanager: what it has taken, what it refuses for good, and how long it wants to be left alone.

Whatever is refused as a whole is told in halves, down to the alert that is wrong; that one is left out for an
hour, so that it stands in nobody's way. What was taken may be told again: it is the same alert, and no news.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Answer, Client, Refused, json_of
from gpuwatch.http.times import skew_text
from gpuwatch.model import Probe
from gpuwatch.notifiers.alertmanager_alerts import Dress, Entry, Labels, Moment, document

AT_ONCE = 256
"""So many alerts go in one request: half a megabyte, which gateways let pass."""

REFUSED_SECONDS = 3600.0
"""How long an alert that was refused is left out."""

MOST_SKEW_SECONDS = 60.0
"""By more, alerts are told by the server's clock: they end by that one."""

_ITS_FAULT = frozenset({400, 413, 422})

log = logging.getLogger("gpuwatch.alerts")


class Server:
    """For one thread at a time."""

    def __init__(self, url: str, client: Client, dress: Dress) -> None:
        self.url = url
        self._client = client
        self._dress = dress
        self._moment: Moment | None = None
        self._done: set[Entry] = set()
        self._missed = self._greeted = False
        self._refused: dict[Labels, float] = {}
        self._waiting: tuple[float, float] | None = None
        self._ahead = 0.0
        self._failing = ""
        self._wrong: Counter[str] = Counter()

    def tell(self, entries: Sequence[Entry], moment: Moment) -> bool:
        """Tell it what it has not taken at this moment; False where it could not be reached with all of it."""
        if moment != self._moment:
            self._moment, self._done = moment, set()
            self._missed = self._greeted = False
        self._refused = {labels: at for labels, at in self._refused.items() if _within(at, moment.now)}
        untold = [entry for entry in entries if entry not in self._done and entry.labels not in self._refused]
        if not untold:
            return True
        if self._missed:
            # Whoever did not answer a moment ago is not waited for again.
            return False
        if self._waiting is not None and self._waiting[0] <= moment.now < self._waiting[1]:
            self._missed = True
            self._wrong["unrenewed"] += len(untold)
            return False
        try:
            self._tell(untold, moment)
        except Unavailable as exc:
            self._failed(exc, moment)
            self._wrong["unrenewed"] += sum(entry not in self._done for entry in untold)
            return False
        if self._failing:
            log.info("alertmanager reachable again url=%s", hygiene.log(self.url))
        self._failing = ""
        return True

    def wrong(self) -> Mapping[str, int]:
        """How often something went wrong since this was last asked, by what it was."""
        found, self._wrong = self._wrong, Counter()
        return found

    def check(self, now: float) -> Iterator[Probe]:
        """Ask who it is, and whether it would take alerts, by giving it none."""
        try:
            told = self._client.get(f"{self.url}/api/v2/status")
            version = _version(json_of(told.body))
            self._post([])
        except Unavailable as exc:
            yield Probe(self.url, False, str(exc))
            return
        yield Probe(self.url, True, f"takes alerts; Alertmanager {version}")
        if told.date is not None:
            ahead = told.date - now
            yield Probe(self.url, abs(ahead) < MOST_SKEW_SECONDS, skew_text(ahead))

    def _tell(self, entries: Sequence[Entry], moment: Moment) -> None:
        self._waiting = None
        if not self._greeted:
            # Whoever refuses nothing at all refuses us; and by its clock alerts begin and end.
            self._set_clock(self._post([]).date, moment)
            self._greeted = True
        for at in range(0, len(entries), AT_ONCE):
            self._batch(entries[at : at + AT_ONCE], moment)

    def _batch(self, entries: Sequence[Entry], moment: Moment) -> None:
        try:
            self._post([document(entry, moment, self._ahead, self._dress) for entry in entries])
        except Refused as exc:
            if exc.status not in _ITS_FAULT:
                raise
            if len(entries) == 1:
                self._refuse(entries[0], exc, moment)
                return
        else:
            self._done.update(entries)
            return
        middle = len(entries) // 2
        self._batch(entries[:middle], moment)
        self._batch(entries[middle:], moment)

    def _post(self, documents: Sequence[Mapping[str, object]]) -> Answer:
        return self._client.post_json(f"{self.url}/api/v2/alerts", documents)

    def _refuse(self, entry: Entry, why: Refused, moment: Moment) -> None:
        self._refused[entry.labels] = moment.now
        self._wrong["refused"] += 1
        told = hygiene.log(json.dumps(dict(entry.labels), ensure_ascii=False))
        log.error("alert refused url=%s reason=%s labels=%s", hygiene.log(self.url), why, told)

    def _set_clock(self, date: float | None, moment: Moment) -> None:
        if date is None:
            return
        ahead = date - moment.now
        if abs(ahead - self._ahead) < MOST_SKEW_SECONDS:
            return
        self._ahead = ahead if abs(ahead) >= MOST_SKEW_SECONDS else 0.0
        log.warning("alertmanager clock url=%s seconds_ahead=%.0f", hygiene.log(self.url), ahead)

    def _failed(self, exc: Unavailable, moment: Moment) -> None:
        self._missed = True
        if isinstance(exc, Refused) and exc.wait_seconds:
            self._waiting = (moment.now, moment.now + exc.wait_seconds)
        if self._failing != str(exc):
            log.warning("alertmanager unreachable url=%s reason=%s", hygiene.log(self.url), exc)
        self._failing = str(exc)


def _within(at: float, now: float) -> bool:
    return 0.0 <= now - at < REFUSED_SECONDS


def _version(document: object) -> str:
    """What it says it is; `Unavailable` where it is something else."""
    info = document.get("versionInfo") if isinstance(document, dict) else None
    version = info.get("version") if isinstance(info, dict) else None
    if not isinstance(version, str):
        raise Unavailable("is no Alertmanager: its status has no version")
    return hygiene.log(version)
