"""When the agent's state is saved, and what may be told of it: what is on the disk, so that nothing is taken back.

Pages show what is in memory, and wait a moment until that is on file, where a kill does not take it back.

Where the disk refuses for a minute, readers are told what is in memory after all, if the disk takes a mark that
says so: an agent that finds the mark begins a new epoch, and nothing is counted twice then either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gpuwatch.agent.records import Records
from gpuwatch.agent.sampler import Round, Worker
from gpuwatch.agent.state import SEQ_RESERVE, State, StateDirectory, encode
from gpuwatch.errors import Unavailable
from gpuwatch.model import JobRow

log = logging.getLogger("gpuwatch.agent")

SAVE_SECONDS = 5.0
LAST_SAVE_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
# A page that waited so long for the disk is shown all the same.
KEEP_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Told:
    """What readers may be told: rows and numbers of the saved state; those up to `ceiling` are reserved in it."""

    seq: int
    ceiling: int
    rows: tuple[JobRow, ...] = ()


class Saving:
    """Saves in a thread of its own: a slow disk does not hold up the tick. The agent's lock covers the rest."""

    def __init__(self, directory: StateDirectory, records: Records, seq: int, every_seconds: float) -> None:
        self._directory = directory
        self._records = records
        self._every_seconds = every_seconds
        self._told = Told(seq, seq)
        self._worker = Worker("state")
        self._writing: Round | None = None
        self._asked = float("-inf")
        self._well: float | None = None
        self._ahead = False
        self._keeper: Worker | None = None
        self._keeping: Round | None = None
        self._kept = float("-inf")
        self.succeeded = True
        """Whether the last save did."""

    @property
    def busy(self) -> bool:
        """Whether the state is being written just now."""
        return self._writing is not None and not self._writing.wait(0)

    def when_due(self, now: float, state: Callable[[], State]) -> None:
        """Save what `state` gives, if it is time; `now` is monotonic."""
        self._well = now if self._well is None else self._well
        if self.busy:
            if now - self._asked > PATIENCE_SECONDS:
                self._note(now, Unavailable("state: cannot be saved; the disk does not answer"))
            return
        if self._writing is not None:
            self._note(now, self._writing.wait(0)["state"].error)
            self._writing = None
        if self._records.urgent or now - self._asked >= self._every_seconds:
            self._asked, self._records.urgent = now, False
            self._ask(now - self._well > PATIENCE_SECONDS, state)

    def _ask(self, impatient: bool, state: Callable[[], State]) -> None:
        self._writing = Round(["state"])
        if self._records.journal.flush():
            document, told = _prepared(state())
            self._worker.ask(self._writing, lambda: self._write(document, told, impatient))
        else:
            # The state has forgotten what only the memory keeps: the older one stands until the journal is whole.
            self._worker.ask(self._writing, lambda: self._refused(impatient))

    def _note(self, now: float, error: Exception | None) -> None:
        if error is None:
            self._well = self._asked
        elif self.succeeded:
            log.error("%s", error)
        if error is None and not self.succeeded:
            log.info("state saved again")
        self.succeeded = error is None

    def _write(self, document: bytes, told: Told, impatient: bool = False) -> None:
        try:
            # First what the state has forgotten, then the state that has forgotten it; and only then it is told.
            self._records.journal.sync()
            self._directory.write(document)
        except Unavailable:
            self._tell_all_the_same(impatient)
            raise
        if self._ahead:
            # What was told meanwhile may be more than is in this save: it stands until the next.
            self._ahead = False
        else:
            self._directory.mark(False)
        if told.seq >= self._told.seq:
            self._told = told

    def _refused(self, impatient: bool) -> None:
        self._tell_all_the_same(impatient)
        raise Unavailable("state: cannot be saved; the disk refuses the journal")

    def _tell_all_the_same(self, impatient: bool) -> None:
        if impatient and not self._ahead:
            self._ahead = self._directory.mark(True)

    def told(self, seq: int, rows: Callable[[], tuple[JobRow, ...]]) -> Told:
        """What may be told now; `seq` and `rows` are those in memory."""
        if self._ahead:
            self._told = Told(seq, seq, rows())
        return self._told

    def keep(self, tick: float, state: Callable[[], State]) -> Round | None:
        """Begin to write, once, what pages show of the last tick; returns what to wait for, if anything."""
        busy = self._keeping is not None and not self._keeping.wait(0)
        if tick > self._kept and not busy and self._records.journal.flush():
            self._kept, self._keeping = tick, Round(["shown"])
            document = encode(state())
            self._keeper = self._keeper or Worker("shown")
            self._keeper.ask(self._keeping, lambda: self._directory.keep(document))
        return self._keeping

    def stop(self) -> None:
        """End the threads."""
        self._worker.stop()
        if self._keeper is not None:
            self._keeper.stop()

    def last(self, state: State) -> None:
        """Save once more at the end; raises `Unavailable` where that does not come about."""
        self.stop()
        if self._writing is not None and not self._writing.wait(LAST_SAVE_SECONDS):
            raise Unavailable("state: not saved once more; the disk does not answer")
        if not self._records.journal.flush():
            raise Unavailable("state: not saved once more; the disk refuses the journal")
        self._write(*_prepared(state))
        # Nobody was told anything since: the agent's lock is held.
        self._directory.mark(False)


def _prepared(state: State) -> tuple[bytes, Told]:
    return encode(state), Told(state.seq, state.seq + SEQ_RESERVE, tuple(state.rows.values()))
