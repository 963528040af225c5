"""From the series that a window's queries gave to deliveries as agents make them. Pure.

Counters carry the epoch of their agent, and `gpuwatch_agent_info` says which node that is. What carries none
(shares, devices, declarations, progress) is of the agent at the same target, or else of the job's rows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gpuwatch import declaration
from gpuwatch.errors import DeclarationError
from gpuwatch.usage.base import Delivery
from gpuwatch.usage.promql_questions import COUNTERS, Found, Lives

UNNAMED = "default"
"""What agents call their cluster where nobody named it."""

GONE_SECONDS = 120.0
"""A row that its agent has not shown for this long is closed: agents show open rows always."""

BEGUN_SECONDS = 30.0
"""Progress that is first seen so shortly before a window may not have been there when the one before was read."""

_SEQUENCES = 2**52
_BOUNDS = ("low", "likely", "high")


class Agent(NamedTuple):
    """A life of a node's agent, and when it was last heard."""

    node: str
    epoch: str
    seen: float


class Job(NamedTuple):
    """A job on a node, whose name is '' where it cannot be told."""

    node: str
    job_id: str
    started: int


@dataclass(slots=True)
class Row:
    """The counters of a job on a device in one epoch."""

    seen: float = 0.0
    counters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Share:
    """The share that a job was last seen to hold."""

    seen: float
    share: float = 0.0
    basis: str = ""


Target = tuple[str, str]
RowKey = tuple[str, int, str]
Rows = dict[tuple[str, str], dict[RowKey, Row]]


class Agents:
    """Which node a series is of. `foreign` are the epochs of other clusters."""

    def __init__(self, lives: Lives, cluster: str, any_name: bool) -> None:
        self.by_node: dict[tuple[str, str], Agent] = {}
        self.foreign: set[str] = set()
        self._at: dict[tuple[Target, str], str] = {}
        self._nodes: dict[str, set[str]] = defaultdict(set)
        self._latest: dict[Target, Agent] = {}
        self._shared: set[Target] = set()
        self._last: dict[str, Agent] = {}
        for labels, seen in lives.agents:
            agent = Agent(labels.get("nodename", ""), labels.get("epoch", ""), seen)
            if not agent.node or not agent.epoch:
                continue
            if _is_ours(labels, cluster, any_name, lives.ours):
                self._add(agent, _target(labels))
            else:
                self.foreign.add(agent.epoch)
        self.foreign -= self._nodes.keys()
        self._overfull = {self.at(labels) for labels, _ in lives.dropped}

    def _add(self, agent: Agent, target: Target) -> None:
        key = agent.node, agent.epoch
        self.by_node[key] = max(agent, self.by_node.get(key, agent), key=lambda each: each.seen)
        self._at[target, agent.epoch] = agent.node
        self._nodes[agent.epoch].add(agent.node)
        self._last[agent.node] = max(agent, self._last.get(agent.node, agent), key=lambda each: each.seen)
        latest = self._latest.setdefault(target, agent)
        if latest.node != agent.node:
            self._shared.add(target)
        if agent.seen > latest.seen:
            self._latest[target] = agent

    def node_of(self, labels: Mapping[str, str]) -> str | None:
        """The node of a series that carries its epoch; None where nobody says it, or two do."""
        epoch = labels.get("epoch", "")
        nodes = self._nodes.get(epoch, set())
        return self._at.get((_target(labels), epoch)) or (next(iter(nodes)) if len(nodes) == 1 else None)

    def at(self, labels: Mapping[str, str]) -> str:
        """The node of a series that carries none; '' where several answer at its target."""
        target = _target(labels)
        return "" if target in self._shared or target not in self._latest else self._latest[target].node

    def latest(self, node: str) -> Agent:
        """The last life of a node's agent that was heard."""
        return self._last[node]

    def heard(self) -> Mapping[str, float]:
        """When each node was last heard, whichever life of its agent that was."""
        return {node: agent.seen for node, agent in self._last.items()}

    def is_open(self, agent: Agent, row_seen: float) -> bool:
        """Whether a row that was last shown then may still grow: closing it is final, and open ones are shown.

        One of an earlier life of the agent is left open; the ledger knows that nobody is there to add to it.
        """
        return agent.seen - row_seen <= GONE_SECONDS or agent.node in self._overfull


