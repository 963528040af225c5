"""What jobs say at the socket: each message is answered for the job of the process that sent it, and no other."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from gpuwatch.agent.messages import Declare, EndRun, ReportProgress, StartRun
from gpuwatch.agent.records import Records
from gpuwatch.agent.registry import QUOTA_BYTES_PER_HOUR, Quota, Registry
from gpuwatch.agent.sampler import Clock
from gpuwatch.agent.socket import Peer
from gpuwatch.declaration import Declaration, estimates, parse
from gpuwatch.errors import Forbidden, Rejected
from gpuwatch.hygiene import label
from gpuwatch.jobs.base import JobSource, Run
from gpuwatch.model import Site

# What an entry of the journal takes beside the words in it; a run has two.
ENTRY_BYTES = 200
RUN_BYTES = 2 * ENTRY_BYTES


class Intake:
    """Takes messages in the socket's thread, under the agent's lock."""

    def __init__(
        self,
        site: Site,
        lock: AbstractContextManager[Any],
        registry: Registry,
        records: Records,
        jobs: Mapping[str, JobSource],
        clock: Clock,
    ) -> None:
        self._site = site
        self._lock = lock
        self._registry = registry
        self._records = records
        self._jobs = jobs
        self._clock = clock
        self._quota = Quota()

    def handle(self, peer: Peer, message: object) -> dict[str, Any]:
        """Answer one message of a process; raises `GpuwatchError` to refuse it."""
        if isinstance(message, StartRun):
            return self._start_run(peer, message)
        if isinstance(message, EndRun):
            return self._end_run(peer, message)
        if isinstance(message, Declare):
            return self._declare(peer, message)
        if isinstance(message, ReportProgress):
            return self._report(peer, message)
        return {"cluster": self._site.cluster, "node": self._site.node}

    def runs(self) -> Mapping[str, Run]:
        """The runs of this moment."""
        with self._lock:
            return dict(self._registry.runs)

    def _start_run(self, peer: Peer, message: StartRun) -> dict[str, Any]:
        with self._lock:
            if self._run_of(peer) is not None:
                raise Rejected(f"run: process {peer.pid} has started a run already, which has not ended")
            self._charge(peer, RUN_BYTES)
            job_id = f"run-{self._records.epoch[:4]}{self._records.next_seq():x}"
            name = label(message.name)
            self._registry.runs[job_id] = Run(job_id, name, peer.pid, peer.pid_start, peer.uid)
            self._records.note(self._clock.time(), "run_started", job_id=job_id, name=name, uid=peer.uid)
        return {"job_id": job_id}

    def _end_run(self, peer: Peer, message: EndRun) -> dict[str, Any]:
        with self._lock:
            job_id = self._run_of(peer)
            if job_id is None:
                raise Rejected(f"run_end: process {peer.pid} did not start a run")
            del self._registry.runs[job_id]
            self._records.note(self._clock.time(), "run_ended", job_id=job_id, exit_code=message.exit_code)
        return {"job_id": job_id}

    def _run_of(self, peer: Peer) -> str | None:
        for job_id, run in self._registry.runs.items():
            if (run.pid, run.pid_start) == (peer.pid, peer.pid_start):
                return job_id
        return None

    def _charge(self, peer: Peer, size: int) -> None:
        if not self._quota.take(peer.uid, size, self._clock.monotonic()):
            raise Rejected(
                f"user {peer.uid} has said too much in this hour; there is room for {QUOTA_BYTES_PER_HOUR} bytes"
            )

    def _job_of(self, peer: Peer) -> str:
        """The job of a process, by what the kernel says of it; not under the lock, as it reads procfs."""
        runs = self.runs()
        for source in self._jobs.values():
            job_id = source.job_of(peer.pid, runs)
            if job_id is not None:
                return job_id
        raise Rejected(f"process {peer.pid} belongs to no job on this node")

    def _declare(self, peer: Peer, message: Declare) -> dict[str, Any]:
        declaration = parse(message.text)
        job_id = self._job_of(peer)
        _check_scope(declaration, job_id)
        wall = self._clock.time()
        with self._lock:
            self._charge(peer, len(message.text.encode()) + ENTRY_BYTES)
            if declaration.scope is None or declaration.scope.kind == "job":
                told = estimates(declaration, job_id, f"uid:{peer.uid}", wall, "socket")
                self._registry.declare(job_id, told, declaration.campaign)
            key = self._registry.key_of(job_id)
            facts = {"job_id": job_id, "started": key.started if key else None, "channel": "socket"}
            who = {"uid": peer.uid, "pid": peer.pid, "text": message.text}
            self._records.keep("declaration", wall, facts | who)
        return {"job_id": job_id}

    def _report(self, peer: Peer, message: ReportProgress) -> dict[str, Any]:
        job_id = self._job_of(peer)
        with self._lock:
            before = self._registry.said(job_id).progress
            total = message.total if message.total is not None else before.total if before else None
            if total is None:
                raise Rejected("progress: the total is not known yet; send it with the first step")
            seq = self._records.next_seq()
            progress = self._registry.report(job_id, message.step, total, self._clock.time(), seq)
        return {"job_id": job_id, "ratio": progress.ratio}


def _check_scope(declaration: Declaration, job_id: str) -> None:
    """A process speaks for its own job, whatever it claims; of other scopes only a campaign is open to all."""
    scope = declaration.scope
    if scope is None or scope.kind == "campaign" or (scope.kind == "job" and scope.name == job_id):
        return
    raise Forbidden(f"for={scope}: this process belongs to job {job_id!r} and may not declare for that")
