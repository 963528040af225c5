"""What an agent serves while something is done to it: whether counters fall, how long no device is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Event, Thread

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.guest import Guest

LOOK_SECONDS = 0.2
Series = tuple[str, tuple[tuple[str, str], ...]]


def samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each series of a page."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def counters(page: str) -> dict[Series, float]:
    """What the agent meters: the counters with an epoch. All else that it counts begins with each process."""
    return {
        (name, tuple(sorted(labels.items()))): value
        for name, labels, value in samples(page)
        if name.endswith("_total") and "epoch" in labels
    }


def value(page: str, name: str, **labels: str) -> float | None:
    """The value of the only series with these labels; None where there is none."""
    found = [each for called, has, each in samples(page) if called == name and labels.items() <= has.items()]
    return found[0] if found else None


def epoch(page: str) -> str:
    """The epoch of an agent's counters."""
    return next(labels["epoch"] for name, labels, _ in samples(page) if name == "gpuwatch_agent_info")


@dataclass(frozen=True, slots=True)
class Fall:
    """A counter that is less than it was, and by how much; or gone."""

    name: str
    by: float


def fallen(*pages: str) -> list[Fall]:
    """The counters that are less than on an earlier page; and what the last page lacks."""
    told: dict[Series, float] = {}
    found = []
    for page in pages:
        now = counters(page)
        found += [Fall(each[0], told[each] - value) for each, value in now.items() if value < told.get(each, 0.0)]
        told |= now
    return found + [Fall(each[0], told[each]) for each in told.keys() - counters(pages[-1]).keys()]


class Watch:
    """The pages that were served meanwhile, each once."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._end = Event()
        self._thread = Thread(target=self._look)
        self.pages: list[str] = []

    def _look(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            page = self._guest.get("/metrics")
            if page and page not in self.pages[-1:]:
                self.pages.append(page)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._end.set()
        self._thread.join()

    def fallen(self) -> list[Fall]:
        """The counters that fell from one page to the next."""
        return fallen(*self.pages)

    def gaps(self) -> list[float]:
        """The seconds between one reading of the devices and the next."""
        read = [
            value(page, "gpuwatch_source_last_success_timestamp_seconds", source="nvidia") for page in self.pages
        ]
        times = [each for each in read if each is not None]
        return [later - earlier for earlier, later in pairwise(times)]


@contextmanager
def watched(guest: Guest) -> Iterator[Watch]:
    """Looks at the agent of a guest for as long as the block takes."""
    watch = Watch(guest)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