def _is_ours(labels: Mapping[str, str], cluster: str, any_name: bool, ours: frozenset[str] | None) -> bool:
    if ours is not None:
        return labels.get("epoch") in ours
    named = labels.get("exported_cluster") or labels.get("cluster", "")
    return named == cluster or (any_name and named == UNNAMED)


def _target(labels: Mapping[str, str]) -> Target:
    return labels.get("job", ""), labels.get("instance", "")


def _started(labels: Mapping[str, str]) -> int | None:
    text = labels.get("started", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


class Assembled(NamedTuple):
    """A window's deliveries, the targets whose rows are of nobody knows which node, and which was heard when."""

    deliveries: list[Delivery]
    unknown: list[str]
    heard: Mapping[str, float]


def assemble(
    found: Found, cluster: str, origin: str, any_name: bool, begin: float, since: float | None
) -> Assembled:
    """The deliveries of agents heard after `begin`, by node and life, the earlier life first.

    `any_name`: the operator's matchers say what is ours, also where agents call their cluster `default`. `since`
    is how far progress was read before (Unix seconds), None where it never was.
    """
    agents = Agents(found.lives, cluster, any_name)
    rows, unknown = _rows(found, agents)
    shares, models = _shares(found, agents), _models(found, agents)
    holders = {(node, key[0], key[1]) for (node, _), some in rows.items() for key in some}
    said = _Said(agents, holders)
    entries = said.by_agent(_declarations(found))
    events = said.by_agent(_progress(found, since))
    deliveries = [
        Delivery(
            cluster, agent.node, agent.epoch, None, agent.seen,
            [
                _document(agent, key, row, shares, models) | {"open": agents.is_open(agent, row.seen)}
                for key, row in sorted(rows.get((agent.node, agent.epoch), {}).items())
            ],
            entries.get(agent, []), events.get(agent, []), f"{origin} {agent.node}",
        )
        for agent in sorted(agents.by_node.values(), key=lambda each: (each.node, each.seen))
        if agent.seen > begin
    ]  # fmt: skip
    return Assembled(deliveries, unknown, agents.heard())


def _rows(found: Found, agents: Agents) -> tuple[Rows, list[str]]:
    rows: Rows = defaultdict(dict)
    unknown: set[str] = set()
    for name, metric in COUNTERS:
        for labels, value in found.counters.get(name, ()):
            node, started = agents.node_of(labels), _started(labels)
            if node is None and labels.get("epoch") not in agents.foreign:
                unknown.add(labels.get("instance") or labels.get("epoch", ""))
            if node is None or started is None:
                continue
            key = labels.get("job_id", ""), started, labels.get("uuid", "")
            counters = rows[node, labels["epoch"]].setdefault(key, Row()).counters
            into, label = counters, name
            if metric.labels:
                into, label = counters.setdefault(name, {}), labels.get(metric.labels[0], "")
            if label:
                into[label] = max(value, into.get(label, 0.0))
    for labels, seen in found.rows_at:
        node, started = agents.node_of(labels), _started(labels)
        key = labels.get("job_id", ""), started or 0, labels.get("uuid", "")
        row = rows.get((node or "", labels.get("epoch", "")), {}).get(key)
        if row is not None:
            row.seen = max(row.seen, seen)
    return rows, sorted(unknown)


Shares = Mapping[tuple[Job, str], Share]


def _shares(found: Found, agents: Agents) -> Shares:
    """The last share of each job and device; two bases are two series, of which the later counts.

    When a share was last seen is not known where it was for less than a step.
    """
    times = {frozenset(labels.items()): seen for labels, seen in found.shares_at}
    shares: dict[tuple[Job, str], Share] = {}
    for labels, value in found.shares:
        seen, started = times.get(frozenset(labels.items()), 0.0), _started(labels)
        if started is None:
            continue
        key = Job(agents.at(labels), labels.get("job_id", ""), started), labels.get("uuid", "")
        if key not in shares or shares[key].seen < seen:
            shares[key] = Share(seen, value, labels.get("basis", ""))
    return shares


def _models(found: Found, agents: Agents) -> Mapping[tuple[str, str], str]:
    """The model by node and device; the node is '' where it cannot be told, and the device then has to do."""
    models: dict[tuple[str, str], str] = {}
    for labels, _ in found.devices:
        models[agents.at(labels), labels.get("uuid", "")] = labels.get("model", "")
    return models


def _document(
    agent: Agent, key: RowKey, row: Row, shares: Shares, models: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """A row as the usage API has it; measures that /metrics has not are left out, as they are not known."""
    job_id, started, uuid = key
    held = row.counters.get("held_seconds", 0.0)
    job = Job(agent.node, job_id, started)
    share = shares.get((job, uuid)) or shares.get((job._replace(node=""), uuid)) or Share(0.0, 0.0, "holders")
    return {
        "job_id": job_id,
        "started": started,
        "uuid": uuid,
        "model": models.get((agent.node, uuid), models.get(("", uuid), "")),
        # It held no more than all of the device, so that it was there at least until then.
        "last_seen": max(started + held, share.seen),
        "share": share.share,
        "basis": share.basis,
        **row.counters,
    }


class Entry(NamedTuple):
    """What a job said, the labels of the series that says so, and since when it was seen."""

    labels: Mapping[str, str]
    document: dict[str, Any]


class _Said:
    """Finds whose delivery what a job said belongs to."""

    def __init__(self, agents: Agents, holders: Iterable[tuple[str, str, int]]) -> None:
        self._agents = agents
        self._nodes = {(job_id, started): node for node, job_id, started in sorted(holders, reverse=True)}

    def by_agent(self, entries: Iterable[Entry]) -> dict[Agent, list[dict[str, Any]]]:
        """The entries by the last life of their node's agent."""
        found: dict[Agent, list[dict[str, Any]]] = defaultdict(list)
        for labels, document in entries:
            node = self._agents.at(labels) or self._nodes.get((document["job_id"], document["started"]), "")
            if node:
                document["time"] = max(document["time"], float(document["started"]))
                found[self._agents.latest(node)].append(document)
        return found


def _declarations(found: Found) -> Iterator[Entry]:
    """One for each quantity; its number follows from what it says, so that it is the same each time."""
    since = {_identity(labels, "quantity"): time for labels, time in found.declared_since}
    bounds: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    labels_of: dict[tuple[str, ...], Mapping[str, str]] = {}
    for labels, value in found.declared:
        identity = _identity(labels, "quantity")
        labels_of[identity] = labels
        bounds[identity][labels.get("bound", "")] = value
    for identity, amounts in sorted(bounds.items()):
        labels = labels_of[identity]
        started, text = _started(labels), _declared_text(labels.get("quantity", ""), amounts)
        if started is None or text is None or identity not in since:
            continue
        yield Entry(
            labels,
            {
                "seq": _number(labels, text), "time": since[identity], "job_id": labels.get("job_id", ""),
                "started": started, "channel": "socket", "uid": None, "pid": None, "text": text,
            },
        )  # fmt: skip


def _declared_text(quantity: str, amounts: Mapping[str, float]) -> str | None:
    """What a job wrote, or the like of it; None of a cost, of which /metrics has no currency."""
    known = declaration.QUANTITIES.get(quantity)
    if known is None or not known.base or not amounts.keys() >= set(_BOUNDS):
        return None
    low, likely, high = (amounts[bound] for bound in _BOUNDS)
    try:
        text = declaration.format(
            declaration.Declaration(amounts=(declaration.Amount(quantity, low, likely, high, known.base),))
        )
        declaration.parse(text)
    except DeclarationError:
        return None
    return text


def _number(labels: Mapping[str, str], text: str) -> int:
    said = "\0".join((labels.get("job_id", ""), labels.get("started", ""), text))
    return _SEQUENCES + int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big") % _SEQUENCES


def _progress(found: Found, since: float | None) -> Iterator[Entry]:
    """Reports that changed in the window or began in it: one that stands still is not a new one each minute."""
    starts, seen, begun, changes = (
        {_identity(labels): value for labels, value in samples}
        for samples in (found.progress_start, found.progress_at, found.progress_since, found.progress_changes)
    )
    for labels, ratio in found.progress:
        identity, started = _identity(labels), _started(labels)
        if started is None or identity not in seen:
            continue
        new = since is None or begun.get(identity, 0.0) > since - BEGUN_SECONDS
        if new or changes.get(identity):
            yield Entry(
                labels,
                {
                    "time": seen[identity], "kind": "progress", "job_id": labels.get("job_id", ""),
                    "started": started, "step": ratio, "total": 1.0, "start_step": starts.get(identity, ratio),
                },
            )  # fmt: skip


def _identity(labels: Mapping[str, str], *more: str) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in ("job", "instance", "job_id", "started", *more))
