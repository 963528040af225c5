"""Which processes hold an AMD card, as the compute driver (KFD) lists them; nothing but reading is needed.

`class/kfd/kfd/proc/<pid>` is there for every process that opened `/dev/kfd`, with `vram_<gpu_id>` for each GPU
that it may use and a directory for each of its queues (`kfd_process.c`). A process that may use a card need not
hold it: it does once it has a queue there, or memory beyond what the runtime takes on every card that it sees.
Which card has which gpu_id, also those of its partitions, is told by `amd_topology`. Whatever cannot be read makes
the holders unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from threading import Lock

from gpuwatch.devices import amd_files as files
from gpuwatch.devices import amd_topology as topology
from gpuwatch.devices.amd_cards import Card
from gpuwatch.model import Probe, Process

RUNTIME_BYTES = 16 * 2**20
"""What the runtime is assumed to take on a card at most that the process does not use."""
MOST_PROCESSES = 4096
LIST_SECONDS = 5.0
"""A list stands for so long at most."""
HANG_SECONDS = 0.2

Holders = Mapping[int, tuple[Process, ...]]
"""By gpu_id."""


class ComputeProcesses:
    """The processes of all cards; one list serves them all, whichever card's thread asks first.

    A process can hardly come or go without memory of a card: while that is as it was, the list of before stands.
    """

    def __init__(self, sysfs: str) -> None:
        self._sysfs = sysfs
        self._root = f"{sysfs}/class/kfd/kfd"
        self._lock = Lock()
        self._listed: tuple[float, Holders | None] = (float("-inf"), None)
        self._used: dict[str, float | None] = {}
        self._gpu_ids: Mapping[str, frozenset[int]] = {}

    def scan(self, cards: Iterable[Card]) -> None:
        """Look up which gpu_ids each card has."""
        self._gpu_ids = topology.gpu_ids(topology.nodes(self._sysfs, list(cards)).values())
        self._used = {}

    def report(self, uid: str) -> Probe:
        """Whether the holders of a card can be told."""
        if not self._gpu_ids.get(uid):
            detail = (
                f"unknown: {self._root}/topology does not show this card; is its render node open to this process?"
            )
            return Probe("processes", False, detail)
        if files.entries(f"{self._root}/proc") is None:
            return Probe("processes", False, f"unknown: {self._root}/proc cannot be listed")
        return Probe("processes", True, f"as {self._root}/proc lists them")

    def of(self, uid: str, now: float, used_bytes: float | None) -> tuple[Process, ...] | None:
        """Who holds a card, of whose memory so much is used; None where nobody can say."""
        gpu_ids = self._gpu_ids.get(uid)
        if not gpu_ids:
            return None
        if not self._lock.acquire(timeout=HANG_SECONDS):
            return None  # another card's thread hangs in the list
        try:
            holders = self._list(uid, now, used_bytes)
        finally:
            self._lock.release()
        return None if holders is None else _together(holders.get(gpu_id, ()) for gpu_id in sorted(gpu_ids))

    def _list(self, uid: str, now: float, used_bytes: float | None) -> Holders | None:
        """All holders, listed anew where the card's memory is not what it was, or the list is old."""
        changed = used_bytes is None or self._used.get(uid) != used_bytes
        self._used[uid] = used_bytes
        age = now - self._listed[0]
        if (changed and age) or not 0 <= age < LIST_SECONDS:
            known: frozenset[int] = frozenset().union(*self._gpu_ids.values())
            self._listed = (now, _holders(f"{self._root}/proc", known))
        return self._listed[1]


def _together(lists: Iterable[tuple[Process, ...]]) -> tuple[Process, ...]:
    """Each process once, with what it has on all partitions of the card."""
    memory: dict[int, int] = {}
    for process in (each for processes in lists for each in processes):
        memory[process.pid] = memory.get(process.pid, 0) + (process.memory_bytes or 0)
    return tuple(Process(pid, amount) for pid, amount in sorted(memory.items()))


def _holders(path: str, gpu_ids: frozenset[int]) -> Holders | None:
    pids = files.entries(path)
    if pids is None or len(pids) > MOST_PROCESSES:
        return None
    holders: dict[int, list[Process]] = {}
    for pid in pids:
        if not pid.isdecimal() or not pid.isascii() or len(pid) > 10:
            continue
        at = f"{path}/{pid}"
        held = _held(at, files.entries(at) or (), gpu_ids)
        if held is None and Path(at).is_dir():
            return None
        for gpu_id, memory in (held or {}).items():
            holders.setdefault(gpu_id, []).append(Process(int(pid), memory))
    return {gpu_id: tuple(processes) for gpu_id, processes in holders.items()}


def _held(at: str, names: Collection[str], gpu_ids: frozenset[int]) -> dict[int, int] | None:
    """The memory of a process on each card that it holds; None where it cannot be told."""
    of_queues: frozenset[int] | None = None
    held: dict[int, int] = {}
    for gpu_id in gpu_ids:
        if f"vram_{gpu_id}" not in names:
            continue
        memory = files.integer(f"{at}/vram_{gpu_id}")
        if memory is None:
            return None
        if memory < RUNTIME_BYTES and of_queues is None:
            of_queues = _queues(f"{at}/queues") if "queues" in names else frozenset()
            if of_queues is None:
                return None
        if memory >= RUNTIME_BYTES or gpu_id in (of_queues or ()):
            held[gpu_id] = max(0, memory)
    return held


def _queues(path: str) -> frozenset[int] | None:
    """The gpu_ids on which a process has a queue; a queue that has just ended has none."""
    names = files.entries(path)
    if names is None:
        return None
    found = (files.integer(f"{path}/{queue}/gpuid") for queue in names)
    return frozenset(each for each in found if each is not None)
