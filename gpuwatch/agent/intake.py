"""What jobs say: each message is taken for the job that it comes from, and no other.

At the socket that is the job of the process that sent it, over HTTP that of the token, in a file that of the
directory, in the environment that of the process which has it.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from gpuwatch import hygiene
from gpuwatch.agent.messages import Declare, EndRun, Message, ReportProgress, StartRun, Written
from gpuwatch.agent.records import Records
from gpuwatch.agent.registry import QUOTA_BYTES_PER_HOUR, Quota, Registry, Said
from gpuwatch.agent.sampler import Clock
from gpuwatch.agent.socket import Peer
from gpuwatch.declaration import Declaration, estimates, format, parse
from gpuwatch.errors import Forbidden, GpuwatchError, Rejected, Unavailable
from gpuwatch.hygiene import label
from gpuwatch.jobs.base import JobSource, JobsReading, Run
from gpuwatch.model import JobKey, Site

# What an entry of the journal takes beside the words in it; a run has two.
ENTRY_BYTES = 200
RUN_BYTES = 2 * ENTRY_BYTES
MOST_WARNED = 256

log = logging.getLogger("gpuwatch.agent")


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks for a job; what is not known of the process is None.

    `over`: the job may have ended just before, and then it is meant all the same.
    """

    job_id: str
    uid: int | None = None
    pid: int | None = None
    over: bool = False

    @property
    def name(self) -> str:
        """Who it is, for `Estimate.declared_by`."""
        return f"job:{self.job_id}" if self.uid is None else f"uid:{self.uid}"


