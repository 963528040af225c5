"""Roles: everybody has himself, coordinators accounts, staff everything."""

from __future__ import annotations

import pytest

from gpuwatch.ledger.audience import Owner
from gpuwatch.web.roles import (
    Access,
    Person,
    Viewer,
    may_read_account,
    viewer_of,
)

ACCESS = Access("hydra", ("root", "@operators"), ("sam", "@desk"), {"ml": ("grace", "@leads")})
ADA, BOB = Owner("hydra", "ada", 1000, "ml"), Owner("hydra", "bob", 1001, "vision")
OWNERS = {
    "ada's": ADA,
    "bob's": BOB,
    "bob's in ml": Owner("hydra", "bob", 1001, "ml"),
    "ada's by uid": Owner("hydra", None, 1000),
    "bob's by name, with ada's uid": Owner("hydra", "bob", 1000),
    "nobody's": Owner("hydra"),
    "ada's elsewhere": Owner("other", "ada", 1000, "ml"),
}
VIEWERS = {
    "ada": Viewer("ada", "hydra", 1000),
    "bob without uid": Viewer("bob", "hydra"),
    "grace of ml": Viewer("grace", "hydra", 1002, accounts=frozenset({"ml"})),
    "support": Viewer("sam", "hydra", 1003, "support"),
    "admin": Viewer("root", "hydra", 0, "admin"),
    "nameless": Viewer("uid:1000", "hydra", 1000),
}
READS = {
    "ada": {"ada's", "ada's by uid"},
    "bob without uid": {"bob's", "bob's in ml", "bob's by name, with ada's uid"},
    "grace of ml": {"ada's", "bob's in ml"},
    "support": {*OWNERS},
    "admin": {*OWNERS},
    "nameless": {"ada's by uid"},
}


@pytest.mark.parametrize("viewer", VIEWERS)
@pytest.mark.parametrize("owner", OWNERS)
def test_who_may_read_what(viewer: str, owner: str) -> None:
    """Every role with every owner; the user's name decides where it is known, and a name is of one cluster."""
    assert (owner in READS[viewer]) == VIEWERS[viewer].audience.admits(OWNERS[owner])


@pytest.mark.parametrize(
    ("viewer", "expected"),
    [("ada", False), ("grace of ml", True), ("support", True), ("admin", True), ("nameless", False)],
)
def test_budgets_are_for_coordinators_and_staff(viewer: str, expected: bool) -> None:
    """Of the account and the cluster."""
    assert expected == may_read_account(VIEWERS[viewer], "hydra", "ml")
    assert (expected and viewer != "grace of ml") == may_read_account(VIEWERS[viewer], "other", "ml")


@pytest.mark.parametrize(
    ("person", "groups", "staff", "accounts"),
    [
        (Person("jwt", "ada", 1000), {"users"}, "", set()),
        (Person("jwt", "root", 0), set(), "admin", set()),
        (Person("socket", "gpuwatch", 990, runs_service=True), set(), "admin", set()),
        (Person("jwt", "gpuwatch", 990), set(), "", set()),
        (Person("jwt", "eve", 0), set(), "", set()),
        (Person("jwt", "ada", 1000), {"operators", "desk"}, "admin", set()),
        (Person("jwt", "ada", 1000), {"desk"}, "support", set()),
        (Person("jwt", "sam", 1003), set(), "support", set()),
        (Person("jwt", "grace", 1002), set(), "", {"ml"}),
        (Person("jwt", "ada", 1000), {"leads"}, "", {"ml"}),
        (Person("socket", "", 1000), {""}, "", set()),
    ],
)
def test_roles_come_from_names_and_groups(
    person: Person, groups: set[str], staff: str, accounts: set[str]
) -> None:
    """A user id of 0 alone makes nobody an admin: it is root of some host."""
    viewer = viewer_of(person, groups, ACCESS)

    assert (staff, accounts) == (viewer.staff, set(viewer.accounts))


def test_accounts_of_the_batch_system_count_too() -> None:
    """Beside those of the configuration."""
    viewer = viewer_of(Person("jwt", "grace", 1002), set(), ACCESS, ["nlp", ""])

    assert {"ml", "nlp"} == viewer.accounts
    assert ("coordinator", "self") == viewer.roles
