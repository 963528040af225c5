"""What a site wants to be told of, and whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuwatch.accounting.alert_policy import NOBODY, Policy, Telling, load_policy, telling
from gpuwatch.errors import ConfigurationError
from gpuwatch.model import Alert, Concern, Scope
from gpuwatch.notifiers.kinds import KINDS


def alert(kind: str = "projected", account: str = "ml", partition: str = "gpu", scope: str = "job") -> Alert:
    concern = Concern("ada", account, partition)
    return Alert(kind, Scope(scope, "7"), "energy", "warning", 0.0, 2.0, 1.0, "text", concern=concern)


def policy(*tell: dict[str, Any], observe: tuple[dict[str, Any], ...] = ()) -> Policy:
    return Policy.model_validate({"tell": tell, "observe": observe})


def test_every_kind_is_observed_where_nothing_is_said() -> None:
    """Nobody is told of anything."""
    assert {NOBODY} == {telling(Policy(), alert(kind)) for kind in KINDS}
    assert not NOBODY


def test_a_rule_promotes_a_kind_for_an_account_or_a_partition() -> None:
    """By patterns; what has no account is of every account, and of no pattern."""
    some = policy({"kinds": ["projected"], "accounts": ["ml*"], "partitions": ["gpu", "debug"]})

    assert telling(some, alert())
    assert telling(some, alert(account="ml-vision", partition="debug"))
    for other in (alert("idle"), alert(account="bio"), alert(account=""), alert(partition="cpu")):
        assert not telling(some, other)
    assert telling(policy({"kinds": ["*"]}), alert("idle", account="", partition=""))


def test_who_is_told_is_the_owner_or_who_can_do_something_about_it() -> None:
    """Unless a rule says otherwise; several rules add up."""
    everything = policy({"kinds": ["*"]})

    assert Telling(frozenset("*"), frozenset(["owner"])) == telling(everything, alert())
    assert frozenset(["operators"]) == telling(everything, alert("throttled")).to
    assert frozenset(["account"]) == telling(everything, alert("pace", scope="account")).to
    both = policy(
        {"kinds": ["idle"], "to": ["ml-channel"], "notifiers": ["apprise"]},
        {"kinds": ["idle"], "notifiers": ["log"]},
    )  # fmt: skip
    assert Telling(frozenset(["apprise", "log"]), frozenset(["ml-channel", "owner"])) == telling(
        both, alert("idle")
    )
    assert (True, False) == (
        telling(both, alert("idle")).by("log"),
        telling(both, alert("idle")).by("alertmanager"),
    )


def test_what_is_to_be_observed_is_told_to_nobody() -> None:
    """Whatever else says."""
    some = policy({"kinds": ["*"]}, observe=({"kinds": ["idle"], "accounts": ["teaching"]},))

    assert not telling(some, alert("idle", account="teaching"))
    assert telling(some, alert("idle"))


def test_every_mistake_is_told_at_once_with_where_it_is(tmp_path: Path) -> None:
    """A kind that is none, a key that is none, a number that is too small."""
    path = tmp_path / "alerts.toml"
    path.write_text('[[tell]]\nkinds = ["exceeded", "idel"]\naccount = ["x"]\n[thresholds]\nidle_seconds = 3.0\n')

    with pytest.raises(ConfigurationError) as caught:
        load_policy(path)

    first, second, third = caught.value.mistakes
    assert f"{path}: tell[0].kinds: " in first and "'idel' is none of exceeded, projected" in first
    assert f"{path}: tell[0].account: unknown key, did you mean 'accounts'" in second
    assert f"{path}: thresholds.idle_seconds: 3.0 is not possible; it must be greater than or equal to 60" == third


@pytest.mark.parametrize("text", ["tell = 1", "[[tell]]\nkinds = []", "[letters]\na_day = 0", "[tell"])
def test_what_is_no_policy_is_refused(tmp_path: Path, text: str) -> None:
    """It names the file."""
    path = tmp_path / "alerts.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=str(path)):
        load_policy(path)


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    """One that was named is meant."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_policy(tmp_path / "none.toml")


def test_kinds_of_the_configuration_are_told_beside_those_of_the_file(tmp_path: Path) -> None:
    """And are checked as those are."""
    path = tmp_path / "alerts.toml"
    path.write_text('[[tell]]\nkinds = ["idle"]\n')
    both = load_policy(path, ["hung"])

    assert ["idle", "hung"] == [kind for kind in KINDS if telling(both, alert(kind))]
    with pytest.raises(ConfigurationError, match=r"alerts\.tell: 'idel' is not possible"):
        load_policy(None, ["idel"])
