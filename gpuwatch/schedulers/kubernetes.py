"""What Kubernetes allocated: one record for each pod that asks for accelerators, under the object that owns it.

The API server has no history: pods that are deleted are gone. Those that were seen alive are told as ended when
they are missed; what came and went between two looks, or while accounting was down, it cannot tell.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gpuwatch.declaration import MAX_TEXT_BYTES
from gpuwatch.errors import Unavailable
from gpuwatch.hygiene import log
from gpuwatch.model import Site
from gpuwatch.schedulers import kubernetes_requests as requests
from gpuwatch.schedulers.base import RUNNING, WAITING, Facts, Live, Poll, Record, RecordId
from gpuwatch.schedulers.kubernetes_api import Api, Reader, Refused, pages, pods_path
from gpuwatch.schedulers.kubernetes_life import Life, life, moment, table, text
from gpuwatch.schedulers.kubernetes_owners import Owner, Owners, declared

logger = logging.getLogger(__name__)

LOOK_BACK_SECONDS = 86_400.0
"""Ends so long before `since` are told again: a node that was cut off tells of them late."""
_SHARE_OF_TIME = 0.1
_LONGEST_PAUSE_SECONDS = 900.0
_NAME_LENGTH = 512
_LIVING = WAITING | RUNNING
_MISSED = "deleted between two looks, the end is when it was missed"


def _part(written: str) -> str:
    requests.part(written)
    return written


@dataclass(slots=True)
class _Pass:
    """What one look at the cluster came to: pods there are, by uid, and namespaces that could be read."""

    records: list[Record]
    uids: set[str]
    read: set[str]
    failures: list[str]


class KubernetesScheduler:
    """The pods of a cluster that ask for accelerators, listed page by page.

    At most a tenth of the time is spent on listing: a server that is slow is asked less often. After a failure
    the next question waits, twice as long each time.
    """

    class Settings(BaseModel):
        """The table `[schedulers.kubernetes]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        kubeconfig: Path | None = Field(
            default=None, description="how to reach the API server; unset: as the pod that accounting runs in"
        )
        context: str | None = Field(default=None, description="context of the kubeconfig; unset: its current one")
        namespaces: tuple[str, ...] = Field(default=(), description="namespaces to read; empty: all")
        page_size: int = Field(default=500, ge=10, le=5000, description="pods in one answer of the API server")
        timeout_seconds: float = Field(default=30.0, gt=0, le=600, description="wait for an answer this long")
        devices: tuple[Annotated[str, AfterValidator(_part)], ...] = Field(
            default=("nvidia.com/gpu=1", "google.com/tpu=1", "amd.com/gpu=1"),
            description="how many devices one of a resource is, * standing for anything; "
            "slices (nvidia.com/mig-*) that are not listed are the sevenths of their names",
        )
        others: tuple[str, ...] = Field(
            default=("nvidia.com/gpu.shared", "nvidia.com/mig-*"),
            description="resources that are devices too; without an entry in devices their number is unknown",
        )
        user_annotation: str | None = Field(
            default=None, description="annotation of a pod with its user's name; unset: its service account"
        )
        pool_labels: tuple[str, ...] = Field(
            default=(
                "cloud.google.com/gke-nodepool",
                "eks.amazonaws.com/nodegroup",
                "karpenter.sh/nodepool",
                "kubernetes.azure.com/agentpool",
            ),
            description="labels by which pods choose a pool of nodes, told as their partition",
        )

    def __init__(self, settings: Settings, site: Site, *, api: Reader | None = None) -> None:
        self._settings = settings
        self._cluster = site.cluster
        self._table = tuple(requests.part(each) for each in settings.devices)
        self._api = api or Api(settings.kubeconfig, settings.context, settings.timeout_seconds)
        self._owners = Owners(self._api)
        self._alive: dict[str, tuple[str, Record]] = {}
        self._asked = float("-inf")
        self._pause_seconds = 0.0
        self._failure: str | None = None

    def poll(self, since: float | None, known: Collection[str], now: float) -> Poll:
        """All pods with accelerators that live, that ended lately, and that are gone since the last poll."""
        if 0 <= now - self._asked < self._pause_seconds:
            if self._failure is not None:
                raise Unavailable(
                    f"{self._failure}; asked again in {self._asked + self._pause_seconds - now:.0f} s"
                )
            return Poll()
        began = time.monotonic()
        self._asked = now
        self._owners.begin(now)
        seen = _Pass([], set(), set(), [])
        wish = 0.0
        for namespace in self._settings.namespaces or ("",):
            try:
                self._look(namespace, since, now, seen)
            except Unavailable as exc:
                wish = max(wish, exc.wait_seconds if isinstance(exc, Refused) else 0.0)
                seen.failures.append(log(str(exc)))
        complete = not seen.failures
        self._rest(time.monotonic() - began, wish, seen)
        gone = [*self._gone(seen, now)]
        return Poll(
            (*seen.records, *gone), now if complete else None, None, (*seen.failures, *self._owners.failures)
        )

    def check(self) -> tuple[str, ...]:
        """Nothing: what may not be read, a poll says."""
        return ()

    def _rest(self, seconds: float, wish: float, seen: _Pass) -> None:
        """How long to leave the server alone after this; `Unavailable` where it did not answer at all."""
        if seen.read:
            self._failure = None
            self._pause_seconds = min(max(seconds / _SHARE_OF_TIME, wish), _LONGEST_PAUSE_SECONDS)
            return
        doubled = self._pause_seconds * 2 if self._failure is not None else 15.0
        self._pause_seconds = min(max(doubled, wish, 15.0), _LONGEST_PAUSE_SECONDS)
        self._failure = seen.failures[0]
        raise Unavailable(self._failure)

    def _look(self, namespace: str, since: float | None, now: float, seen: _Pass) -> None:
        for pod in pages(self._api, pods_path(namespace), self._settings.page_size):
            record = self._record(pod, now)
            if record is None:
                continue
            uid = record.key.job_id
            seen.uids.add(uid)
            if record.facts.state in _LIVING:
                self._alive[uid] = text(table(pod, "metadata"), "namespace"), record
                seen.records.append(record)
            elif uid in self._alive or since is None or (record.facts.ended or now) > since - LOOK_BACK_SECONDS:
                self._alive.pop(uid, None)
                seen.records.append(record)
        seen.read.add(namespace)

    def _gone(self, seen: _Pass, now: float) -> Iterator[Record]:
        """Pods that were alive and are not there any more, where all of their namespace could be read."""
        for uid, (namespace, record) in [*self._alive.items()]:
            if uid in seen.uids or not seen.read & {"", namespace}:
                continue
            del self._alive[uid]
            facts = replace(
                record.facts, seen=now, state="CANCELLED", ended=now, doubt=_joined(record.facts.doubt, _MISSED)
            )
            yield Record(record.key, facts)

    def _record(self, pod: Mapping[str, Any], now: float) -> Record | None:
        """The record of a pod, None where it asks for no accelerator or is not to be made out."""
        spec, metadata = table(pod, "spec"), table(pod, "metadata")
        amounts = requests.requested(spec)
        count = requests.count(amounts, self._table, self._settings.others)
        uid, submitted = text(metadata, "uid"), moment(text(metadata, "creationTimestamp"))
        if count is None or not uid or submitted is None:
            return None
        owner, lived = self._owners.top(pod), life(pod)
        facts = self._facts(pod, owner, lived, now)
        facts = replace(
            facts,
            devices=count.devices,
            rule=count.rule,
            doubt=_joined(count.doubt, lived.doubt),
            cpus=amounts.get("cpu"),
        )
        comment = _comment(pod, owner)
        live = Live(now, comment) if comment or lived.state in _LIVING else None
        return Record(RecordId(self._cluster, uid, int(submitted)), facts, live)

    def _facts(self, pod: Mapping[str, Any], owner: Owner | None, lived: Life, now: float) -> Facts:
        spec, metadata = table(pod, "spec"), table(pod, "metadata")
        uid, name, namespace = (text(metadata, key)[:_NAME_LENGTH] for key in ("uid", "name", "namespace"))
        node = text(spec, "nodeName")
        limit = spec.get("activeDeadlineSeconds")
        return Facts(
            now, lived.state, lived.started, lived.ended,
            nodes=(node,) if node else (),
            whole=owner.uid if owner else uid,
            display=f"{namespace}/{owner.name if owner else name}",
            name=name,
            user=self._user(metadata, spec),
            account=namespace,
            partition=self._pool(spec),
            qos=text(spec, "priorityClassName"),
            limit_seconds=float(limit) if isinstance(limit, int) and limit > 0 else None,
            exit_code=lived.exit_code,
        )  # fmt: skip

    def _user(self, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
        """By the site's annotation, else by a service account of its own; everybody's is nobody's."""
        if self._settings.user_annotation is not None:
            return text(table(metadata, "annotations"), self._settings.user_annotation)[:_NAME_LENGTH]
        account = text(spec, "serviceAccountName")
        return f"serviceaccount:{account}"[:_NAME_LENGTH] if account not in ("", "default") else ""

    def _pool(self, spec: Mapping[str, Any]) -> str:
        chosen = table(spec, "nodeSelector")
        return next((text(chosen, each) for each in self._settings.pool_labels if text(chosen, each)), "")


def _joined(*doubts: str) -> str:
    return "; ".join(each for each in doubts if each)


def _comment(pod: Mapping[str, Any], owner: Owner | None) -> str:
    """What the annotations declare, as the comment of a batch job does; the pod's own before its owner's."""
    said = {**(owner.annotations if owner else {}), **declared(pod)}
    estimate, campaign = said.get("gpuwatch.dev/estimate", ""), said.get("gpuwatch.dev/campaign", "")
    words = [estimate.removeprefix("gpuwatch:").strip()] if estimate else []
    if campaign and "campaign=" not in estimate:
        words.append(f"campaign={campaign.strip()}")
    # What is longer than a declaration may be is still refused as too long, and is not kept whole.
    return f"gpuwatch: {' '.join(words)}"[: MAX_TEXT_BYTES + 20] if words else ""
