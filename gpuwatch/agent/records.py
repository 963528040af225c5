"""What accounting must hear of: every change gets its number here, and what is over goes to the journal."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gpuwatch.agent.journal import Journal
from gpuwatch.agent.state import Abandoned
from gpuwatch.errors import Unavailable
from gpuwatch.meter.documents import row_facts
from gpuwatch.model import RowKey

log = logging.getLogger("gpuwatch.agent")

AGAIN_SECONDS = 120.0
LIMIT_AGAIN = 2000


class Records:
    """Sequence numbers and journal of one epoch. Not thread-safe: the agent's lock covers it."""

    def __init__(self, epoch: str, seq: int, journal: Journal) -> None:
        self.epoch = epoch
        self.journal = journal
        self.urgent = False
        """Whether something was kept that the saved state must follow soon."""
        self.seq = max(seq, journal.last_seq)
        # Whoever was told what a life noted last may have been killed together with it.
        self._recent = list(journal.latest(LIMIT_AGAIN, AGAIN_SECONDS))

    def next_seq(self) -> int:
        """A number above all before it."""
        self.seq += 1
        return self.seq

    def keep(self, kind: str, wall: float, facts: Mapping[str, Any]) -> None:
        """Put a `row`, `declaration` or `event` into the journal, with a number unless it has one."""
        self.urgent = True
        seq = facts.get("seq") or self.next_seq()
        entry = {"type": kind, "epoch": self.epoch, "time": wall, **facts, "seq": seq}
        self.journal.append(entry)
        if kind != "row" or entry["epoch"] != self.epoch:
            # A row of this epoch is in snapshots.
            self._recent.append(entry)

    def recent(self) -> tuple[Mapping[str, Any], ...]:
        """What was declared and what happened since this was last asked for; at first that of a life before."""
        recent, self._recent = tuple(self._recent), []
        return recent

    def note(self, wall: float, kind: str, **facts: Any) -> None:
        """Something happened."""
        self.keep("event", wall, {"kind": kind, **facts})

    def ended_after(self, seq: int) -> frozenset[RowKey]:
        """Rows of this epoch that came into the journal after that number, when a state of then had them open."""
        return frozenset(
            RowKey(entry["job_id"], entry["started"], entry["uuid"])
            for entry in self.journal.entries(seq, self.seq)
            if entry["type"] == "row" and entry["epoch"] == self.epoch
        )

    def abandon(self, abandoned: Iterable[Abandoned], wall: float) -> bool:
        """Keep the rows of epochs that will not go on, as they were saved; whether they are on the disk now."""
        for each in abandoned:
            for row in each.rows:
                over = replace(row, open=False, seq=self.next_seq())
                self.keep(
                    "row", wall, row_facts(over, each.models.get(row.key.device, "")) | {"epoch": each.epoch}
                )
        try:
            self.journal.sync()
        except Unavailable as exc:
            log.error("%s", exc)
            return False
        return self.journal.flush()
