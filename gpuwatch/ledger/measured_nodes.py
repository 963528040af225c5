"""Which nodes are measured: what was charged on each, what of it an agent saw, when that was last heard. Pure.

What a job is charged on nodes whose agents did not see it is dealt out evenly over those nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gpuwatch.ledger.jobs import Job, Run

Node = tuple[str, str]
"""A cluster and a node."""


@dataclass(slots=True)
class NodeMeasured:
    """A node; `heard` is when its agent last said anything, None: never. Device-seconds.

    `unseen_seconds` were charged and no agent saw them, `unread_seconds` were seen and could not be measured.
    """

    cluster: str
    node: str
    heard: float | None = None
    seen_seconds: float = 0.0
    unseen_seconds: float = 0.0
    unread_seconds: float = 0.0
    jobs: set[str] = field(default_factory=set)

    @property
    def unmeasured_seconds(self) -> float:
        """What is not measured."""
        return self.unseen_seconds + self.unread_seconds

    @property
    def coverage(self) -> float | None:
        """What part of what was charged is measured; None where nothing was."""
        charged = self.seen_seconds + self.unseen_seconds
        return 1.0 - min(1.0, self.unmeasured_seconds / charged) if charged > 0 else None


def measured_nodes(jobs: Iterable[Job], heard: Mapping[Node, float]) -> tuple[NodeMeasured, ...]:
    """Every node that is known of, the one with the most unmeasured first."""
    found: dict[Node, NodeMeasured] = {key: NodeMeasured(*key, time) for key, time in heard.items()}
    for job in jobs:
        for run in job.runs:
            _add(job, run, found, heard)
    return tuple(sorted(found.values(), key=lambda each: (-each.unmeasured_seconds, each.cluster, each.node)))


def _add(job: Job, run: Run, found: dict[Node, NodeMeasured], heard: Mapping[Node, float]) -> None:
    seen: dict[str, float] = defaultdict(float)
    for line in run.lines:
        node = _node(job, line.node, found, heard)
        seen[line.node] += line.usage.held_seconds
        node.seen_seconds += line.usage.held_seconds
        node.unread_seconds += line.usage.state_seconds.get("unknown", 0.0)
        node.jobs.add(job.display)
    blind = [node for node in _nodes_of(job, run) if node not in seen]
    missing = max(0.0, run.device_seconds - run.usage.held_seconds)
    for name in blind:
        node = _node(job, name, found, heard)
        node.unseen_seconds += missing / len(blind)
        node.jobs.add(job.display)


def _node(job: Job, name: str, found: dict[Node, NodeMeasured], heard: Mapping[Node, float]) -> NodeMeasured:
    key = job.cluster, name
    return found.setdefault(key, NodeMeasured(*key, heard.get(key)))


def _nodes_of(job: Job, run: Run) -> tuple[str, ...]:
    """The nodes of a run, by the batch system's word; those of the job where it does not tell runs apart."""
    told = {
        node
        for part in job.parts
        if part.attempt.record is not None and run.started <= part.attempt.started <= run.last_seen
        for node in part.attempt.record.facts.nodes
    }
    return tuple(sorted(told)) or job.nodes
