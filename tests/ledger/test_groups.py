"""Groups over clusters: which account is whose, and what they were granted and used together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.budgets import AccountId, Accounts, Budget, Committed
from gpuwatch.ledger.groups import GroupBudget, accounts_of, group_of
from gpuwatch.schedulers.base import Grant
from tests.ledger.batch import HOUR, T0

GROUPS = {"vision": ("hydra/cv", "kube/cv-prod"), "speech": ("*/asr", "hydra/tts/deep")}


@pytest.mark.parametrize(
    ("cluster", "account", "group"),
    [
        ("hydra", "cv", "vision"),
        ("kube", "cv-prod", "vision"),
        ("kube", "cv", None),
        ("anywhere", "asr", "speech"),
        ("hydra", "tts/deep", "speech"),
        ("hydra", "", None),
        ("*", "cv", None),
    ],
)
def test_an_account_is_in_the_group_that_lists_it(cluster: str, account: str, group: str | None) -> None:
    """By its cluster, or of every cluster."""
    assert group == group_of(GROUPS, cluster, account)


def test_a_sub_account_is_not_counted_beside_its_account() -> None:
    """It is part of it."""
    parents = {("hydra", "cv"): "", ("hydra", "det"): "cv", ("kube", "det"): ""}
    groups = {"vision": ("hydra/cv", "*/det")}

    assert (("hydra", "cv"), ("kube", "det")) == accounts_of(groups, "vision", Accounts(parents, ()))


def budget(account: AccountId, granted: float | None, used: float, pace: float = 0.0, **changed: Any) -> Budget:
    values: dict[str, Any] = {"recorded_seconds": used, "recorded_since": None, "unknown_jobs": 0, **changed}
    grant = None if granted is None else Grant(*account, "", "gres/gpu", granted, None, T0)
    return Budget(*account, "gres/gpu", T0, grant, (), committed=Committed(HOUR), pace=pace, **values)


def test_a_groups_budget_is_that_of_its_accounts_together() -> None:
    """Of an account without a limit what was used is shown, and not taken off what the others have left."""
    both = (budget(("hydra", "cv"), 100 * HOUR, 40 * HOUR, 0.5), budget(("kube", "cv"), None, 7 * HOUR, 1.0))
    found = GroupBudget("vision", "gres/gpu", T0, both)

    assert (100 * HOUR, 47 * HOUR, 60 * HOUR, 2 * HOUR, 59 * HOUR, 1.5) == (
        found.granted, found.used, found.left, found.committed, found.free, found.pace,
    )  # fmt: skip
    assert (("kube", "cv"),) == found.without_limit
    assert T0 + 120 * HOUR == found.runs_out


@pytest.mark.parametrize(
    ("granted", "used", "pace", "ends"), [(None, 1.0, 1.0, None), (5.0, 7.0, 0.0, T0), (5.0, 1.0, 0.0, None)]
)
def test_a_group_runs_out_when_nothing_is_left(
    granted: float | None, used: float, pace: float, ends: float | None
) -> None:
    """Never without a limit or a pace."""
    assert ends == GroupBudget("g", "gres/gpu", T0, (budget(("a", "b"), granted, used, pace),)).runs_out


@given(st.dictionaries(st.sampled_from("xyz"), st.sets(st.sampled_from(("a/1", "a/2", "b/1", "*/3"))), max_size=3))
def test_every_account_is_in_one_group_at_most(groups: dict[str, set[str]]) -> None:
    """And in one that lists it."""
    for cluster, account in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "3"), ("c", "9")):
        group = group_of(groups, cluster, account)
        assert group is None or {f"{cluster}/{account}", f"*/{account}"} & groups[group]
