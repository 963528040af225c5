"""Declarations that come to accounting itself: who may make them for what, and how they are kept.

A refusal names who may, and tells nobody of what he may not read whether it is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from gpuwatch import declaration
from gpuwatch.declaration import Declaration
from gpuwatch.errors import DeclarationError, Forbidden
from gpuwatch.ledger import queries
from gpuwatch.ledger.audience import Audience, Owner
from gpuwatch.ledger.declarable import Found, found, only
from gpuwatch.ledger.ledger import JournalEntry
from gpuwatch.ledger.scopes import Revision, declarer_of, estimates_of
from gpuwatch.ledger.writing import post_declaration
from gpuwatch.model import Scope

CHANNEL = "api"
WHO_MAY = {
    "job": "its owner, a coordinator of its account and admins may",
    "array": "its owner, a coordinator of its account and admins may",
    "campaign": "who owns a job in it or declared for it first, a coordinator of a job in it, and admins may",
    "account": "its coordinators and admins may",
}
"""By kind of scope, who may declare for it."""


@dataclass(frozen=True, slots=True)
class Declarer:
    """Who declares, as it is proven: `own` is what is his, `readable` what he may read; an admin may everything.

    `name` is empty where the user id has none; `how` is the way by which it is proven.
    """

    name: str
    uid: int | None
    how: str
    own: Audience
    readable: Audience
    is_admin: bool = False

    @property
    def labels(self) -> frozenset[str]:
        """What declarations call him."""
        names = {f"user:{self.name}"} if self.name else set()
        return frozenset(names | ({f"uid:{self.uid}"} if self.uid is not None else set()))


def may_declare(who: Declarer, what: Found) -> bool:
    """Whether he may declare for it; a campaign that nobody has spoken for is whoever's comes first."""
    if who.is_admin:
        return True
    if what.scope.kind != "campaign":
        return bool(what.owners) and all(map(who.own.admits, what.owners))
    return (
        _begins(what)
        or any(map(who.own.admits, what.owners))
        or (what.first is not None and who.own.owns(what.first))
    )


def _begins(what: Found) -> bool:
    """Whether it is a campaign that nobody has spoken for."""
    return what.scope.kind == "campaign" and not what.owners and what.first is None


def readable(who: Declarer, what: Found) -> Found | None:
    """What is declared for it, as far as he may read it; None where that is nothing.

    Of a campaign whose jobs he may not all read it is what he declared himself: anybody can join one.
    """
    is_known = bool(what.owners or what.revisions)
    if who.readable.everything:
        return what if is_known else None
    if what.owners and all(map(who.readable.admits, what.owners)):
        return what
    here = (each for each in what.revisions if each.cluster == who.own.cluster)
    own = [each for each in here if each.estimate.declared_by in who.labels]
    is_his = what.scope.kind == "campaign" and (own or any(map(who.readable.admits, what.owners)))
    return only(what, own) if is_his else None


def declared_for(connection: Connection, who: Declarer, scope: Scope, now: float) -> Found | None:
    """What is declared for a scope, every revision, as far as he may read it; None where he may read nothing."""
    seen = (readable(who, each) for each in found(connection, scope, who.own.cluster, now))
    return next((each for each in seen if each is not None), None)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A declaration that may be made: for what, and the entry of the journal."""

    what: Found
    entry: JournalEntry


def admitted(connection: Connection, who: Declarer, text: str, now: float) -> Admitted | None:
    """What he declares, as `keep` is to keep it; None where there is no such job.

    Raises `DeclarationError` for what cannot be declared so, `Forbidden` for what he may not.
    """
    read, scope = _read(text)
    candidates = found(connection, scope, who.own.cluster, now)
    what = next((each for each in candidates if may_declare(who, each)), None)
    if what is not None:
        said = declaration.format(Declaration(what.scope, read.amounts, None, read.basis))
        entry = JournalEntry(now, None, what.started, CHANNEL, who.uid, None, said, who.name or None)
        return Admitted(what, entry)
    if who.readable.everything and not candidates:
        return None
    raise Forbidden(_refusal(who, scope, candidates))


def keep(connection: Connection, who: Declarer, admitted: Admitted) -> None:
    """Keep what he declares, in the caller's transaction.

    Raises `Forbidden` where somebody else has come first to a campaign that was new when it was read.
    """
    what = admitted.what
    post_declaration(connection, what.cluster, admitted.entry)
    if who.is_admin or not _begins(what):
        return
    # Looked for after the writing: of two that write at once the second waits for the number of the first.
    said = queries.said_for(connection, "campaign", [what.scope.name]).get(what.scope.name, [])
    if not all(who.own.owns(Owner(key.cluster, entry.who, entry.uid)) for key, entry in said):
        raise Forbidden(_refusal(who, what.scope, ()))


def stored(connection: Connection, admitted: Admitted, now: float) -> Found:
    """The revisions that it has become; those of a job that began or left the queue meanwhile too."""
    what, entry = admitted.what, admitted.entry
    said = (entry.time, entry.channel, declarer_of(entry))
    for each in found(connection, what.scope, what.cluster, now):
        ours = ((one, one.estimate) for one in each.revisions if each.cluster == what.cluster)
        new = [one for one, its in ours if (its.declared_at, its.channel, its.declared_by) == said]
        if new:
            return only(each, new)
    return only(what, (Revision(each, in_force=False) for each in estimates_of(entry)))


def _read(text: str) -> tuple[Declaration, Scope]:
    """A declaration as it may come from outside of a job, and its scope."""
    read = declaration.parse(text)
    if read.scope is None:
        there_is = "job:ID|campaign:NAME|account:NAME|array:ID"
        raise DeclarationError(f"for: nothing says what this is for; add for={there_is}")
    if read.campaign is not None:
        there = "the job says it itself, or `gpuwatch campaign add` does"
        raise DeclarationError(f"campaign: is not declared from outside of a job; {there}")
    if read.tags:
        raise DeclarationError("tag: is not declared from outside of a job; `gpuwatch tag` gives tags to jobs")
    return read, read.scope


def _refusal(who: Declarer, scope: Scope, candidates: tuple[Found, ...]) -> str:
    who_may = WHO_MAY[scope.kind]
    if any(readable(who, each) is not None for each in candidates):
        return f"for={scope}: is not yours to declare for; {who_may}"
    return f"for={scope}: there is none of that name, or it is not yours to declare for; {who_may}"
