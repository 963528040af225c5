"""Which campaign a job belongs to, by what was said before and after the fact, and who may say it. Pure.

In this order: what was decided after the fact, else what the job declared, else a campaign's pattern. Decisions
are a log that is only ever added to; what counts does not depend on the order in which it is read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from typing import Literal, NamedTuple

from gpuwatch.ledger.attempts import TOLERANCE_SECONDS
from gpuwatch.ledger.jobs import Job
from gpuwatch.model import EMPTY

What = Literal["add", "remove", "agree", "disagree"]
Role = Literal["self", "support", "admin"]
Standing = Literal["", "owner", "coordinator", "support", "admin"]
"""By what right somebody decides about a job; empty: by none, so that its owner has to agree."""
Why = Literal["added", "declared", "pattern"]

_USER = "user:"


class JobRef(NamedTuple):
    """A job as decisions name it, for good: by a time at which it ran, as names of jobs may move."""

    cluster: str
    job_id: str
    started: int


class Person(NamedTuple):
    """Somebody, by name, by number, or both; either may be unknown."""

    user: str = ""
    uid: int | None = None

    def is_same(self, other: Person) -> bool:
        """Whether both are one: by name where both have one, else by number."""
        if self.user and other.user:
            return self.user == other.user
        return self.uid is not None and self.uid == other.uid


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: what they are, and the accounts they coordinate, as (cluster, account)."""

    person: Person
    role: Role = "self"
    coordinates: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """Something said of a job and a campaign at a time (Unix seconds); `job` None: of all jobs of who said it."""

    id: int
    time: float
    campaign: str
    what: What
    by: Person
    standing: Standing = ""
    job: JobRef | None = None
    reason: str = ""

    @property
    def order(self) -> tuple[float, int]:
        """The later one counts."""
        return self.time, self.id


@dataclass(frozen=True, slots=True)
class Pattern:
    """What jobs of a campaign look like: `name` is a glob, the others are exact where they are given.

    `begins` and `ends` bound when a job started, Unix seconds, `ends` not included.
    """

    id: int
    time: float
    campaign: str
    by: Person
    role: Role
    name: str
    user: str | None = None
    account: str | None = None
    partition: str | None = None
    begins: float | None = None
    ends: float | None = None

    def matches(self, job: Job) -> bool:
        """Whether a job looks like it, whoever owns it."""
        facts = job.record.facts if job.record is not None else None
        wanted = (self.user, self.account, self.partition)
        there = (owner_of(job).user, facts.account if facts else "", facts.partition if facts else "")
        return (
            all(one is None or one == other for one, other in zip(wanted, there, strict=True))
            and (self.begins is None or job.started >= self.begins)
            and (self.ends is None or job.started < self.ends)
            and _glob(self.name).match(job.name or "") is not None
        )


@dataclass(frozen=True, slots=True)
class Membership:
    """Why a job belongs to a campaign: by whose word and when, where that is known."""

    campaign: str
    why: Why
    by: str = ""
    time: float | None = None
    reason: str = ""
    standing: Standing = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A job that somebody without a right to it added: its owner has not agreed, or `refused`."""

    campaign: str
    by: str
    time: float
    refused: bool


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the decisions about a job come to."""

    added: Decision | None = None
    removed: frozenset[str] = frozenset()
    requests: tuple[Request, ...] = ()


_NOTHING = _Verdict()
_Found = tuple[tuple[float, int], Decision]


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that was said after the fact about some jobs; `coordinates` is by the name of the coordinator."""

    decisions: Mapping[tuple[str, str], Sequence[Decision]] = EMPTY
    consents: Sequence[Decision] = ()
    patterns: Sequence[Pattern] = ()
    coordinates: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)

    @property
    def are_empty(self) -> bool:
        """Whether jobs belong to what they declare, and to nothing else."""
        return not self.decisions and not self.patterns

    def membership(self, job: Job) -> Membership | None:
        """The campaign that a job belongs to, and why. `job.campaign` is taken for what it declared."""
        verdict = self._verdict(job)
        if verdict.added is not None:
            said = verdict.added
            return Membership(said.campaign, "added", name_of(said.by), said.time, said.reason, said.standing)
        if job.campaign is not None and job.campaign not in verdict.removed:
            return Membership(job.campaign, "declared")
        for pattern in sorted(self.patterns, key=lambda each: (-each.time, -each.id)):
            if pattern.campaign not in verdict.removed and pattern.matches(job) and self._may_match(pattern, job):
                return Membership(pattern.campaign, "pattern", name_of(pattern.by), pattern.time, pattern.name)
        return None

    def requests(self, job: Job) -> tuple[Request, ...]:
        """The campaigns that somebody wants a job to belong to, without its owner's agreement."""
        return self._verdict(job).requests

    def removed_from(self, job: Job) -> frozenset[str]:
        """The campaigns that it was taken out of."""
        return self._verdict(job).removed

    def _verdict(self, job: Job) -> _Verdict:
        said = [each for each in self.decisions.get((job.cluster, job.job_id), ()) if is_about(each.job, job)]
        return _verdict(said, self.consents, owner_of(job)) if said else _NOTHING

    def _may_match(self, pattern: Pattern, job: Job) -> bool:
        actor = Actor(pattern.by, pattern.role, self.coordinates.get(pattern.by.user, frozenset()))
        if standing_of(actor, job):
            return True
        said = [each for each in self.decisions.get((job.cluster, job.job_id), ()) if is_about(each.job, job)]
        consent = _consent([*said, *self.consents], pattern.campaign, owner_of(job))
        return consent is not None and consent.what in ("agree", "add")


