"""How far a figure of the ledger can be trusted: how it was come by, what time it covers, what is missing. Pure.

A figure that covers less than nine tenths of what is charged is partial, and says what is missing and why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gpuwatch.ledger.device_times import DeviceTime, by_device
from gpuwatch.ledger.jobs import Campaign, Job, Run
from gpuwatch.ledger.records import devices_of
from gpuwatch.model import EMPTY

PARTIAL_BELOW = 0.9
"""What part of the charged time a figure has to cover."""

DIFFERS_ABOVE = 0.01
"""By what part allocated and held time may differ."""

EDGE_SECONDS = 120.0
"""How long, per device, they may differ anyway: a batch system and an agent see begin and end at other moments,
and tell at other times of a job that still runs."""

Kind = Literal["device-hours", "energy", "states"]

Agents = Collection[tuple[str, str]]
"""The (cluster, node) pairs of which an agent ever said anything."""


class Gap(NamedTuple):
    """Something that is not in a figure: so many device-seconds at most (None: nobody knows), and why."""

    why: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Figure:
    """How one kind of figure was come by. `amounts` are by method: joules of energy, device-seconds of the others.

    `covered_seconds` of `charged_seconds` device-seconds are in it; `longest_gap` is the longest time on end, in
    seconds, that is not, None where nobody keeps it.
    """

    kind: Kind
    amounts: Mapping[str, float]
    covered_seconds: float
    charged_seconds: float
    longest_gap: float | None = None
    gaps: tuple[Gap, ...] = ()
    incomplete: bool = False
    """Whether charged time itself is missing, as nobody knows the devices."""

    @property
    def coverage(self) -> float | None:
        """Covered by charged, at most 1; None where nothing is charged."""
        return min(1.0, self.covered_seconds / self.charged_seconds) if self.charged_seconds > 0 else None

    @property
    def partial(self) -> bool:
        """Whether it covers too little to be shown as the whole."""
        return self.incomplete or (self.coverage is not None and self.coverage < PARTIAL_BELOW)


@dataclass(frozen=True, slots=True)
class Quality:
    """The figures of a scope, and how what was held compares with what was allocated to the same runs."""

    hours: Figure
    energy: Figure
    states: Figure
    allocated_seconds: float | None = None
    held_seconds: float | None = None
    devices: float = 1.0
    reasons: tuple[Gap, ...] = ()
    host_seconds: float | None = None
    """Time on nodes in which its part of their own energy was known; None where it never was."""
    node_seconds: float = 0.0
    """Time on nodes, however many devices it had there."""

    @property
    def host_coverage(self) -> float | None:
        """The part of its time on nodes in which its part of their energy was known."""
        if self.host_seconds is None or self.node_seconds <= 0:
            return None
        return min(1.0, self.host_seconds / self.node_seconds)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All of them."""
        return self.hours, self.energy, self.states

    @property
    def difference(self) -> float | None:
        """Held less allocated device-seconds, as a part of the allocated; None where that cannot be said."""
        if self.allocated_seconds is None or self.held_seconds is None or self.allocated_seconds < 1:
            return None
        return self.held_seconds / self.allocated_seconds - 1

    @property
    def differs(self) -> bool:
        """Whether they differ by more than the edges of a job explain."""
        if self.allocated_seconds is None or self.held_seconds is None:
            return False
        apart = abs(self.held_seconds - self.allocated_seconds)
        return apart > max(DIFFERS_ABOVE * self.allocated_seconds, EDGE_SECONDS * max(1.0, self.devices))


def quality_of(scope: Job | Campaign, agents: Agents | None = None, explain: bool = True) -> Quality:
    """The quality of a job's or a campaign's figures; without `agents` no node is known to have none.

    What is missing is looked for only where it is to be explained: that takes most of the time.
    """
    if isinstance(scope, Campaign):
        return added(quality_of(job, agents, explain) for job in scope.jobs)
    runs = scope.runs or (Run(scope.started, scope.last_seen, scope.usage),)
    unseen = tuple(_unseen(scope, runs, agents)) if explain else ()
    unknown = _unknown_devices(scope, runs)
    devices = [each for run in runs for each in by_device(run.lines)] if explain else []
    figures = _figures(scope, runs, devices, unknown, unseen)
    allocated = [run for run in runs if run.allocated_seconds is not None]
    seen = any(run.usage.held_seconds > 0 for run in allocated)
    return Quality(
        *figures,
        sum(run.allocated_seconds or 0.0 for run in allocated) if allocated else None,
        sum(run.usage.held_seconds - run.held_besides_seconds for run in allocated) if seen else None,
        (devices_of(scope.record) if scope.record is not None else None) or 1.0,
        unseen,
        scope.usage.host_energy_measured_seconds,
        _on_nodes(scope, runs),
    )


