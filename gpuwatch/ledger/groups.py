"""The identity map: which group an account of a cluster, or a namespace, belongs to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpuwatch.ledger.budgets import AccountId, Accounts, Budget, Expected

Groups = Mapping[str, Collection[str]]
"""Groups by name, with what belongs to each: `CLUSTER/ACCOUNT` or `CLUSTER/NAMESPACE`; `*` is every cluster."""


def group_of(groups: Groups, cluster: str, account: str) -> str | None:
    """The group of an account; None where it is in none."""
    if not account:
        return None
    names = (f"{cluster}/{account}", f"*/{account}")
    return next((group for group, members in groups.items() if any(name in members for name in names)), None)


def accounts_of(groups: Groups, group: str, accounts: Accounts) -> tuple[AccountId, ...]:
    """The accounts of a group that are known, without those that are part of another one of it."""
    mine = {each for each in accounts.all if group_of(groups, *each) == group}
    return tuple(sorted(each for each in mine if not mine.intersection(accounts.above(each))))


@dataclass(frozen=True, slots=True)
class GroupBudget:
    """What the accounts of a group come to together, over all clusters; amounts are seconds of the resource."""

    group: str
    resource: str
    now: float
    budgets: Sequence[Budget]
    expected: Expected | None = None

    @property
    def granted(self) -> float | None:
        """The limits together; None where none is known."""
        return _together(each.granted for each in self.budgets)

    @property
    def without_limit(self) -> tuple[AccountId, ...]:
        """The accounts of which no limit is known: they are in `used`, and not in `granted` and `left`."""
        return tuple((each.cluster, each.account) for each in self.budgets if each.granted is None)

    @property
    def used(self) -> float | None:
        """What all of them used."""
        return _together(each.used for each in self.budgets)

    @property
    def left(self) -> float | None:
        """What is left of the limits that are known; an overrun of one is taken off the others."""
        return _together(each.left for each in self.budgets)

    @property
    def committed(self) -> float:
        """What jobs that run and wait may use until their time limits."""
        return sum(each.committed.seconds for each in self.budgets)

    @property
    def free(self) -> float | None:
        """What is left when every job that runs or waits has used all it may."""
        return _together(each.free for each in self.budgets)

    @property
    def pace(self) -> float:
        """The present pace of all, seconds of the resource a second."""
        return sum(each.pace for each in self.budgets)

    @property
    def runs_out(self) -> float | None:
        """When nothing is left of the limits at the pace of the accounts that have one, Unix seconds."""
        limited = [each for each in self.budgets if each.left is not None]
        left, pace = self.left, sum(each.pace for each in limited)
        if left is None:
            return None
        if left <= 0:
            return self.now
        return self.now + left / pace if pace > 0 else None


def _together(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
