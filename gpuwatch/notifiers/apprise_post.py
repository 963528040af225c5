"""Sending one letter to one address within a time, whatever the other side does.

Apprise waits for each read and each command of a server anew, so that one that answers a byte at a time would hold
it for ever. A letter is therefore sent in a thread of its own, which is given up after a time. What such a thread
brings about later is remembered: a letter that was taken after all is not sent again.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from gpuwatch import hygiene
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.notifiers.apprise_addresses import schema_of
from gpuwatch.notifiers.apprise_outcome import Outcome, listening, outcome_of
from gpuwatch.notifiers.apprise_places import PLACES, written
from gpuwatch.notifiers.apprise_services import Services, where
from gpuwatch.notifiers.base import Letter
from gpuwatch.notifiers.letter_text import Look, write

REST_SECONDS = 30.0
"""How long a server that did not answer is left alone: the next recipients do not wait for it as well."""

MOST_HANGING = 8
"""So many letters may hang at once; each is a thread."""

_MOST_REMEMBERED = 10_000

_Sent = tuple[str, str, str]
"""A letter's key, what is news in it, and to which address. Under a key that is tried again there may be more."""

log = logging.getLogger("gpuwatch.alerts")


class Post:
    """Sends letters; `clock` is monotonic, in seconds."""

    def __init__(
        self, services: Services, look: Look, timeout_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._services = services
        self._look = look
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._resting: dict[tuple[str, str], tuple[float, str]] = {}
        self._taken: OrderedDict[_Sent, None] = OrderedDict()
        self._hanging: dict[threading.Thread, _Sent] = {}

    def send(self, letter: Letter, url: str) -> None:
        """Return once an address took the letter; raises `Rejected` or `Unavailable` as `Personal.send` does."""
        key = safe_key(letter.key)
        what = (key, _news(letter), url)
        if what in self._taken:
            return
        self._check(what)
        outcome = self._sent(letter, what)
        if outcome.what == "away":
            self._resting[_server(url)] = (self._clock() + REST_SECONDS, outcome.why)
        if outcome.what == "rejected":
            raise Rejected(f"{where(url)}: {outcome.why}")
        if outcome.what != "taken":
            raise Unavailable(f"{where(url)}: {outcome.why}")

    def _check(self, what: _Sent) -> None:
        url = what[-1]
        until, why = self._resting.get(_server(url), (0.0, ""))
        if self._clock() < until:
            raise Unavailable(f"{where(url)}: {why} a moment ago; left alone for a while")
        self._resting.pop(_server(url), None)
        self._hanging = {thread: each for thread, each in self._hanging.items() if thread.is_alive()}
        if what in self._hanging.values():
            raise Unavailable(f"{where(url)}: the try before still hangs")
        if len(self._hanging) >= MOST_HANGING:
            raise Unavailable(
                f"{where(url)}: {MOST_HANGING} letters hang already; none is sent until one does not"
            )

    def _sent(self, letter: Letter, what: _Sent) -> Outcome:
        key, _, url = what
        found: list[Outcome] = []

        def attempt() -> None:
            outcome = self._attempt(letter, url, key)
            if outcome.what == "taken":
                self._remember(what)
            found.append(outcome)

        thread = threading.Thread(target=attempt, name="apprise", daemon=True)
        thread.start()
        thread.join(self._timeout_seconds)
        if found:
            return found[0]
        self._hanging[thread] = what
        return Outcome("away", f"did not take it within {self._timeout_seconds:g} s")

    def _attempt(self, letter: Letter, url: str, key: str) -> Outcome:
        place = PLACES[schema_of(url)]
        service = self._services.of(url, key)
        if service is None:
            return Outcome("rejected", "not an address")
        dialect, source = written(place, service)
        told = write(letter, self._look, dialect, place.most_bytes)
        with listening() as lines:
            try:
                taken = service.notify(
                    body=told.body, title=told.subject, notify_type=_colour(letter), body_format=source
                )
            except Exception as exc:  # noqa: BLE001 - a service of Apprise may raise anything; this is its own thread
                return Outcome("later", f"Apprise failed with {type(exc).__name__}")
        return outcome_of(bool(taken), lines)

    def _remember(self, what: _Sent) -> None:
        self._taken[what] = None
        while len(self._taken) > _MOST_REMEMBERED:
            self._taken.popitem(last=False)


def _news(letter: Letter) -> str:
    """What is told, without the numbers, which are others with every try."""
    told = sorted(
        (each.what, each.alert.kind, *each.alert.scope, each.alert.quantity, each.alert.severity, each.alert.level)
        for each in letter.changes
    )
    return hashlib.sha256(repr(told).encode("utf-8", "backslashreplace")).hexdigest()


def safe_key(key: str) -> str:
    """A letter's key as it may stand in a header and an address: itself, or what stands for it."""
    if key.isascii() and key.replace("-", "").replace("_", "").isalnum() and len(key) <= 128:
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _colour(letter: Letter) -> str:
    """What Apprise calls a type: a colour in chats."""
    if all(change.what == "resolved" for change in letter.changes):
        return "success"
    critical = any(change.alert.severity == "critical" for change in letter.changes if change.what != "resolved")
    return "failure" if critical else "warning"


def _server(url: str) -> tuple[str, str]:
    return schema_of(url), urlsplit(url).netloc.rpartition("@")[2]


def told_all(post: Post, letter: Letter, urls: tuple[str, ...]) -> bool:
    """Whether every address has the letter, or can never have it while another one has; each is tried."""
    refused: list[str] = []
    later: list[str] = []
    for url in urls:
        try:
            post.send(letter, url)
        except Rejected as exc:
            refused.append(str(exc))
        except Unavailable as exc:
            later.append(str(exc))
    if later:
        raise Unavailable(f"{hygiene.log(letter.recipient)}: {'; '.join([*later, *refused])}")
    if len(refused) == len(urls):
        raise Rejected(f"{hygiene.log(letter.recipient)}: {'; '.join(refused)}")
    for why in refused:
        log.warning("letter refused recipient=%s why=%s", hygiene.log(letter.recipient), why)
    return True
