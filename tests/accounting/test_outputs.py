"""What accounting passes on of its forecasts, and to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from gpuwatch.accounting.accountant import Outcome, Report
from gpuwatch.accounting.outputs import Outputs
from gpuwatch.errors import ConfigurationError, Locked
from gpuwatch.model import Forecast, Probe, Scope, SinkHealth, Snapshot

FORECAST = Forecast(Scope("job", "run-1"), "device-hours", 100.0, {0.5: 400.0}, None, "used / progress", 60.0)


@dataclass
class FakeSink:
    """Keeps what it is given."""

    name: str = "fake"
    refuses: Exception | None = None
    taken: list[tuple[Sequence[Forecast], str, float]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.calls.append("start")
        if self.refuses is not None:
            raise self.refuses

    def take(self, snapshot: Snapshot) -> None:
        raise AssertionError("accounting has no snapshots")

    def take_forecasts(self, forecasts: Sequence[Forecast], cluster: str, now: float) -> None:
        self.taken.append((forecasts, cluster, now))

    def health(self) -> Mapping[str, SinkHealth]:
        return {self.name: SinkHealth(True, 1.0, 1.0)}

    def close(self) -> None:
        self.calls.append("close")

    def check(self, now: float) -> Sequence[Probe]:
        return ()


@pytest.mark.parametrize(("outcome", "told"), [("ok", 1), ("partial", 1), ("failed", 0), ("standby", 0)])
def test_only_a_pass_that_forecast_something_is_passed_on(outcome: Outcome, told: int) -> None:
    """What is shown again after a failure was passed on before, and who stands by says nothing."""
    sink = FakeSink()

    Outputs({"fake": sink}, "hydra").take(Report(60.0, outcome, forecasts=(FORECAST,)))

    assert [((FORECAST,), "hydra", 60.0)] * told == sink.taken


def test_health_is_that_of_every_sink() -> None:
    """By the names they give."""
    sinks = {name: FakeSink(f"{name}:a") for name in ("one", "two")}

    assert {f"{name}:a": SinkHealth(True, 1.0, 1.0) for name in sinks} == Outputs(sinks, "hydra").health()


def test_a_sink_that_cannot_begin_leaves_none_running() -> None:
    """The process ends with what it raised."""
    good, bad = FakeSink(), FakeSink(refuses=Locked("spool: in use"))

    with pytest.raises(Locked):
        Outputs({"good": good, "bad": bad}, "hydra").start()

    assert [["start", "close"], ["start", "close"]] == [good.calls, bad.calls]


def test_a_sink_that_takes_no_forecasts_is_a_mistake() -> None:
    """It would be a setting that does nothing."""
    with pytest.raises(ConfigurationError, match="'prometheus' takes no forecasts"):
        Outputs({"prometheus": object()}, "hydra")  # type: ignore[dict-item]