def _on_nodes(job: Job, runs: Iterable[Run]) -> float:
    """From first to last sight, added up over nodes; for all of its nodes alike where no agent saw which."""
    seen: dict[tuple[str, int], float] = {}
    for line in (line for run in runs for line in run.lines):
        key = line.node, line.started
        seen[key] = max(seen.get(key, 0.0), line.last_seen - line.started)
    return sum(seen.values()) if seen else job.wall_seconds * max(1, len(job.nodes))


def _figures(
    job: Job, runs: Sequence[Run], devices: Sequence[DeviceTime], unknown: tuple[Gap, ...], unseen: tuple[Gap, ...]
) -> tuple[Figure, Figure, Figure]:
    usage, charged = job.usage, job.device_seconds
    known = sum(seconds for state, seconds in usage.state_seconds.items() if state != "unknown")
    incomplete, gaps = bool(unknown), (*unknown, *unseen)
    return (
        Figure("device-hours", _hours(runs), charged, charged, None, unknown, incomplete),
        Figure(
            "energy",
            {str(method): joules for method, joules in usage.energy_joules.items()},
            max(0.0, usage.held_seconds - usage.energy_unmeasured_seconds),
            charged,
            usage.energy_gap_seconds or None,
            (*gaps, *_unmeasured(devices, _without_energy)),
            incomplete,
        ),
        Figure(
            "states",
            {"measured": known} if known else EMPTY,
            known,
            charged,
            None,
            (*gaps, *_unmeasured(devices, _without_state)),
            incomplete,
        ),
    )


def _unknown_devices(job: Job, runs: Iterable[Run]) -> tuple[Gap, ...]:
    told = job.record is not None
    if told and any(run.allocated_seconds is None and not run.usage.held_seconds for run in runs):
        return (Gap("the batch system does not say how many devices it had", None),)
    return ()


def _hours(runs: Iterable[Run]) -> Mapping[str, float]:
    """Charged device-seconds by whose word they are."""
    found: dict[str, float] = defaultdict(float)
    for run in runs:
        found["allocated"] += run.allocated_seconds or 0.0
        found["held"] += run.usage.held_seconds if run.allocated_seconds is None else run.held_besides_seconds
    return {name: seconds for name, seconds in found.items() if seconds > 0}


def _unseen(job: Job, runs: Iterable[Run], agents: Agents | None) -> Iterator[Gap]:
    """Charged time that no agent saw."""
    missing = sum(max(0.0, run.device_seconds - run.usage.held_seconds) for run in runs)
    if missing <= DIFFERS_ABOVE * job.device_seconds:
        return
    seen = {each.node for run in runs for each in run.lines}
    blind = [node for node in job.nodes if node not in seen]
    without = [node for node in blind if agents is not None and (job.cluster, node) not in agents]
    asleep = [node for node in blind if node not in without]
    if without:
        yield Gap(f"{_nodes(without)} {'has' if len(without) == 1 else 'have'} no agent", missing)
    if asleep:
        yield Gap(f"no agent saw it on {_listed(asleep)}", missing)
    if not blind:
        yield Gap("agents were away, or did not see all of its devices", missing)


def _nodes(names: list[str]) -> str:
    return f"node {names[0]}" if len(names) == 1 else f"nodes {_listed(names)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


_LISTED = 4


def _unmeasured(devices: Iterable[DeviceTime], missing: Callable[[DeviceTime], float]) -> Iterator[Gap]:
    """Held time without a measurement, by node and by why."""
    found: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    for each in devices:
        seconds = missing(each)
        if seconds > DIFFERS_ABOVE * each.usage.held_seconds:
            found[each.node, _why(each, seconds)].append((each.uuid, seconds))
    for (node, why), those in sorted(found.items(), key=lambda item: -sum(each for _, each in item[1])):
        uuids = sorted({uuid for uuid, _ in those})
        name = f"device {uuids[0]}" if len(uuids) == 1 else f"{len(uuids)} devices"
        yield Gap(why.format(f"{name} on {node}" if node else name), sum(seconds for _, seconds in those))


def _without_energy(each: DeviceTime) -> float:
    return each.usage.energy_unmeasured_seconds


def _without_state(each: DeviceTime) -> float:
    return each.usage.state_seconds.get("unknown", 0.0)


