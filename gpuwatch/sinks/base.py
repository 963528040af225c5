"""The contract of a sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gpuwatch.model import Forecast, Probe, SinkHealth, Snapshot


class Sink(Protocol):
    """Takes snapshots. The constructor takes `(settings, site)` as a device source's does, and opens nothing.

    `take` and `health` are called in the agent's main loop, after and before every tick: they do no I/O, return
    at once and do not raise. What takes time is done in threads of the sink's own.
    """

    def start(self) -> None:
        """Begin; before the first `take`. Raises `errors.GpuwatchError` where the agent cannot run like this."""
        ...

    def take(self, snapshot: Snapshot) -> None:
        """The newest snapshot."""
        ...

    def health(self) -> Mapping[str, SinkHealth]:
        """What became of what it was given, by the value of the label `sink`: its name, `name:part` for parts."""
        ...

    def close(self) -> None:
        """Flush what is cheap to flush, within a second. Also called where `start` was not."""
        ...

    def check(self, now: float) -> Sequence[Probe]:
        """Try out where it delivers to, leaving nothing behind there; `now` is in Unix seconds.

        Asked by `gpuwatch check --probe` alone, of a sink that was not started. Does not raise.
        """
        ...


class ForecastSink(Sink, Protocol):
    """A sink that accounting can have as well (`accounting.sinks`); there it is given no snapshots."""

    def take_forecasts(self, forecasts: Sequence[Forecast], cluster: str, now: float) -> None:
        """What a pass at `now`, Unix seconds, forecast. As `take` in all else."""
        ...