class Intake:
    """Takes messages in the threads of those that bring them, under the agent's lock."""

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
        self.jobs = jobs
        self._clock = clock
        self._quota = Quota()
        self._counted: Counter[tuple[str, str]] = Counter()
        self._warned: set[tuple[str, str]] = set()

    def handle(self, peer: Peer, message: object) -> dict[str, Any]:
        """Answer one message of a process; raises `GpuwatchError` to refuse it."""
        if isinstance(message, StartRun):
            return self._start_run(peer, message)
        if isinstance(message, EndRun):
            return self._end_run(peer, message)
        if isinstance(message, Declare | ReportProgress):
            return self.speak(Speaker(self._job_of(peer), peer.uid, peer.pid), message)
        return {"cluster": self._site.cluster, "node": self._site.node}

    def speak(self, speaker: Speaker, message: Message | Written) -> dict[str, Any]:
        """Answer what somebody who may speak for a job says; raises `GpuwatchError` to refuse it."""
        with self._lock:
            if isinstance(message, Declare):
                self._declare(speaker, message.text, message.channel)
                return {"job_id": speaker.job_id}
            if isinstance(message, ReportProgress):
                return self._report(speaker, Written(message))
            if isinstance(message, Written):
                return self._report(speaker, message)
        raise Rejected("type: one that only a process at the socket can send")

    def runs(self) -> Mapping[str, Run]:
        """The runs of this moment."""
        with self._lock:
            return dict(self._registry.runs)

    def counters(self) -> Mapping[tuple[str, str], float]:
        """How much was heard so far that repeats itself, by way and outcome; under the agent's lock."""
        return {key: float(count) for key, count in self._counted.items()}

    def hear_environment(self, jobs: Mapping[str, JobsReading | None]) -> None:
        """Take what processes have in their environment, for jobs that hold a device; under the agent's lock."""
        for told in jobs.values():
            for job_id, variable in told.declared.items() if told is not None else ():
                if self._registry.key_of(job_id) is not None:
                    self._hear(Speaker(job_id, variable.uid, variable.pid), "environment", variable.text)

    def hear_declaration(self, speaker: Speaker, text: str) -> None:
        """Take the text of a job's file `declare`, unless it was heard before."""
        with self._lock:
            self._hear(speaker, "file", text)

    def hear_progress(self, speaker: Speaker, written: Written) -> None:
        """Take the report in a job's file `progress`, unless it is older than the last one."""
        with self._lock:
            try:
                self._report(speaker, written)
            except GpuwatchError as exc:
                self._refused(speaker, "file", exc)
            else:
                self._counted["file", "ok"] += 1

    def refuse_file(self, speaker: Speaker, refusal: GpuwatchError) -> None:
        """Count a file that cannot be read as what it should be."""
        with self._lock:
            self._refused(speaker, "file", refusal)

    def _refused(self, speaker: Speaker, way: str, refusal: GpuwatchError) -> None:
        self._counted[way, "forbidden" if isinstance(refusal, Forbidden) else "rejected"] += 1
        if (way, speaker.job_id) not in self._warned and len(self._warned) < MOST_WARNED:
            self._warned.add((way, speaker.job_id))
            said = f"what a job says is refused by={way} job_id={speaker.job_id} reason={refusal}"
            log.warning("%s", hygiene.log(said))

    def _hear(self, speaker: Speaker, channel: str, text: str) -> None:
        """A declaration from where it stands for as long as the job runs: taken, or refused, once."""
        _, said = self._meant(speaker)
        raw = _digest(text)
        if said.heard.get(f"{channel} text") == raw:
            return
        said.heard[f"{channel} text"] = raw
        try:
            self._declare(speaker, text, channel)
        except GpuwatchError as exc:
            self._refused(speaker, channel, exc)
        else:
            self._counted[channel, "ok"] += 1

    def _start_run(self, peer: Peer, message: StartRun) -> dict[str, Any]:
        with self._lock:
            if self._run_of(peer) is not None:
                raise Rejected(f"run: process {peer.pid} has started a run already, which has not ended")
            self._charge(peer.uid, RUN_BYTES)
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

    def _charge(self, who: int | str, size: int) -> None:
        if not self._quota.take(who, size, self._clock.monotonic()):
            user = f"user {who}" if isinstance(who, int) else f"job {who!r}"
            # Not rejected: no mistake of this program's, which would end by it.
            raise Unavailable(
                f"{user} has said too much in this hour; there is room for {QUOTA_BYTES_PER_HOUR} bytes"
            )

    def _job_of(self, peer: Peer) -> str:
        """The job of a process, by what the kernel says of it; not under the lock, as it reads procfs."""
        runs = self.runs()
        for source in self.jobs.values():
            job_id = source.job_of(peer.pid, runs)
            if job_id is not None:
                return job_id
        raise Forbidden(f"process {peer.pid} belongs to no job on this node")

    def _meant(self, speaker: Speaker) -> tuple[JobKey | None, Said]:
        if speaker.over:
            return self._registry.latest(speaker.job_id)
        return self._registry.key_of(speaker.job_id), self._registry.said(speaker.job_id)

    def _declare(self, speaker: Speaker, text: str, channel: str) -> None:
        declaration = parse(text)
        _check_scope(declaration, speaker.job_id)
        key, said = self._meant(speaker)
        meaning = _digest(format(declaration))
        if channel == "environment" and said.heard.get(channel) == meaning:
            # It comes once from each task, and from who started them, and from their environment.
            return
        who = speaker.job_id if speaker.uid is None else speaker.uid
        self._charge(who, len(text.encode()) + ENTRY_BYTES)
        if channel == "environment":
            said.heard[channel] = meaning
        wall = self._clock.time()
        if declaration.scope is None or declaration.scope.kind == "job":
            told = estimates(declaration, speaker.job_id, speaker.name, wall, channel)
            self._registry.declare(said, told, declaration.campaign, channel)
        facts = {"job_id": speaker.job_id, "started": key.started if key else None, "channel": channel}
        self._records.keep("declaration", wall, facts | {"uid": speaker.uid, "pid": speaker.pid, "text": text})

    def _report(self, speaker: Speaker, written: Written) -> dict[str, Any]:
        _, said = self._meant(speaker)
        before, wall = said.progress, self._clock.time()
        time = wall if written.time is None else min(wall, written.time)
        report = written.report
        if before is not None and written.time is not None and time <= before.time:
            return {"job_id": speaker.job_id, "ratio": before.ratio}
        total = report.total if report.total is not None else before.total if before else None
        if total is None:
            raise Rejected("progress: the total is not known yet; send it with the first step")
        if before is not None and total != before.total:
            self._note_total(speaker, before.total, total, wall)
        seq = self._records.next_seq()
        process = written.pid if written.pid is not None else speaker.pid
        progress = self._registry.report(said, report.step, total, time, seq, process)
        return {"job_id": speaker.job_id, "ratio": progress.ratio}

    def _note_total(self, speaker: Speaker, before: float, after: float, wall: float) -> None:
        """Keep both totals, as far as there is room: a total that changes all the time says nothing more."""
        who = speaker.job_id if speaker.uid is None else speaker.uid
        if self._quota.take(who, ENTRY_BYTES, self._clock.monotonic()):
            self._records.note(wall, "total_changed", job_id=speaker.job_id, before=before, after=after)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _check_scope(declaration: Declaration, job_id: str) -> None:
    """A process speaks for its own job, whatever it claims; of other scopes only a campaign is open to all."""
    scope = declaration.scope
    if scope is None or scope.kind == "campaign" or (scope.kind == "job" and scope.name == job_id):
        return
    raise Forbidden(f"for={scope}: this process belongs to job {job_id!r} and may not declare for that")