def _why(each: DeviceTime, seconds: float) -> str:
    held, unknown = each.usage.held_seconds, _without_state(each)
    if unknown >= (1 - DIFFERS_ABOVE) * held:
        return "no measurement of {}"
    if unknown >= seconds / 2:
        return "the agent was away, or could not read {}"
    if seconds >= (1 - DIFFERS_ABOVE) * held:
        return "no energy to be read of {}"
    return "the energy of {} could not be read all of the time"


def added(qualities: Iterable[Quality]) -> Quality:
    """The quality of several scopes' figures together; what is missing most comes first."""
    found = list(qualities)
    comparable = [each for each in found if each.held_seconds is not None]
    return Quality(
        _added([each.hours for each in found], "device-hours"),
        _added([each.energy for each in found], "energy"),
        _added([each.states for each in found], "states"),
        sum(each.allocated_seconds or 0.0 for each in comparable) if comparable else None,
        sum(each.held_seconds or 0.0 for each in comparable) if comparable else None,
        sum(each.devices for each in comparable) or 1.0,
        _merged(gap for each in found for gap in each.reasons),
        sum(host) if (host := [each.host_seconds for each in found if each.host_seconds is not None]) else None,
        sum(each.node_seconds for each in found),
    )


def _added(figures: list[Figure], kind: Kind) -> Figure:
    amounts: dict[str, float] = defaultdict(float)
    for figure in figures:
        for method, amount in figure.amounts.items():
            amounts[method] += amount
    known = [each.longest_gap for each in figures if each.longest_gap is not None]
    return Figure(
        kind,
        dict(amounts),
        # What one job was seen to hold beyond its charge does not cover another's.
        sum(min(each.covered_seconds, each.charged_seconds) for each in figures),
        sum(each.charged_seconds for each in figures),
        max(known, default=None),
        _merged(gap for each in figures for gap in each.gaps),
        any(each.incomplete for each in figures),
    )


def _merged(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    sums: dict[str, float | None] = {}
    for gap in gaps:
        before = sums.get(gap.why)
        sums[gap.why] = gap.seconds if before is None else before + (gap.seconds or 0.0)
    return tuple(sorted((Gap(*each) for each in sums.items()), key=lambda gap: (-(gap.seconds or 0.0), gap.why)))


def partial_text(figure: Figure) -> str:
    """`partial: 84 % of the charged time measured; node gw2 has no agent`; empty for a figure that is whole."""
    if not figure.partial:
        return ""
    covered = "" if figure.coverage is None else f"{_percent(figure.coverage)} of the charged time measured"
    return "partial: " + "; ".join(each for each in (covered, *(gap.why for gap in figure.gaps[:_LISTED])) if each)


def difference_text(quality: Quality) -> str:
    """`held less than allocated: 84 % of it; node gw2 has no agent`; empty where they do not differ."""
    difference = quality.difference
    if not quality.differs:
        return ""
    if difference is None:
        return "held without an allocation"
    if difference > 0:
        return f"held more than allocated: {_percent(1 + difference)} of it"
    why = (gap.why for gap in quality.reasons[:_LISTED])
    return "; ".join((f"held less than allocated: {_percent(1 + difference)} of it", *why))


def _percent(ratio: float) -> str:
    """Whole per cent, rounded away from 100: what is partial never reads as whole."""
    shown = round(100 * ratio)
    return f"{shown if shown != 100 or ratio == 1 else f'{100 * ratio:.1f}'} %"


def quality_document(quality: Quality) -> dict[str, Any]:
    """For JSON: seconds, joules and ratios; null is what nobody knows."""
    return {
        "figures": {each.kind: _figure_document(each) for each in quality.figures},
        "allocated_device_seconds": quality.allocated_seconds,
        "held_device_seconds": quality.held_seconds,
        "allocation_difference_ratio": quality.difference,
        "allocation_differs": quality.differs,
        "allocation_difference": difference_text(quality) or None,
        "allocation_missing": _gap_documents(quality.reasons),
        "host_energy_measured_seconds": quality.host_seconds,
        "node_seconds": quality.node_seconds,
        "host_energy_coverage_ratio": quality.host_coverage,
    }


def _figure_document(figure: Figure) -> dict[str, Any]:
    return {
        "unit": "J" if figure.kind == "energy" else "s",
        "by_method": dict(figure.amounts),
        "covered_device_seconds": figure.covered_seconds,
        "charged_device_seconds": figure.charged_seconds,
        "coverage_ratio": figure.coverage,
        "partial": figure.partial,
        "longest_gap_seconds": figure.longest_gap,
        "missing": _gap_documents(figure.gaps),
    }


def _gap_documents(gaps: Iterable[Gap]) -> list[dict[str, Any]]:
    return [{"why": gap.why, "device_seconds": gap.seconds} for gap in gaps]
