"""How long the clocks of an AMD card were held down, by reason, from what its table says between two reads."""

from __future__ import annotations

from collections.abc import Mapping

from gpuwatch.devices.amd_metrics import Residencies, Table
from gpuwatch.model import EMPTY, Labels

STATUS_GAP_SECONDS = 5.0
RESIDENCY_GAP_SECONDS = 900.0
_TURNS_OVER = 2**32


class ThrottleClock:
    """Seconds by reason since the first read: as the card counts them, else by what held at each read."""

    def __init__(self) -> None:
        self._seconds: dict[Labels, float] = {}
        self._time: float | None = None
        self._before: Residencies | None = None

    def advance(self, now: float, table: Table | None) -> Mapping[Labels, float]:
        """The seconds up to now, `now` being monotonic; empty where the card does not say."""
        if table is None or (table.residencies is None and table.throttled is None):
            self._time = self._before = None
            return EMPTY
        elapsed = None if self._time is None else now - self._time
        self._time = now
        rises = self._from_status(elapsed, table) if table.residencies is None else self._from_residencies(
            elapsed, table.residencies
        )  # fmt: skip
        for reason, rise in rises.items():
            self._seconds[reason] = self._seconds.get(reason, 0.0) + rise
        return dict(self._seconds)

    def _from_status(self, elapsed: float | None, table: Table) -> dict[str, float]:
        seconds = elapsed if elapsed is not None and 0 <= elapsed <= STATUS_GAP_SECONDS else 0.0
        held = table.throttled or frozenset()
        return {reason: seconds if reason in held else 0.0 for reason in ("sw_power_cap", "hw_thermal", "other")}

    def _from_residencies(self, elapsed: float | None, now: Residencies) -> dict[str, float]:
        before, self._before = self._before, now
        if elapsed is None or before is None or not 0 <= elapsed <= RESIDENCY_GAP_SECONDS:
            return dict.fromkeys(now.by_reason, 0.0)
        cycles = (now.cycles - before.cycles) % _TURNS_OVER
        shares = {
            reason: _share(cycles, before.by_reason.get(reason), now.by_reason[reason]) for reason in now.by_reason
        }
        return {reason: elapsed * share for reason, share in shares.items()}


def _share(cycles: int, before: tuple[int, ...] | None, now: tuple[int, ...]) -> float:
    """The part of the cycles, by the count that rose most; 0 where a count is not of these cycles (a reset)."""
    if not cycles or before is None or len(before) != len(now):
        return 0.0
    most = max((each - then) % _TURNS_OVER for each, then in zip(now, before, strict=True))
    return most / cycles if most <= cycles else 0.0
