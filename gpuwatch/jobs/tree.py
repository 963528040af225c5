"""Which processes belong to which `gpuwatch run`: by descent, and by the session or group that its root leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gpuwatch.errors import Unavailable
from gpuwatch.jobs import proc
from gpuwatch.jobs.base import Run
from gpuwatch.jobs.lives import Lives
from gpuwatch.jobs.proc import Stat

_DEEPEST = 256
_CHILDREN_SECONDS = 5.0
_MOST_MEMBERS = 4096

Lookup = Callable[[int], Stat | None]


@dataclass(slots=True)
class _Tree:
    """What is known of a run's processes: pid to start time. `over` stays true once nothing was left of it."""

    members: dict[int, int] = field(default_factory=dict)
    orphaned: bool = False
    over: bool = False


class Trees:
    """The process trees of the runs. Not thread-safe: who owns it locks.

    While the root lives, descent answers everything. Should it be killed alone, its processes are orphans: then
    those known by then stand for it, and procfs is searched once for the others.
    """

    def __init__(self, procfs: str, lives: Lives) -> None:
        self._procfs = procfs
        self._lives = lives
        self._trees: dict[str, _Tree] = {}
        self._looked = float("-inf")
        self._looks = True

    def refresh(self, runs: Mapping[str, Run], now: float) -> frozenset[str]:
        """The runs of which any process is left; new children are looked for every few seconds."""
        self._looks = runs.keys() != self._trees.keys() or not 0 <= now - self._looked < _CHILDREN_SECONDS
        if self._looks:
            self._looked = now
        self._trees = {job_id: self._trees.get(job_id) or _Tree() for job_id in runs}
        return frozenset(job_id for job_id, run in runs.items() if self._goes_on(run, runs))

    def remember(self, job_id: str, process: Stat) -> None:
        """Note that a process belongs to a run, to know it also when its ancestors are gone."""
        tree = self._trees.setdefault(job_id, _Tree())
        if len(tree.members) < _MOST_MEMBERS:
            tree.members[process.pid] = process.start

    def owner(self, process: Stat, runs: Mapping[str, Run]) -> str | None:
        """The run that a process belongs to; of nested runs the inner one."""
        return self._owner(process, runs, self._stat) if runs else None

    def _owner(self, process: Stat, runs: Mapping[str, Run], lookup: Lookup) -> str | None:
        anchors = {
            member: job_id
            for job_id, tree in self._trees.items()
            if job_id in runs
            for member in tree.members.items()
        }
        # After the members: the root of an inner run is also a member of the outer one.
        anchors.update({(run.pid, run.pid_start): run.job_id for run in runs.values()})
        line = _ancestry(process, lookup)
        found = (anchors.get((each.pid, each.start)) for each in line)
        led = (run.job_id for each in line for run in runs.values() if self._follows(each, run, lookup))
        return next((job_id for job_id in (*found, *led) if job_id is not None), None)

    def _follows(self, process: Stat, run: Run, lookup: Lookup) -> bool:
        """Whether a process is in the session or the group that the run's root leads or led.

        The kernel gives a number to no other process while a session or group of that number lasts. The user
        must be the same too, in case the root died unseen and another process led under its pid.
        """
        if run.pid not in (process.group, process.session) or process.start < run.pid_start:
            return False
        root, tree = lookup(run.pid), self._trees.get(run.job_id)
        if (root is not None and root.start != run.pid_start) or (tree is not None and tree.over):
            return False
        return proc.uid(self._procfs, process.pid) == run.uid

    def _goes_on(self, run: Run, runs: Mapping[str, Run]) -> bool:
        tree = self._trees[run.job_id]
        if tree.over:
            return False
        if self._is(run.pid, run.pid_start):
            if self._looks:
                self._forget_dead(tree)
                self._add_children(tree, (run.pid,), frozenset())
            return True
        self._forget_dead(tree)
        if not tree.orphaned:
            tree.orphaned = True
            tree.members.update(self._search(run, runs))
        self._add_children(tree, tuple(tree.members), frozenset(each.pid for each in runs.values()))
        tree.over = not tree.members
        return not tree.over

    def _forget_dead(self, tree: _Tree) -> None:
        tree.members = {pid: start for pid, start in tree.members.items() if self._is(pid, start)}

    def _search(self, run: Run, runs: Mapping[str, Run]) -> dict[int, int]:
        """All processes of a run whose root is gone; reads the whole of procfs."""
        seen = {each.pid: each for each in proc.processes(self._procfs)}
        mine = (
            each for each in seen.values() if not each.dead and self._owner(each, runs, seen.get) == run.job_id
        )
        return {each.pid: each.start for each in mine}

    def _add_children(self, tree: _Tree, parents: Iterable[int], foreign: frozenset[int]) -> None:
        for parent in parents:
            for pid in proc.children(self._procfs, parent):
                if pid in tree.members or pid in foreign or len(tree.members) >= _MOST_MEMBERS:
                    continue
                child = self._stat(pid)
                if child is not None and not child.dead:
                    tree.members[pid] = child.start

    def _is(self, pid: int, start: int) -> bool:
        try:
            return self._lives.has(pid, start)
        except Unavailable:
            return False

    def _stat(self, pid: int) -> Stat | None:
        try:
            return proc.stat(self._procfs, pid)
        except Unavailable:
            return None


def _ancestry(process: Stat, lookup: Lookup) -> list[Stat]:
    """The process, its parent, and so on; a parent younger than its child is another process with its pid."""
    line = [process]
    while line[-1].ppid > 0 and len(line) < _DEEPEST:
        parent = lookup(line[-1].ppid)
        if parent is None or parent.start > line[-1].start:
            break
        line.append(parent)
    return line
