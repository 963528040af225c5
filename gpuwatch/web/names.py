"""Users and groups of this machine, by the system's own directory (which may be LDAP), remembered for a minute."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Protocol, TypeVar

from gpuwatch.model import EMPTY

KEPT_SECONDS = 60.0
KEPT = 4096

Found = TypeVar("Found")


class Names(Protocol):
    """Who is who. May block; called in threads."""

    def name_of(self, uid: int) -> str | None:
        """The name of a user id; None where there is none."""
        ...

    def uid_of(self, name: str) -> int | None:
        """The user id of a name; None where there is none."""
        ...

    def groups_of(self, name: str) -> frozenset[str]:
        """The groups that a user is in, by name."""
        ...


class UnixNames:
    """What the machine's name service says."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, object], tuple[float, object]] = {}
        self._lock = Lock()

    def name_of(self, uid: int) -> str | None:
        """The name of a user id; None where there is none."""
        return self._remembered("name", uid, _name_of)

    def uid_of(self, name: str) -> int | None:
        """The user id of a name; None where there is none."""
        return self._remembered("uid", name, _uid_of)

    def groups_of(self, name: str) -> frozenset[str]:
        """The groups that a user is in, by name; none for a user that is not known."""
        return self._remembered("groups", name, _groups_of)

    def _remembered(self, what: str, key: object, ask: Callable[..., Found]) -> Found:
        now = self._clock()
        with self._lock:
            until, found = self._kept.get((what, key), (float("-inf"), None))
        if now < until:
            return found  # type: ignore[return-value]
        answer = ask(key)
        with self._lock:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[what, key] = now + KEPT_SECONDS, answer
        return answer


class FixedNames:
    """Names that are given, for tests and for machines without a directory."""

    def __init__(self, uids: Mapping[str, int], groups: Mapping[str, tuple[str, ...]] = EMPTY) -> None:
        self._uids = dict(uids)
        self._groups = dict(groups)

    def name_of(self, uid: int) -> str | None:
        """The name of a user id; None where there is none."""
        return next((name for name, each in self._uids.items() if each == uid), None)

    def uid_of(self, name: str) -> int | None:
        """The user id of a name; None where there is none."""
        return self._uids.get(name)

    def groups_of(self, name: str) -> frozenset[str]:
        """The groups that a user is in, by name."""
        return frozenset(self._groups.get(name, ()))


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def _uid_of(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def _groups_of(name: str) -> frozenset[str]:
    try:
        gids = os.getgrouplist(name, pwd.getpwnam(name).pw_gid)
    except (KeyError, ValueError):
        return frozenset()
    return frozenset(found for gid in gids if (found := _group(gid)) is not None)


def _group(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None
