"""Who may read and change what: one's own jobs, the accounts one coordinates, or everything. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gpuwatch.ledger.audience import EVERYTHING, Audience
from gpuwatch.model import EMPTY

Staff = Literal["", "support", "admin"]


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, as far as it is proven, and `how` that was. `runs_service`: the kernel says it is root or we."""

    how: str
    name: str = ""
    uid: int | None = None
    runs_service: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """Who has which role on a cluster; names are of users, or of Unix groups after an `@`."""

    cluster: str = "default"
    admins: tuple[str, ...] = ()
    support: tuple[str, ...] = ()
    coordinators: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody with his rights: everybody has himself, some coordinate `accounts`, `staff` read everything."""

    name: str
    cluster: str
    uid: int | None = None
    staff: Staff = ""
    accounts: frozenset[str] = frozenset()
    how: str = ""

    @property
    def roles(self) -> tuple[str, ...]:
        """His roles by name, the widest first."""
        coordinator = ("coordinator",) if self.accounts else ()
        return (*((self.staff,) if self.staff else ()), *coordinator, "self")

    @property
    def audience(self) -> Audience:
        """Which jobs he may read."""
        return EVERYTHING if self.staff else Audience(False, self.cluster, self.name, self.uid, self.accounts)


def viewer_of(person: Person, groups: Collection[str], access: Access, told: Iterable[str] = ()) -> Viewer:
    """The rights of a person in some Unix groups; `told` are the accounts he coordinates by the batch system."""
    names = {person.name, *(f"@{group}" for group in groups)} - {"", "@"}
    staff: Staff = ""
    if person.runs_service or names & {*access.admins}:
        staff = "admin"
    elif names & {*access.support}:
        staff = "support"
    set_here = {account for account, who in access.coordinators.items() if names & {*who}}
    accounts = frozenset({*set_here, *(account for account in told if account)})
    return Viewer(person.name, access.cluster, person.uid, staff, accounts, person.how)


def may_read_account(viewer: Viewer, cluster: str, account: str) -> bool:
    """Whether he may read an account's budget, with what each of its users used."""
    return bool(viewer.staff) or (cluster == viewer.cluster and account in viewer.accounts)
