"""Which pod holds which device: the kubelet says what it gave out, control groups say which pods still live."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.errors import Unavailable
from gpuwatch.hygiene import log
from gpuwatch.jobs import device_ids, pods, proc
from gpuwatch.jobs.base import JobsReading, NodeView, Run
from gpuwatch.jobs.device_ids import Inventory, Shares
from gpuwatch.jobs.group_use import GroupUses
from gpuwatch.jobs.podresources import Granted, PodDevices, PodResources, Told
from gpuwatch.jobs.pressure import StorageWaits
from gpuwatch.model import EMPTY, Site

logger = logging.getLogger(__name__)

WAIT_SECONDS = 0.1
_MOST_SAID = 256
# Drivers of dynamic resource allocation that give out accelerators, and whose.
_DRIVERS = {"gpu.nvidia.com": "nvidia", "gpu.amd.com": "amd", "tpu.google.com": "google"}


@dataclass(slots=True)
class _Known:
    """What the last answer came to: by pod uid the ids it has, and the vendors that it has devices of by claims.

    A claim of dynamic resource allocation names no device that can be told. `anonymous` are ids, and `claimed`
    vendors, of pods whose uid nobody knows.
    """

    answered: float = float("-inf")
    held: dict[str, frozenset[Granted]] = field(default_factory=dict)
    claims: dict[str, frozenset[str]] = field(default_factory=dict)
    anonymous: frozenset[Granted] = frozenset()
    claimed: frozenset[str] = frozenset()
    divided: Mapping[str, int] = EMPTY
    minors: Mapping[int, str] = EMPTY


class KubernetesJobs:
    """The pods of this node that have devices; a job is a pod, its id the pod's uid.

    A pod holds its devices from when the kubelet lists it until its control group is gone, whatever the kubelet
    lists by then. Where its uid cannot be told, its devices are unknown. While the kubelet does not answer,
    pods that live keep what they have and the rest is unknown, until `stale_seconds` are over.
    """

    class Settings(BaseModel):
        """The table `[jobs.kubernetes]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        socket: str = Field(
            default="/var/lib/kubelet/pod-resources/kubelet.sock",
            description="socket of the kubelet's PodResources API",
        )
        pod_logs: Path = Field(
            default=Path("/var/log/pods"),
            description="where the kubelet keeps logs of pods; their uids are from there",
        )
        poll_seconds: float = Field(
            default=2.0, ge=1, le=60, description="time between two questions to the kubelet"
        )
        timeout_seconds: float = Field(default=5.0, gt=0, le=60, description="wait for an answer this long")
        stale_seconds: float = Field(
            default=30.0, ge=0, le=600, description="how long the last answer counts while the kubelet is silent"
        )
        resources: tuple[str, ...] = Field(
            default=(
                "nvidia.com/gpu",
                "nvidia.com/gpu.shared",
                "nvidia.com/mig-*",
                "google.com/tpu",
                "amd.com/gpu",
            ),
            description="resources that are devices; * stands for anything",
        )
        replicas: int | None = Field(
            default=None, ge=1, description="replicas of each shared device; unset: as many as the kubelet lists"
        )

    def __init__(self, settings: Settings, site: Site, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._settings = settings
        self._procfs = site.procfs
        self._wait_seconds = wait_seconds
        self._client = PodResources(settings.socket, settings.timeout_seconds)
        self._cgroups = pods.PodCgroups(site.sysfs)
        self._waits = StorageWaits()
        self._uses = GroupUses()
        self._known = _Known()
        self._uids: dict[pods.PodName, str] = {}
        self._asked = float("-inf")
        self._failure: str | None = None
        self._said: set[str] = set()

    def read(self, view: NodeView) -> JobsReading:
        """Who holds which device now; `Unavailable` where the kubelet has not answered for too long."""
        self._poll(view.now)
        known = self._known
        if not 0 <= view.now - known.answered <= self._settings.stale_seconds:
            raise Unavailable(self._failure or f"{self._settings.socket}: does not answer")
        living = {uid for uid in {*known.held, *known.claims} if self._lives(uid)}
        inventory = Inventory(view.devices, known.minors)
        found = device_ids.shares(
            {uid: granted for uid, granted in known.held.items() if uid in living},
            inventory,
            known.divided,
            self._settings.replicas,
        )
        self._report(found)
        groups = {uid: path for uid in living if (path := self._cgroups.path(uid)) is not None}
        return JobsReading(
            found.allocations,
            frozenset(living),
            self._unknown(found, inventory, living),
            storage_waits=self._waits.read(groups, view.now),
            group_uses=self._uses.read(groups, view.now),
        )

    def job_of(self, pid: int, runs: Mapping[str, Run]) -> str | None:
        """The uid of the pod that a process is in; None where it is in none, or is gone."""
        return pods.pod_uid(proc.cgroups(self._procfs, pid))

    def linger_seconds(self, job_id: str) -> float:
        """0: the end of a pod is known."""
        return 0.0

    def close(self) -> None:
        """Disconnect from the kubelet."""
        self._client.close()

    def _poll(self, now: float) -> None:
        due = self._failure is not None or not 0 <= now - self._asked < self._settings.poll_seconds
        if due and not self._client.asking:
            self._client.ask()
            self._asked = now
        try:
            told = self._client.answer(self._wait_seconds)
            if told is not None:
                self._take(told, now)
                self._failure = None
        except Unavailable as exc:
            if self._failure is None:
                logger.warning("the kubelet does not say who holds what reason=%s", log(str(exc)))
            self._failure = str(exc)

    def _take(self, told: Told, now: float) -> None:
        listed = self._listed(told)
        # The names before the control groups: a pod has its group before it has its logs.
        names = pods.uids_by_name(self._settings.pod_logs) if listed else {}
        if listed or self._known.held:
            self._cgroups.refresh()
        # What is unhealthy for the moment is not listed, and is divided as before.
        divided = {**self._known.divided, **device_ids.replicas(told.allocatable or ())}
        known = _Known(now, divided=divided)
        uids: dict[pods.PodName, str] = {}
        for name, entries in listed.items():
            remembered = [self._uids[name]] if name in self._uids else []
            uid, living = self._which(names.get(name) or remembered)
            if uid is not None:
                uids[name] = uid
            if living:
                self._enter(known, uid, entries)
        self._keep(known)
        self._known, self._uids = known, uids
        ids = [each.device_id for granted in (*known.held.values(), known.anonymous) for each in granted]
        if any(each.startswith("nvidia") for each in ids):
            known.minors = device_ids.minors(self._procfs)

    def _listed(self, told: Told) -> dict[pods.PodName, list[PodDevices]]:
        """The pods that have devices, by name: one that was made again may be listed twice."""
        found: dict[pods.PodName, list[PodDevices]] = {}
        for pod in told.pods:
            mine = frozenset(each for each in pod.granted if self._counts(each.resource))
            claims = frozenset(each for each in pod.claims if each.driver in _DRIVERS)
            entry = PodDevices(pod.namespace, pod.name, mine, claims)
            entries = found.setdefault((pod.namespace, pod.name), []) if mine or claims else []
            if entry not in entries:
                entries.append(entry)
        return found

    def _counts(self, resource: str) -> bool:
        return any(fnmatchcase(resource, pattern) for pattern in self._settings.resources)

    def _which(self, uids: Sequence[str]) -> tuple[str | None, bool]:
        """Which of these a pod's name means now, None where that cannot be told, and whether any of them lives."""
        living = [uid for uid in uids if self._lives(uid)] if self._cgroups.visible else uids
        if not uids:
            return None, True
        if not living:
            return uids[0] if len(uids) == 1 else None, False
        return living[0] if len(living) == 1 else None, True

    def _lives(self, uid: str) -> bool:
        return not self._cgroups.visible or self._cgroups.has(uid)

    def _enter(self, known: _Known, uid: str | None, entries: Sequence[PodDevices]) -> None:
        for entry in entries:
            vendors = frozenset(_DRIVERS[each.driver] for each in entry.claims)
            if uid is not None and (len(entries) == 1 or self._known.held.get(uid) == entry.granted):
                known.held[uid], known.claims[uid] = entry.granted, vendors
            else:
                known.anonymous |= entry.granted
                known.claimed |= vendors

    def _keep(self, known: _Known) -> None:
        """A pod that is no longer listed keeps what nobody else was given, as long as it lives."""
        if not self._cgroups.visible:
            return
        given = known.anonymous.union(*known.held.values())
        for uid, granted in self._known.held.items():
            if uid not in known.held and self._cgroups.has(uid):
                known.held[uid], known.claims[uid] = granted - given, self._known.claims[uid]

    def _unknown(self, found: Shares, inventory: Inventory, living: Collection[str]) -> frozenset[str]:
        """Devices of which somebody has a part and it cannot be told who."""
        known = self._known
        held = {each.device for each in found.allocations}
        doubtful = set(inventory.devices) if self._failure is not None else set()
        claims = (known.claims[uid] for uid in living if uid in known.claims)
        for vendor in known.claimed.union(*claims):
            doubtful |= inventory.of_vendor(vendor)
        anonymous = {device for each in known.anonymous for device in inventory.meant(each).devices}
        return frozenset(found.unknown | (doubtful - held) | anonymous)

    def _report(self, found: Shares) -> None:
        strange = (f"{each.device_id[:200]!r} of {each.resource[:80]!r}" for each in found.strange)
        self._say("a pod has a device that this agent does not know", "id", strange)
        self._say("more than all of a device was given out", "device", found.crowded)

    def _say(self, what: str, key: str, which: Iterable[str]) -> None:
        """Each thing once."""
        for each in which:
            if each not in self._said and len(self._said) < _MOST_SAID:
                self._said.add(each)
                logger.warning("%s %s=%s", what, key, log(each))
