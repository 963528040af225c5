"""Limits and use of accounts, from four commands."""

from __future__ import annotations

import pytest

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_grants
from gpuwatch.schedulers.base import Grant
from gpuwatch.schedulers.slurm_grants import Association, Use

ASSOCIATIONS = [
    "gwtest|root||||",
    "gwtest|root|root|||",
    "gwtest|physics|||root|billing=1000,gres/gpu=60,mem=5",
    "gwtest|physics|alice|||gres/gpu=6",
    "gwtest|physics|alice|gpu||gres/gpu=7",
    "other|physics|||root|gres/gpu=9",
]


def associations() -> list[Association]:
    return list(slurm_grants.associations(ASSOCIATIONS, "GWTEST"))


def test_limits_are_seconds_of_devices_cpus_and_billing() -> None:
    """Of this cluster; those of a partition only are none of the whole."""
    found = {(each.account, each.user, each.parent): dict(each.limits) for each in associations()[2:4]}

    assert {
        ("physics", "", "root"): {"billing": 60_000.0, "gres/gpu": 3600.0},
        ("physics", "alice", ""): {"gres/gpu": 360.0},
    } == found
    assert {} == associations()[4].limits


def test_an_account_may_have_several_coordinators_or_none() -> None:
    """By name."""
    expected = {"optics": ("alice", "bob"), "physics": ()}

    assert expected == slurm_grants.coordinators(["optics|alice,bob", "physics|"])


def test_use_is_what_slurm_holds_against_the_limits() -> None:
    """GrpTRESRaw counts minutes; sshare indents what is below."""
    found = slurm_grants.shares(["root||cpu=2,gres/gpu=8,mem=0", " physics|alice|cpu=2,gres/gpu=8"])

    assert {"cpu": 120.0, "gres/gpu": 480.0} == found.used["physics", "alice"]


def test_use_that_slurm_does_not_keep_is_unknown() -> None:
    """Not none: without limits that are enforced it stays 0."""
    assert {} == slurm_grants.shares(["root||cpu=0,gres/gpu=0", " physics|alice|cpu=0,gres/gpu=0"]).used


def test_use_of_a_period_is_added_up_by_slurmdbd() -> None:
    """In seconds, an account's without user."""
    lines = ["gwtest|physics||gres/gpu|1108", "gwtest|physics|alice|gres/gpu|664", "other|physics||gres/gpu|5"]
    found = slurm_grants.utilization(lines, "gwtest", 10.0, 20.0)

    assert {("physics", ""): {"gres/gpu": 1108.0}, ("physics", "alice"): {"gres/gpu": 664.0}} == found.used
    assert (10.0, 20.0) == (found.starts, found.ends)


def grants(use: Use, reported: Use) -> list[Grant]:
    who = {"physics": ("bob",)}
    return list(slurm_grants.grants(associations(), who, use, reported, "here", 5.0))


def test_a_grant_is_a_limit_with_what_was_used_of_it() -> None:
    """And what was used of a resource without limit."""
    use = Use({("physics", ""): {"gres/gpu": 60.0, "cpu": 7.0}, ("physics", "alice"): {"gres/gpu": 0.0}})
    common = {"seen": 5.0, "source": "slurm"}

    assert [
        Grant("here", "physics", "", "billing", 60_000.0, None, parent="root", coordinators=("bob",), **common),
        Grant("here", "physics", "", "cpu", None, 7.0, parent="root", coordinators=("bob",), **common),
        Grant("here", "physics", "", "gres/gpu", 3600.0, 60.0, parent="root", coordinators=("bob",), **common),
        Grant("here", "physics", "alice", "gres/gpu", 360.0, 0.0, **common),
    ] == grants(use, Use())  # type: ignore[arg-type]


def test_the_use_of_a_period_is_a_word_of_its_own() -> None:
    """Beside the limit, of which nothing else is known."""
    found = grants(Use(), Use({("physics", ""): {"gres/gpu": 1108.0}}, 10.0, 20.0))

    assert [("billing", "slurm", None), ("gres/gpu", "slurm", None), ("gres/gpu", "sreport", 1108.0)] == [
        (each.resource, each.source, each.used_seconds) for each in found if not each.user
    ]
    assert [(10.0, 20.0)] == [(each.starts, each.ends) for each in found if each.source == "sreport"]


@pytest.mark.parametrize("line", ["gwtest|physics", "gwtest|physics|||root|gres/gpu=many"])
def test_what_is_no_table_is_rejected(line: str) -> None:
    """A limit that cannot be read is not "no limit"."""
    with pytest.raises(Rejected):
        list(slurm_grants.associations([line], "gwtest"))
