"""Whose jobs a reader may see, as a condition on jobs. Pure; who the reader is, is decided above."""

from __future__ import annotations

from dataclasses import dataclass

from gpuwatch.ledger.jobs import Campaign, Job

_USER = "user:"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a job is: the user by name where that is known, else the user id that nodes saw; None: not known."""

    cluster: str
    user: str | None = None
    uid: int | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Audience:
    """A reader who sees `everything`, or his own jobs and those of some accounts, of one cluster.

    A name is one person on one cluster only, so nothing of another cluster is his own.
    """

    everything: bool = False
    cluster: str = ""
    user: str = ""
    uid: int | None = None
    accounts: frozenset[str] = frozenset()

    def admits(self, owner: Owner) -> bool:
        """Whether a job of that owner may be seen."""
        if self.everything:
            return True
        if owner.cluster != self.cluster:
            return False
        return self.owns(owner) or owner.account in self.accounts

    def owns(self, owner: Owner) -> bool:
        """Whether it is the reader himself. A user id counts only where the user's name is not known."""
        if owner.cluster != self.cluster:
            return False
        if owner.user is not None:
            return owner.user == self.user
        return owner.uid is not None and owner.uid == self.uid


EVERYTHING = Audience(everything=True)
"""Who may see all there is."""


def owner_of(job: Job) -> Owner:
    """Whose a job is: the batch system's word, else the user it is named after, else who began it on a node."""
    facts = job.record.facts if job.record is not None else None
    user = (facts.user if facts else "") or (job.job_id.removeprefix(_USER) if _is_user(job.job_id) else "")
    return Owner(job.cluster, user or None, job.uid, (facts.account or None) if facts else None)


def seen_by(audience: Audience, campaign: Campaign) -> Campaign | None:
    """A campaign as far as the reader may see its jobs; None where he may see none.

    Anybody can say that his job belongs to a campaign, so belonging to one opens nobody else's jobs.
    """
    jobs = tuple(job for job in campaign.jobs if audience.admits(owner_of(job)))
    if len(jobs) == len(campaign.jobs):
        return campaign
    return Campaign(campaign.scope, jobs) if jobs else None


def _is_user(job_id: str) -> bool:
    return job_id.startswith(_USER)
