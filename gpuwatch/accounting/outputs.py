"""Where accounting passes on what it forecasts, beside its own /metrics."""

from __future__ import annotations

from collections.abc import Mapping

from gpuwatch import config
from gpuwatch.accounting.accountant import Report
from gpuwatch.errors import ConfigurationError
from gpuwatch.model import SinkHealth
from gpuwatch.settings import Settings
from gpuwatch.sinks.base import ForecastSink


class Outputs:
    """The sinks of `accounting.sinks`. Raises `ConfigurationError` for one that takes no forecasts."""

    def __init__(self, sinks: Mapping[str, ForecastSink], cluster: str) -> None:
        strangers = [name for name, sink in sinks.items() if not hasattr(sink, "take_forecasts")]
        if strangers:
            raise ConfigurationError([f"accounting.sinks: {name!r} takes no forecasts" for name in strangers])
        self._sinks = sinks
        self._cluster = cluster

    def start(self) -> None:
        """Begin; raises what a sink raises, with those begun before closed."""
        try:
            for sink in self._sinks.values():
                sink.start()
        except BaseException:
            self.close()
            raise

    def take(self, report: Report) -> None:
        """Pass on what a pass forecast, unless it failed or another accounting leads."""
        if report.outcome in ("ok", "partial"):
            for sink in self._sinks.values():
                sink.take_forecasts(report.forecasts, self._cluster, report.time)

    def health(self) -> Mapping[str, SinkHealth]:
        """What became of it, by the value of the label `sink`."""
        return {name: each for sink in self._sinks.values() for name, each in sink.health().items()}

    def close(self) -> None:
        """Flush what is cheap to flush."""
        for sink in self._sinks.values():
            sink.close()


def outputs_of(settings: Settings) -> Outputs:
    """The sinks that are configured, with a spool of their own beside that of an agent on the same host."""
    accounting = settings.accounting
    places = {f"sinks.{name}.spool_directory": str(accounting.spool_directory) for name in accounting.sinks}
    own = config.with_overrides(settings, places)
    return Outputs({name: config.build("sinks", name, own) for name in accounting.sinks}, settings.site.cluster)
