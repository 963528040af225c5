"""What accounting must hear of: every change gets its number here, and what is over goes to the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuwatch.agent.journal import Journal


class Records:
    """Sequence numbers and journal of one epoch. Not thread-safe: the agent's lock covers it."""

    def __init__(self, epoch: str, seq: int, journal: Journal) -> None:
        self.epoch = epoch
        self.journal = journal
        self.urgent = False
        """Whether something was kept that the saved state must follow soon."""
        self.seq = max(seq, journal.last_seq)

    def next_seq(self) -> int:
        """A number above all before it."""
        self.seq += 1
        return self.seq

    def keep(self, kind: str, wall: float, facts: Mapping[str, Any]) -> None:
        """Put a `row`, `declaration` or `event` into the journal, with a number unless it has one."""
        self.urgent = True
        seq = facts.get("seq") or self.next_seq()
        self.journal.append({"type": kind, "epoch": self.epoch, "time": wall, **facts, "seq": seq}, wall)

    def note(self, wall: float, kind: str, **facts: Any) -> None:
        """Something happened."""
        self.keep("event", wall, {"kind": kind, **facts})
