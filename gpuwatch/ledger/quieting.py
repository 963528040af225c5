"""Muting and acknowledging alerts: who may do so for what, and how it is written down.

A mute keeps everybody from hearing of something, so that more is needed for it than to be concerned: all of a
scope must be one's own. A refusal names who may, and tells nobody of what he may not read whether it is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from gpuwatch.errors import Forbidden, Rejected
from gpuwatch.ledger import episodes, mutes, queries
from gpuwatch.ledger.audience import Owner, owner_of
from gpuwatch.ledger.declarable import found
from gpuwatch.ledger.declaring import Declarer
from gpuwatch.ledger.episodes import Acted, Episode
from gpuwatch.ledger.ledger import NOT_STARTED
from gpuwatch.ledger.mutes import Mute
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.model import Concern, Scope
from gpuwatch.notifiers.kinds import KINDS

_JOBS = "its owner, a coordinator of its account and admins may"
WHO_MAY = {
    "job": _JOBS,
    "array": _JOBS,
    "campaign": "who owns all jobs in it, a coordinator of all of them, and admins may",
    "account": "its coordinators and admins may",
    "user": "that user and admins may",
    "partition": "admins may",
    "cluster": "admins may",
}
"""By kind of scope, who may mute it and acknowledge its alerts."""

REASON_LENGTH = 500
"""Characters."""

FOREVER = "forever"
_DURATION = re.compile(r"([0-9]{1,6})(m|h|d|w)")
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}


@dataclass(frozen=True, slots=True)
class Quieted:
    """What became muted or acknowledged: the alerts that are active."""

    scope: Scope
    alerts: tuple[Episode, ...]
    mute: Mute | None = None


def scope_of(text: str) -> Scope:
    """What KIND:NAME means, or the id or name of a job alone; `Rejected` for what can be none."""
    kind, colon, name = text.partition(":")
    scope = Scope(kind, name) if colon and kind in WHO_MAY else Scope("job", text)
    storable = scope.name.encode("utf-8", "replace").decode() == scope.name
    if 0 < len(scope.name) <= 256 and scope.name.isprintable() and storable:
        return scope
    kinds = ", ".join(f"{each}:NAME" for each in WHO_MAY if each != "job")
    raise Rejected(f"scope: {text[:40]!r} is none; write the id of a job, or {kinds}")


def until_of(text: str, now: float) -> float | None:
    """When a mute of a duration ends, as 30m, 2h, 7d or 2w; None for `forever`. `Rejected` for what is none."""
    if text == FOREVER:
        return None
    read = _DURATION.fullmatch(text)
    if read is None or int(read[1]) == 0:
        raise Rejected(f"for: {text[:40]!r} is no duration; write 2h, 7d, 2w or {FOREVER}")
    return now + int(read[1]) * _UNITS[read[2]]


def kind_in(text: str) -> str:
    """A kind of alert, or nothing for each; `Rejected` for what is none."""
    if text and text not in KINDS:
        raise Rejected(f"kind: {text[:40]!r} is no kind of alert; there is: {', '.join(KINDS)}")
    return text


def number_of(text: str) -> int:
    """The number of a mute; `Rejected` for what is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Rejected(f"number: {text[:40]!r} is none; `gpuwatch alerts mutes` lists them")
    return int(text)


def owner_in(cluster: str, key: AlertKey, concern: Concern) -> Owner:
    """Whose an alert is, as an audience admits it: of a campaign of several people it is nobody's own."""
    account = concern.account or (key.scope.name if key.scope.kind == "account" else "")
    return Owner(cluster, concern.user or None, None, account or None)


def may_read(who: Declarer, episode: Episode) -> bool:
    """Whether he may know of an alert."""
    return who.readable.admits(owner_in(episode.cluster, episode.key, episode.concern))


def meant(connection: Connection, who: Declarer, scope: Scope, now: float) -> Scope | None:
    """The scope as alerts call it, if he may quiet it; None where there is none. Raises `Forbidden`."""
    if scope.kind in (*mutes.PEOPLE, "cluster"):
        if who.is_admin or _is_his(who, scope):
            return scope
        raise Forbidden(_refusal(scope))
    if scope.kind == "job":
        there, his = _job(connection, who, scope, now)
    else:
        owners = found(connection, scope, who.own.cluster, now)[0].owners
        there = bool(owners)
        his = scope if there and (who.is_admin or all(map(who.own.admits, owners))) else None
    if his is not None:
        return his
    if who.readable.everything and not there:
        return None
    raise Forbidden(_refusal(scope))


def _is_his(who: Declarer, scope: Scope) -> bool:
    if scope.kind == "user":
        return bool(who.name) and scope.name == who.name
    return scope.kind == "account" and scope.name in who.own.accounts


