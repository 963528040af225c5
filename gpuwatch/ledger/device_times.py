"""A job's time on each of its devices, as agents counted it in one of its runs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from gpuwatch.ledger.facts import Line
from gpuwatch.model import Usage


@dataclass(frozen=True, slots=True)
class DeviceTime:
    """What a run held of one device, over all epochs of its node's agent, from `started` to `last_seen`.

    `live`: it is held still, as far as the agent said.
    """

    node: str
    uuid: str
    model: str
    share: float
    started: int
    last_seen: float
    usage: Usage
    live: bool

    @property
    def last_working(self) -> float | None:
        """When it was last seen working, Unix seconds; None where it never was, or the agent did not say."""
        return self.usage.last_in_state.get("working")

    @property
    def never_worked(self) -> bool:
        """Whether it was measured and never seen at work."""
        states = self.usage.state_seconds
        measured = states.get("idle", 0.0) + states.get("spinning", 0.0) > 0
        return measured and not states.get("working") and self.last_working is None


def by_device(lines: Iterable[Line]) -> tuple[DeviceTime, ...]:
    """The lines of one run, put together by node and device."""
    found: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for each in lines:
        found[each.node, each.uuid].append(each)
    return tuple(_device_time(*key, found[key]) for key in sorted(found))


def _device_time(node: str, uuid: str, lines: list[Line]) -> DeviceTime:
    latest = max(lines, key=lambda each: (each.last_seen, each.started, each.epoch))
    return DeviceTime(
        node,
        uuid,
        latest.model,
        latest.share,
        min(each.started for each in lines),
        latest.last_seen,
        lines[0].usage if len(lines) == 1 else sum((each.usage for each in lines), Usage()),
        latest.open,
    )
