"""A procfs of made-up processes, as files below a directory."""

from __future__ import annotations

import shutil
from pathlib import Path


class FakeProcfs:
    """Processes are added and ended by the test; by default the tree shows all, as the node's own does."""

    def __init__(self, root: Path, shows_all: bool = True) -> None:
        self.root = root
        self._stats: dict[int, list[object]] = {}
        if shows_all:
            self.add(2, ppid=0, start=0, name="kthreadd")

    def add(
        self,
        pid: int,
        ppid: int = 1,
        start: int = 1000,
        uid: int = 0,
        group: int | None = None,
        session: int = 1,
        cgroup: str = "0::/\n",
        name: str = "python3",
        state: str = "S",
    ) -> None:
        """Make a process; the parent's list of children follows."""
        path = self.root / str(pid)
        (path / "task" / str(pid)).mkdir(parents=True, exist_ok=True)
        self._stats[pid] = [pid, f"({name})", state, ppid, pid if group is None else group, session]
        words = [*self._stats[pid], *[0] * 15, start, *[0] * 30]
        (path / "stat").write_text(" ".join(map(str, words)) + "\n")
        (path / "comm").write_text(name + "\n")
        (path / "status").write_text(f"Name:\t{name}\nPid:\t{pid}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (path / "cgroup").write_text(cgroup)
        self._list_children()

    def end(self, pid: int) -> None:
        """Remove a process; its children go to pid 1."""
        shutil.rmtree(self.root / str(pid))
        del self._stats[pid]
        for child, stat in list(self._stats.items()):
            if stat[3] == pid:
                words = (self.root / str(child) / "stat").read_text().rsplit(") ", 1)
                state, _, rest = words[1].split(" ", 2)
                (self.root / str(child) / "stat").write_text(f"{words[0]}) {state} 1 {rest}")
                stat[3] = 1
        self._list_children()

    def _list_children(self) -> None:
        for pid in self._stats:
            children = [child for child, stat in self._stats.items() if stat[3] == pid]
            (self.root / str(pid) / "task" / str(pid) / "children").write_text(
                "".join(f"{child} " for child in children)
            )