def _job(connection: Connection, who: Declarer, scope: Scope, now: float) -> tuple[bool, Scope | None]:
    """Whether there is such a job, and what alerts call it if it is his; one that waits has its id for a name."""
    here = [job for job in queries.jobs_named(connection, scope.name, now) if job.cluster == who.own.cluster]
    his = [job.scope for job in here if who.is_admin or who.own.admits(owner_of(job))]
    if his:
        return True, his[0]
    queued = [
        each for each in found(connection, scope, who.own.cluster, now)
        if each.started == NOT_STARTED and each.cluster == who.own.cluster
    ]  # fmt: skip
    his = [each.scope for each in queued if who.is_admin or any(map(who.own.admits, each.owners))]
    return bool(here or queued), his[0] if his else None


def _refusal(scope: Scope) -> str:
    return f"{scope}: there is none, or its alerts are not yours to quiet; {WHO_MAY[scope.kind]}"


def checked(wanted: Mute) -> Mute:
    """A mute as it may be kept; `Rejected` where its kind or reason cannot be."""
    reason = wanted.reason.strip()
    if not reason or len(reason) > REASON_LENGTH:
        there = f"say in 1 to {REASON_LENGTH} characters why nobody is to hear of it"
        raise Rejected(f"reason: has {len(reason)} characters; {there}")
    kind_in(wanted.kind)
    if len(wanted.quantity) > 128 or not wanted.quantity.isprintable():
        raise Rejected(f"quantity: {wanted.quantity[:40]!r} is none; write one as device-hours")
    return replace(wanted, reason=reason)


def mute(connection: Connection, who: Declarer, wanted: Mute, now: float) -> Quieted:
    """Keep a mute of a scope that is `meant`, in the caller's transaction."""
    kept = replace(checked(wanted), made=now, who=_called(who))
    kept = replace(kept, id=mutes.keep(connection, who.own.cluster, kept))
    its = _open(connection, who, kept)
    episodes.act(connection, [each.id for each in its], "muted")
    return Quieted(kept.scope, its, kept)


def acknowledge(connection: Connection, who: Declarer, scope: Scope, kind: str, now: float) -> Quieted:
    """Say that the active alerts of a scope that is `meant` are known of, in the caller's transaction."""
    wanted = Mute(scope, now, None, "", "", kind)
    its = _open(connection, who, wanted)
    acted: Acted = "acknowledged"
    episodes.act(connection, [each.id for each in its], acted, _called(who), now)
    return Quieted(scope, its)


def lift(connection: Connection, who: Declarer, number: int, now: float) -> Mute | None:
    """Take a mute back, in the caller's transaction; None where there is none that he may know of.

    Who made it may, and who might make it anew. Raises `Forbidden`, and `Rejected` for one that is over.
    """
    there = mutes.numbered(connection, who.own.cluster, number)
    if there is None:
        return None
    if not (who.is_admin or there.who == _called(who) or _may(connection, who, there.scope, now)):
        if who.readable.everything:
            raise Forbidden(
                f"mute {number}: is not yours to lift; who made it, and of {there.scope} {_who(there)}"
            )
        return None
    if not there.holds(now):
        raise Rejected(f"mute {number}: is over already; `gpuwatch alerts mutes --all` has all that were")
    mutes.lift(connection, who.own.cluster, number, _called(who), now)
    return mutes.numbered(connection, who.own.cluster, number)


def readable_mutes(connection: Connection, who: Declarer, every: bool, now: float) -> list[Mute]:
    """The mutes that he may know of, the latest first: those that hold, or `every` one that was.

    These are his own, those of scopes that he might mute, and all for staff.
    """
    found = [each for each in mutes.all_of(connection, who.own.cluster) if every or each.holds(now)]
    if who.readable.everything:
        return found
    others = {each.scope for each in found if each.who != _called(who)}
    jobs = {scope for scope in others if scope.kind == "job"}
    ids = {scope.name.partition("@")[0] for scope in jobs}
    its = queries.jobs_of(connection, ids, now, by_device=False) if ids else ()
    his = {job.scope for job in its if who.own.admits(owner_of(job))}
    his |= {scope for scope in others - jobs if _may(connection, who, scope, now)}
    return [each for each in found if each.who == _called(who) or each.scope in his]


def _may(connection: Connection, who: Declarer, scope: Scope, now: float) -> bool:
    try:
        return meant(connection, who, scope, now) is not None
    except Forbidden:
        return False


def _open(connection: Connection, who: Declarer, mute: Mute) -> tuple[Episode, ...]:
    wanted = list(mutes.with_tasks(connection, who.own.cluster, [mute]))
    return tuple(
        each
        for each in episodes.opened(connection, who.own.cluster).values()
        if any(one.covers(each.key, each.concern) for one in wanted)
    )


def _who(mute: Mute) -> str:
    return WHO_MAY.get(mute.scope.kind, "admins may")


def _called(who: Declarer) -> str:
    return who.name or (f"uid:{who.uid}" if who.uid is not None else "")