def name_of(person: Person) -> str:
    """What somebody is called; empty where that is not known."""
    return person.user or ("" if person.uid is None else f"uid:{person.uid}")


def owner_of(job: Job) -> Person:
    """Whose job it is: by the batch system's word, else by the kernel's."""
    user = job.record.facts.user if job.record is not None else ""
    if not user and job.job_id.startswith(_USER):
        user = job.job_id.removeprefix(_USER)
    return Person(user, job.uid)


def is_own(person: Person, job: Job) -> bool:
    """Whether a job is somebody's own."""
    return person.is_same(owner_of(job))


def standing_of(actor: Actor, job: Job) -> Standing:
    """By what right an actor decides about a job; empty where by none."""
    if is_own(actor.person, job):
        return "owner"
    account = job.record.facts.account if job.record is not None else ""
    if account and (job.cluster, account) in actor.coordinates:
        return "coordinator"
    return "" if actor.role == "self" else actor.role


def ref_of(job: Job) -> JobRef:
    """How decisions name a job."""
    return JobRef(job.cluster, job.job_id, job.started)


def is_about(ref: JobRef | None, job: Job) -> bool:
    """Whether a decision names this job, by overlap: ids come back, and earlier attempts are told of late."""
    return (
        ref is not None
        and (ref.cluster, ref.job_id) == (job.cluster, job.job_id)
        and job.started - TOLERANCE_SECONDS <= ref.started <= job.last_seen + TOLERANCE_SECONDS
    )


def _verdict(said: Iterable[Decision], consents: Sequence[Decision], owner: Person) -> _Verdict:
    by_campaign: dict[str, list[Decision]] = defaultdict(list)
    for each in said:
        by_campaign[each.campaign].append(each)
    best: _Found | None = None
    removed: set[str] = set()
    requests: list[Request] = []
    for campaign, about in sorted(by_campaign.items()):
        consent = _consent([*about, *consents], campaign, owner)
        found = _in_force(about, consent)
        if found is not None and not isinstance(found, Request):
            best = found if best is None else max(best, found, key=_when)
            continue
        if found is not None:
            requests.append(found)
        if any(each.standing and each.what in ("add", "remove") for each in about):
            removed.add(campaign)
    return _Verdict(best[1] if best else None, frozenset(removed), tuple(requests))


def _when(found: _Found) -> tuple[float, int]:
    return found[0]


def _in_force(about: Sequence[Decision], consent: Decision | None) -> _Found | Request | None:
    """The decision by which a job is in a campaign and since when, or that it is asked for, or neither."""
    last = _latest(each for each in about if each.standing and each.what in ("add", "remove"))
    if last is not None and last.what == "add" and not _is_taken_back(last, consent):
        return last.order, last
    asked = _asked(about)
    if asked is None or (last is not None and asked.order < last.order):
        return None
    agreed = consent is not None and consent.what in ("agree", "add")
    if consent is not None and agreed and (last is None or consent.order > last.order):
        return max(asked.order, consent.order), asked
    refused = consent is not None and not agreed and consent.order > asked.order
    return Request(asked.campaign, name_of(asked.by), asked.time, refused)


def _asked(about: Iterable[Decision]) -> Decision | None:
    """The last request that whoever made it has not taken back."""
    by_person: dict[str, list[Decision]] = defaultdict(list)
    for each in about:
        if not each.standing and each.what in ("add", "remove"):
            by_person[name_of(each.by)].append(each)
    last = (_latest(said) for said in by_person.values())
    return _latest(each for each in last if each is not None and each.what == "add")


def _is_taken_back(added: Decision, consent: Decision | None) -> bool:
    """Whether an owner disagrees with what he did himself; with what others may do he cannot."""
    return (
        added.standing == "owner"
        and consent is not None
        and consent.what == "disagree"
        and consent.order > added.order
    )


def _consent(said: Iterable[Decision], campaign: str, owner: Person) -> Decision | None:
    """What the owner said last of a job being in a campaign, of this job or of all of his."""
    return _latest(
        each
        for each in said
        if each.campaign == campaign
        and each.by.is_same(owner)
        and (each.what in ("agree", "disagree") or each.standing == "owner")
    )


def _latest(decisions: Iterable[Decision]) -> Decision | None:
    return max(decisions, key=lambda each: each.order, default=None)


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
