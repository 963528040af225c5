"""Bytes over the XGMI links of an AMD card, from what its table counts for each link.

One link that is gone for a while, or whose count begins anew, must not make the sum of all fall and rise again:
that would be traffic that never was. Where all counts fall together, the driver was loaded anew, and so begins the
sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpuwatch.devices.amd_metrics import Table
from gpuwatch.meter.signals import Counter
from gpuwatch.model import EMPTY, Labels

MOST_BYTES = 1e12
"""In a second over one link in one direction, ten times what any carries."""


class LinkBytes:
    """Bytes since the driver was loaded, by direction, over all links of one card."""

    def __init__(self) -> None:
        self._links: dict[str, dict[int, Counter]] = {}
        self._bytes: dict[Labels, float] = {}

    def advance(self, now: float, table: Table | None) -> Mapping[Labels, float]:
        """The bytes up to now, `now` being monotonic; empty where the card does not say."""
        if table is None or table.xgmi_bytes is None:
            return EMPTY
        for direction, counts in table.xgmi_bytes.items():
            links = self._links.get(direction)
            if links is None or _began_anew(links, counts):
                links = self._links[direction] = {}
                self._bytes[direction] = sum(count for count in counts if count is not None)
            for place, count in enumerate(counts):
                if count is not None:
                    rise = links.setdefault(place, Counter()).rise(now, count, MOST_BYTES)
                    self._bytes[direction] += rise or 0.0
        return dict(self._bytes)


def _began_anew(links: Mapping[int, Counter], counts: Sequence[float | None]) -> bool:
    known = [
        (links[place].value, count) for place, count in enumerate(counts) if count is not None and place in links
    ]
    return any(before for before, _ in known) and all(count < before for before, count in known if before)
