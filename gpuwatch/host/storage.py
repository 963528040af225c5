"""The node's network file systems: what NFS and Lustre clients read, write, ask and wait for.

Only counters that the kernel keeps on this node are read; no path of a file system is ever touched, so that a
server that is gone hangs nothing. Local disks are read by `system`. GPFS, BeeGFS and Weka keep no such file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.host import storage_nfs as nfs
from gpuwatch.host.storage_lustre import Lustre
from gpuwatch.model import HostReading, Labels, Site

MOST_BYTES = 4 * 2**20
MOST_NFS = 128
"""So many NFS mounts are looked at, however many are shown: a hundred cost some milliseconds."""

# /home/ann, /users/ann/data, /cluster/home/ann: the name of a person, whom no metric may tell.
_PERSONAL = r"((?:/[^/]+){0,2}/(?:home|homes|user|users))/[^/]+(?:/.*)?"


class StorageSource:
    """Counters of network file systems; an error only where not even a list of mounts can be read."""

    class Settings(BaseModel):
        """The table `[host.storage]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        max_mounts: int = Field(
            default=16,
            ge=0,
            description="at most so many NFS mount points, and as many Lustre file systems; the rest is counted",
        )
        personal: re.Pattern[str] = Field(
            default=re.compile(_PERSONAL),
            description="mount points of one person each, as a regular expression for the whole path; they are "
            "added up as its first group and `/*`, so that no metric names a person",
        )

        @field_validator("personal")
        @classmethod
        def _has_a_group(cls, pattern: re.Pattern[str]) -> re.Pattern[str]:
            if pattern.groups < 1:
                raise ValueError("needs a group around the part of the path that may be told, as (/home)/[^/]+")
            return pattern

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._procfs = Path(site.procfs)
        self._lustre = Lustre(self._procfs, Path(site.sysfs))
        self._shared: dict[str, _Sum] = {}
        self._shown: dict[str, tuple[str, ...]] = {}

    def read(self, now: float) -> HostReading:
        """What each mount has counted; `Unavailable` where there is no list of them and no Lustre."""
        listed = self._mountstats()
        clients = self._lustre.read()
        if listed is None and not clients:
            raise Unavailable(f"{self._procfs}: no mountstats can be read, neither of process 1 nor of this one")
        fields: dict[str, Any] = {"storage_mounts": {}, "storage_mounts_left_out": {}}
        if listed is not None:
            mounts, beyond = nfs.mounts(listed, MOST_NFS)
            self._show("nfs", self._by_label(mounts), len(mounts) + beyond, beyond, fields)
        if clients or listed is not None:
            safe = {hygiene.label(name): counts for name, counts in clients.items()}
            self._show("lustre", safe, len(clients), 0, fields)
        return HostReading(time=now, **fields)

    def _mountstats(self) -> bytes | None:
        """Of the whole node where that may be read, else of what this process sees of it."""
        for process in ("1", "self"):
            try:
                with (self._procfs / process / "mountstats").open("rb") as file:
                    content = file.read(MOST_BYTES)
            except OSError:
                continue
            # A list that was cut ends in the middle of a mount, which is left out.
            return content if len(content) < MOST_BYTES else content[: content.rfind(b"\ndevice ") + 1]
        return None

    def _by_label(self, mounts: Iterable[nfs.Mount]) -> dict[str, nfs.Counts]:
        """Counts by label; the mount points of persons are added up, and never fall when one of them goes."""
        found: dict[str, nfs.Counts] = {}
        personal: dict[str, dict[str, nfs.Counts]] = {}
        for mount in mounts:
            match = self._settings.personal.fullmatch(mount.path)
            if match is None:
                found[hygiene.label(mount.path)] = mount.counts
            else:
                personal.setdefault(hygiene.label(f"{match[1] or ''}/*"), {})[mount.path] = mount.counts
        for label in personal.keys() | self._shared.keys():
            shared = self._shared.setdefault(label, _Sum())
            found[label] = shared.advance(personal.get(label, {}))
        return found

    def _show(
        self, kind: str, by_label: Mapping[str, nfs.Counts], there: int, beyond: int, fields: dict[str, Any]
    ) -> None:
        """Put the counts into the fields, of those first that were shown before."""
        before = [label for label in self._shown.get(kind, ()) if label in by_label]
        new = [label for label in by_label if label not in before]
        shown = (before + new)[: self._settings.max_mounts]
        self._shown[kind] = tuple(shown)
        fields["storage_mounts"][kind] = float(there)
        fields["storage_mounts_left_out"][kind] = float(beyond + len(by_label) - len(shown))
        for label in shown:
            for (name, operation), number in by_label[label].items():
                series: dict[Labels, float] = fields.setdefault(name, {})
                series[(label, operation) if operation else label] = number


class _Sum:
    """Counts of mounts that come and go, added up since they were first seen."""

    def __init__(self) -> None:
        self._total: nfs.Counts = {}
        self._last: dict[str, nfs.Counts] | None = None

    def advance(self, now: Mapping[str, nfs.Counts]) -> nfs.Counts:
        """The sum with what each has counted since the last time; one that came meanwhile, with all it has."""
        for path, counts in now.items():
            last = counts if self._last is None else self._last.get(path, {})
            for key, number in counts.items():
                before = last.get(key, 0.0)
                rise = number - before if number >= before else number
                self._total[key] = self._total.get(key, 0.0) + rise
        self._last = dict(now)
        return dict(self._total)
