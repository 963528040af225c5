"""The contract of a scheduler: what a batch system allocated to whom, told as records that the ledger merges.

A record may be told any number of times and in any order. Of each of its two groups of facts – `Facts`, and the
`Live` ones that only a job's lifetime shows – the ledger keeps the latest, so that repetition changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gpuwatch.model import EMPTY

WAITING = frozenset({"PENDING"})
"""States of a record that holds nothing yet."""

RUNNING = frozenset({"RUNNING", "SUSPENDED"})
"""States of a record that holds its devices now; whatever is in neither set has ended."""

REQUEUES = frozenset({"REQUEUED", "PREEMPTED", "NODE_FAIL"})
"""States in which an attempt ends and the same job may be started again."""


class RecordId(NamedTuple):
    """The key of a record: one submission of a job. A requeue is a submission of its own, so is a reused id.

    `job_id` is the id by which nodes know the job (Slurm: JobIDRaw, Kubernetes: pod uid), `submitted` is in Unix
    seconds.
    """

    cluster: str
    job_id: str
    submitted: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the batch system keeps of an attempt. `seen` is when it said so, or for a file the last time in it.

    Times are Unix seconds, `started` and `ended` are None until they come. `devices` counts whole devices (a
    fraction for a part of one; None: not said), `rule` says how they were found, `doubt` what contradicts it.
    `whole` is the job that this is a part of (a heterogeneous job, a Kubernetes owner), its own id for most;
    `display` what users call it (`12_3`, `12+1`, `namespace/name`). `tasks` is above 1 for array tasks that wait
    together. `limit_seconds` is the batch system's time limit: a ceiling, never an estimate; None is unlimited.
    `billing` is the rate in the batch system's own units, TRES-billing units.
    """

    seen: float
    state: str
    started: float | None = None
    ended: float | None = None
    devices: float | None = None
    rule: str = ""
    doubt: str = ""
    cpus: float | None = None
    nodes: tuple[str, ...] = ()
    whole: str = ""
    display: str = ""
    name: str = ""
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    limit_seconds: float | None = None
    billing: float | None = None
    restarts: int | None = None
    exit_code: int | None = None
    tasks: int = 1


@dataclass(frozen=True, slots=True)
class Live:
    """What a batch system may forget when the job ends; `seen` is when it said so.

    `devices` are those counted by the indices of its generic resources, `indices` which they are, by node.
    """

    seen: float
    comment: str = ""
    admin_comment: str = ""
    devices: float | None = None
    indices: Mapping[str, tuple[int, ...]] = EMPTY


@dataclass(frozen=True, slots=True)
class Record:
    """One attempt of a job, as far as one answer of the batch system tells."""

    key: RecordId
    facts: Facts
    live: Live | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What an account (`user` empty) or one user in it may use, and has used, of one resource.

    `resource` is a TRES name (`gres/gpu`, `billing`, `cpu`); amounts are seconds of it (GrpTRESMins × 60), None
    where there is no limit or it is not known. `starts` and `ends` bound the period, where it has one.
    """

    cluster: str
    account: str
    user: str
    resource: str
    limit_seconds: float | None
    used_seconds: float | None
    seen: float
    parent: str = ""
    coordinators: tuple[str, ...] = ()
    starts: float | None = None
    ends: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """An answer. `until`: all that ended before is told; None where the history could not be read this time.

    `grants` is None where they were not asked for this time. `failures` says what could not be asked or answered,
    and why, `unreadable` the same of single rows in answers that could otherwise be read.
    """

    records: Sequence[Record] = ()
    until: float | None = None
    grants: Sequence[Grant] | None = None
    failures: Sequence[str] = ()
    unreadable: Sequence[str] = ()


class Scheduler(Protocol):
    """One batch system. The constructor takes `(settings, site)` as a device source's does.

    `poll` is never called twice at once. It must not be able to hurt the batch system: one query at a time, a
    limit on each, and fewer of them when it is slow. It raises `errors.Unavailable` where nothing could be read.
    """

    def poll(self, since: float | None, known: Collection[str], now: float) -> Poll:
        """What waits and runs now, and what ended after `since` (None: never asked before).

        `known` has the job ids of which the ledger needs no indices: they have them, or an agent sees the devices.
        """
        ...

    def check(self) -> Sequence[str]:
        """What the batch system's set-up, or missing rights, lose of all this: a sentence each, for operators.

        Asked by `gpuwatch check --probe` alone. Raises `errors.Unavailable` where it does not answer.
        """
        ...
