"""Which pods live on this node, by their control groups, and which is meant by a name, by its log directory."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from gpuwatch.errors import Unavailable

# A mirror pod of a file on the node has a hash without dashes.
_UID = r"[0-9a-fA-F]{8}(?:[-_][0-9a-fA-F]{4}){3}[-_][0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
# cgroupfs: pod<uid>; systemd: kubepods-burstable-pod<uid with _>.slice; containerd has a colon behind that.
_POD = re.compile(rf"(?:.*-)?pod(?P<uid>{_UID})(?:\.slice)?(?::.*)?", re.DOTALL)
_ROOT = re.compile(r"(?:.*-)?kubepods(?:\.slice)?")
_QUALITY = re.compile(r"(?:.*-)?(?:burstable|besteffort)(?:\.slice)?")
_LOGS = re.compile(rf"(?P<namespace>[^_/]+)_(?P<name>[^_/]+)_(?P<uid>{_UID})")
_DEEPEST = 6
_MOST_DIRECTORIES = 4096

PodName = tuple[str, str]
"""Namespace and name."""


def pod_uid(paths: Sequence[str]) -> str | None:
    """The uid of the pod that a process with these control groups belongs to; of nested ones the outermost.

    What is below `user.slice` was made and named by a user, and is not believed.
    """
    for path in paths:
        segments = path.split("/")
        found = next((match for each in segments if (match := _POD.fullmatch(each))), None)
        if found is None or "user.slice" in segments:
            continue
        # From within a pod's own cgroup namespace the way up is hidden: /../pod<uid>.
        if "kubepods" in path[: path.index(found[0]) + len(found[0])] or path.startswith("/.."):
            return _dashed(found["uid"])
    return None


def uids_by_name(pod_logs: Path) -> dict[PodName, list[str]]:
    """The uids that pods of each name have or had, by the directories of their logs; `Unavailable` unread."""
    found: dict[PodName, list[str]] = {}
    try:
        names = os.listdir(pod_logs)  # noqa: PTH208 - names are matched, not opened
    except OSError as exc:
        raise Unavailable(f"{pod_logs}: {exc.strerror or exc}; without it pods have no uid") from exc
    for each in names:
        if match := _LOGS.fullmatch(each):
            found.setdefault((match["namespace"], match["name"]), []).append(_dashed(match["uid"]))
    return found


class PodCgroups:
    """The control groups of this node's pods: version 1 and 2, both drivers, also nested as kind does.

    Not thread-safe. Where the tree is not to be seen, nothing is known of any pod: see `visible`.
    """

    def __init__(self, sysfs: str) -> None:
        self._root = Path(sysfs, "fs", "cgroup")
        self._parents: tuple[Path, ...] = ()
        self._paths: dict[str, Path] = {}

    @property
    def visible(self) -> bool:
        """Whether the control groups of pods were there at the last refresh."""
        return bool(self._parents)

    def refresh(self) -> None:
        """Look for the pods there are now."""
        self._parents = tuple(each for each in self._parents if each.is_dir()) or tuple(self._find())
        self._paths = {uid: path for parent in self._parents for uid, path in _pods(parent)}

    def has(self, uid: str) -> bool:
        """Whether the pod, seen at the last refresh, is still there; one system call."""
        path = self._paths.get(uid)
        return path is not None and path.is_dir()

    def path(self, uid: str) -> str | None:
        """The control group of a pod that was seen at the last refresh; None where there was none."""
        path = self._paths.get(uid)
        return None if path is None else str(path)

    def _find(self) -> list[Path]:
        """The directories that pods are under. Version 1 has the same below each controller: one is enough."""
        if (self._root / "cgroup.controllers").exists():
            return _search(self._root)
        for controller in sorted(_directories(self._root)):
            if found := _search(controller):
                return found
        return []


def _search(root: Path) -> list[Path]:
    found: list[Path] = []
    queue = deque([(root, 0)])
    looked = 0
    while queue and looked < _MOST_DIRECTORIES:
        directory, depth = queue.popleft()
        looked += 1
        for each in _directories(directory):
            if _ROOT.fullmatch(each.name):
                found.append(each)
            elif depth < _DEEPEST and each.name != "user.slice":
                queue.append((each, depth + 1))
    return found


def _pods(parent: Path) -> Iterator[tuple[str, Path]]:
    for each in _directories(parent):
        if match := _POD.fullmatch(each.name):
            yield _dashed(match["uid"]), each
        elif _QUALITY.fullmatch(each.name):
            for pod in _directories(each):
                if match := _POD.fullmatch(pod.name):
                    yield _dashed(match["uid"]), pod


def _directories(path: Path) -> list[Path]:
    with suppress(OSError), os.scandir(path) as entries:
        return [Path(each) for each in entries if each.is_dir(follow_symlinks=False)]
    return []


def _dashed(uid: str) -> str:
    return uid.lower().replace("_", "-")
