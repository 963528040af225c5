"""Which processes have a chip's device node open: as far as the agent may look, and no further.

Looking through all processes costs what there are of them, so it is done every few seconds, and less often where
it takes long or where every node is held, as a second process can hardly open one; those that are known are looked
at each time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from gpuwatch.devices.tpu_chips import Node

LEAST_SECONDS = 5.0
ALL_HELD_SECONDS = 30.0
SOON_SECONDS = 1.0
# What looking costs is at most a five-hundredth of the time.
PACE = 500
_NODE = re.compile(r"(?P<folder>.*/)(?P<name>accel\d{1,4}|vfio/\d{1,6})")

Held = tuple[int, str]
"""A pid, and its descriptor's link in procfs."""


class Owners:
    """Who has which node open. Not thread-safe."""

    def __init__(self, procfs: str, directory: str = "/dev", clock: Callable[[], float] = time.monotonic) -> None:
        self._procfs = procfs
        self._directory = directory.rstrip("/") + "/"
        self._clock = clock
        self._held: dict[str, set[Held]] = {}
        self._nodes: dict[str, Node] = {}
        self._next = float("-inf")
        self._soon = float("-inf")
        self._wanted = False
        self.complete = False
        self.refused = ""

    def look(self, nodes: Iterable[Node], soon: bool = False) -> Mapping[str, tuple[int, ...] | None]:
        """The holders of each node by its name; None where there may be some that the agent cannot see.

        `soon`: something has changed, look through all processes earlier.
        """
        self._nodes = {node.name: node for node in nodes}
        began = self._clock()
        lost = sum(self._lose(name) for name in list(self._held)) > 0
        self._wanted = self._wanted or soon or lost
        if began >= self._next or (self._wanted and began >= self._soon):
            self._wanted = False
            self._search()
            spent = self._clock() - began
            all_held = all(self._held.get(name) for name in self._nodes)
            self._next = began + max(ALL_HELD_SECONDS if all_held else LEAST_SECONDS, PACE * spent)
            self._soon = began + max(SOON_SECONDS, PACE * spent / LEAST_SECONDS)
        return {name: self._holders(name) for name in self._nodes}

    def _holders(self, name: str) -> tuple[int, ...] | None:
        held = self._held.get(name)
        if held:
            return tuple(sorted({pid for pid, _ in held}))
        return () if self.complete else None

    def _lose(self, name: str) -> bool:
        """Forget holders that have closed the node or ended; whether there were any."""
        kept = {(pid, link) for pid, link in self._held[name] if self._opened(link) == name}
        lost = len(kept) < len(self._held[name])
        self._held[name] = kept
        return lost

    def _search(self) -> None:
        self._held, self.refused = {}, ""
        self.complete = self._shows_all()
        if not self.complete:
            self.refused = "not every process is to be seen: the agent is in a pid namespace, or hidepid is set"
        with os.scandir(self._procfs) as entries:
            pids = [entry.name for entry in entries if entry.name.isdecimal()]
        for pid in pids:
            self._search_in(pid)

    def _search_in(self, pid: str) -> None:
        folder = f"{self._procfs}/{pid}/fd"
        try:
            links = os.listdir(folder)  # noqa: PTH208 - thousands of processes, and a Path costs more than the call
        except PermissionError as exc:
            if self.complete and self._has_command(pid):
                self.complete, self.refused = False, f"{folder}: {exc.strerror}"
            return
        except OSError:
            return
        for each in links:
            link = f"{folder}/{each}"
            name = self._opened(link)
            if name is not None:
                self._held.setdefault(name, set()).add((int(pid), link))

    def _opened(self, link: str) -> str | None:
        """The node that a descriptor is, None where it is none of a chip.

        A path alone proves nothing where the kernel tells the node's number: anybody can have a file of that name.
        """
        try:
            target = os.readlink(link)  # noqa: PTH115 - as above
        except OSError:
            return None
        match = _NODE.fullmatch(target)
        if match is None:
            return None
        node = self._nodes.get(match["name"])
        if node is None:
            return None
        if node.number is None:
            return node.name if match["folder"] == self._directory else None
        with suppress(OSError):
            device = os.stat(link).st_rdev  # noqa: PTH116 - as above
            if f"{os.major(device)}:{os.minor(device)}" == node.number:
                return node.name
        return None

    def _shows_all(self) -> bool:
        return self._content("2/comm") == b"kthreadd\n"

    def _has_command(self, pid: str) -> bool:
        """Whether it is a process with a program: threads of the kernel open nothing."""
        return bool(self._content(f"{pid}/cmdline"))

    def _content(self, name: str) -> bytes:
        try:
            with open(f"{self._procfs}/{name}", "rb") as file:  # noqa: PTH123 - as above
                return file.read(256)
        except OSError:
            return b""


def variable(procfs: str, pid: int, name: str, most_bytes: int = 2**17) -> str | None:
    """A variable of a process's environment, None where it has none or may not be looked at."""
    try:
        with open(f"{procfs}/{pid}/environ", "rb") as file:  # noqa: PTH123 - as above
            words = file.read(most_bytes).split(b"\0")
    except OSError:
        return None
    prefix = name.encode() + b"="
    found = (word[len(prefix) :] for word in words if word.startswith(prefix))
    return next((value.decode("ascii", "replace") for value in found), None)
