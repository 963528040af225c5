"""No measurement at all: hours, budgets and forecasts come from the batch system alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from gpuwatch.model import EMPTY, Probe, Site
from gpuwatch.usage.base import Asking, Delivery, Failure, Reached


class NoUsage:
    """Has nothing to tell; what jobs are charged is what the batch system allocated."""

    class Settings(BaseModel):
        """The table `[usage.none]`, which has no keys."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, settings: Settings, site: Site) -> None:
        pass

    def collect(self, asking: Asking) -> Iterator[Delivery | Reached | Failure]:
        """Nothing."""
        return iter(())

    def acknowledge(self, delivery: Delivery) -> None:
        """There is nothing to acknowledge."""

    def figures(self) -> Mapping[str, float]:
        """None."""
        return EMPTY

    def check(self, now: float) -> Sequence[Probe]:
        """Say what there will be without measurements."""
        return [
            Probe("no usage is read", True, "hours and budgets are the batch system's; no energy, no idle time")
        ]
