"""Hypothesis strategies: what agents count over several lives, and what they deliver of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from gpuwatch.usage.base import Delivery
from tests.ledger.deliveries import T0, declared, delivery, progress, row, run_started

_COUNTERS = ("held_seconds", "working", "counter")


@dataclass
class Life:
    """An agent as far as the ledger sees it: counters that grow, are restored, or begin anew."""

    node: str
    cluster: str
    epoch: int = 0
    now: float = float(T0)
    seq: int = 0
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    saved: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    journal: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def grow(self, job: str, device: str, amount: float) -> None:
        """The job holds the device a while longer; a closed row is left alone."""
        self.now += 1
        known = self.rows.get((job, device), {"amount": 0.0, "open": True, "last_seen": self.now})
        if known["open"]:
            self.rows[job, device] = {"amount": known["amount"] + amount, "open": True, "last_seen": self.now}

    def close(self, job: str) -> None:
        """The job ends on this node."""
        for key, known in self.rows.items():
            if key[0] == job:
                self.rows[key] = {**known, "open": False}

    def save(self) -> None:
        """The state goes to disk."""
        self.saved = dict(self.rows)

    def crash(self) -> None:
        """The agent comes back with what it had saved: counters are lower than what it delivered."""
        self.now += 30
        self.rows = dict(self.saved)

    def lose_state(self) -> None:
        """The agent comes back with nothing: a new epoch."""
        self.now += 30
        self.epoch += 1
        self.rows, self.saved = {}, {}

    def say(self, job: str, step: float) -> None:
        """The job declares and reports progress."""
        self.now += 1
        self.seq += 2
        self.journal.append(declared(f"device-hours={step + 1}", job, seq=self.seq, time=self.now))
        self.events.append(progress(step, 100, job, seq=self.seq + 1, time=self.now, start_step=step % 7))
        self.events.append(run_started(job, f"name-{step:g}", time=self.now))

    def deliver(self) -> Delivery:
        """Everything the agent has."""
        rows = [self._row(*key, known) for key, known in self.rows.items()]
        return delivery(
            rows, list(self.journal), list(self.events), cluster=self.cluster, node=self.node,
            epoch=f"{self.node}-{self.epoch:02x}", seq=self.seq, now=self.now,
        )  # fmt: skip

    def _row(self, job: str, device: str, known: dict[str, Any]) -> dict[str, Any]:
        amount = known["amount"]
        return row(
            job, uuid=device, open=known["open"], last_seen=known["last_seen"], held_seconds=amount,
            busy_seconds=None, memory_byte_seconds=None, state_seconds={"working": amount},
            energy_joules={"counter": amount * 400} if amount > 2 else {}, throttled_seconds={},
            first_working=T0 + 5.0 - min(amount, 4.0) if amount else None, energy_gap_seconds=amount / 3,
            last_in_state={"working": known["last_seen"]} if amount else {},
        )  # fmt: skip


_jobs = st.sampled_from(("run-1", "run-2"))
_devices = st.sampled_from(("GPU-0", "GPU-1"))
_amounts = st.integers(0, 40).map(lambda quarter: quarter / 4)

_step = st.one_of(
    st.tuples(st.just("grow"), _jobs, _devices, _amounts),
    st.tuples(st.just("grow"), _jobs, _devices, _amounts),
    st.tuples(st.just("close"), _jobs),
    st.tuples(st.just("save")),
    st.tuples(st.just("lose_state")),
    st.tuples(st.just("say"), _jobs, st.integers(0, 100)),
    st.tuples(st.just("deliver")),
    st.tuples(st.just("deliver")),
)
_crash = st.tuples(st.just("crash"))


@st.composite
def streams(draw: st.DrawFn, cluster: str = "default", crashes: bool = True) -> list[list[Delivery]]:
    """What each of two nodes delivers, in order; the last delivery of each epoch has all of it."""
    step = st.one_of(_step, _crash) if crashes else _step
    return [_stream(node, cluster, draw(st.lists(step, max_size=14))) for node in ("gw0", "gw1")]


def _stream(node: str, cluster: str, steps: list[tuple[Any, ...]]) -> list[Delivery]:
    life = Life(node, cluster)
    delivered = []
    for name, *arguments in steps:
        if name == "lose_state":
            delivered.append(life.deliver())
        done = getattr(life, name)(*arguments)
        if done is not None:
            delivered.append(done)
    return [*delivered, life.deliver()]
