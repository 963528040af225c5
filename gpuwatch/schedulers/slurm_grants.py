"""What accounts may use and have used: Slurm's associations and their usage, as grants.

Limits are GrpTRESMins of `sacctmgr`. What is used is what Slurm holds against them, GrpTRESRaw of `sshare`; Slurm
keeps it only where AccountingStorageEnforce has `limits`, and else `sreport` tells what was used this year.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from gpuwatch.errors import Rejected
from gpuwatch.model import EMPTY
from gpuwatch.schedulers import slurm_rows, slurm_tres
from gpuwatch.schedulers.base import Grant

RESOURCES = ("gres/gpu", "billing", "cpu")
"""What is told of without a limit, too."""

ASSOCIATIONS = ("Cluster", "Account", "User", "Partition", "ParentName", "GrpTRESMins")
ACCOUNTS = ("Account", "Coordinators")
SHARES = ("Account", "User", "GrpTRESRaw")
UTILIZATION = ("Cluster", "Accounts", "Login", "TresName", "Used")
"""The fields to ask for: of `sacctmgr show assoc`, `sacctmgr show account`, `sshare` and `sreport`."""

SOURCE = "slurm"
REPORTED = "sreport"

Member = tuple[str, str]
"""An account, and a user in it or an empty string for all of it."""


@dataclass(frozen=True, slots=True)
class Association:
    """An account, or a user in it: the account above, and limits in seconds of each resource."""

    account: str
    user: str
    parent: str
    limits: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Use:
    """Seconds used by resource, of each member; `starts` and `ends` where it is that of a period."""

    used: Mapping[Member, Mapping[str, float]] = EMPTY
    starts: float | None = None
    ends: float | None = None


def associations(lines: Iterable[str], cluster: str) -> Iterator[Association]:
    """Those of a cluster, by `sacctmgr`; one of a partition only has no limit that counts here."""
    for row in _rows(lines, ASSOCIATIONS):
        if row["cluster"].lower() == cluster.lower() and row["account"]:
            limits = EMPTY if row["partition"] else _amounts(row["grptresmins"], 60.0)
            yield Association(row["account"], row["user"], row["parentname"], limits)


def coordinators(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Who coordinates each account, by `sacctmgr show account withcoord`."""
    return {
        row["account"]: tuple(name for name in row["coordinators"].split(",") if name)
        for row in _rows(lines, ACCOUNTS)
    }


def shares(lines: Iterable[str]) -> Use:
    """What `sshare` holds against the limits, in minutes; nothing where Slurm keeps none of it, and all is 0."""
    used: dict[Member, dict[str, float]] = defaultdict(dict)
    for row in _rows(lines, SHARES):
        member = used[row["account"].strip(), row["user"].strip()]
        for name, amount in _amounts(row["grptresraw"], 60.0).items():
            member[name] = member.get(name, 0.0) + amount
    kept = any(amount for each in used.values() for amount in each.values())
    return Use(used if kept else EMPTY)


def utilization(lines: Iterable[str], cluster: str, starts: float, ends: float) -> Use:
    """What `sreport cluster AccountUtilizationByUser -t seconds` adds up from `starts` to `ends`."""
    used: dict[Member, dict[str, float]] = defaultdict(dict)
    for row in _rows(lines, UTILIZATION):
        amount = _amounts(f"{row['tresname']}={row['used']}", 1.0)
        if row["cluster"].lower() == cluster.lower():
            used[row["accounts"].strip(), row["login"].strip()].update(amount)
    return Use(used, starts, ends)


def grants(
    found: Iterable[Association],
    who: Mapping[str, tuple[str, ...]],
    use: Use,
    reported: Use,
    cluster: str,
    seen: float,
) -> Iterator[Grant]:
    """One for each limit, and for each resource of which anything was used."""
    for each in _merged(found):
        member = each.account, each.user
        used, said = use.used.get(member, EMPTY), reported.used.get(member, EMPTY)
        for resource in sorted({*each.limits, *(name for name in (*used, *said) if name in RESOURCES)}):
            limit, amount = each.limits.get(resource), used.get(resource)
            grant = Grant(cluster, *member, resource, limit, amount, seen, each.parent, source=SOURCE)
            if not each.user:
                grant = replace(grant, coordinators=who.get(each.account, ()))
            if limit is not None or amount:
                yield grant
            if total := said.get(resource):
                yield replace(
                    grant, limit_seconds=None, used_seconds=total, starts=reported.starts, ends=reported.ends,
                    source=REPORTED,
                )  # fmt: skip


def _merged(found: Iterable[Association]) -> Iterator[Association]:
    """One for each member: a user may have one association for each partition."""
    members: dict[Member, Association] = {}
    for each in found:
        there = members.get((each.account, each.user))
        if there is None or (each.limits and not there.limits):
            members[each.account, each.user] = each
    yield from members.values()


def _rows(lines: Iterable[str], fields: Iterable[str]) -> Iterator[slurm_rows.Row]:
    names = [name.lower() for name in fields]
    for row in slurm_rows.rows(lines, names):
        if isinstance(row, Rejected):
            raise row
        yield row


def _amounts(text: str, unit: float) -> Mapping[str, float]:
    """Amounts of devices, CPUs and billing; memory is not told of."""
    return {
        name: amount * unit
        for name, amount in slurm_tres.tres(text).items()
        if name in RESOURCES or name.startswith(("gres/gpu:", "gres/tpu", "node"))
    }
