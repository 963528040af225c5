"""Why an alert is told or not, in words."""

from __future__ import annotations

import pytest

from gpuwatch.accounting.alert_policy import Policy, Rule, TellRule
from gpuwatch.accounting.alert_reasons import policy_lines, unknown_notifiers, why
from gpuwatch.ledger.mutes import Mute
from gpuwatch.model import Scope
from tests.ledger.alerted import BOB, alert

POLICY = Policy(
    tell=(
        TellRule(kinds=("exceeded", "projected")),
        TellRule(kinds=("idle",), accounts=("ml*",), notifiers=("log", "apprise"), to=("owner", "chat")),
    ),
    observe=(Rule(kinds=("*",), partitions=("test",)),),
)


def test_what_is_told_names_its_rule_and_whom() -> None:
    """The people of the rule, or whom the kind is for; the notifiers where they are named."""
    assert "told to owners: rule 1 of `tell` has it" == why(POLICY, alert(), "told")
    assert "told to owners and channel chat by apprise and log: rule 2 of `tell` has it of account ml*" == why(
        POLICY, alert(kind="idle"), "told"
    )


def test_what_is_observed_says_what_would_tell_it() -> None:
    """A rule that is near by, a rule that keeps it from being told, or none at all."""
    assert (
        "observed: no rule of the policy tells `idle` of account vision and partition gpu; "
        "rule 2 of `tell` tells it of account ml*"
    ) == why(POLICY, alert(kind="idle", concern=BOB), "observed")
    assert why(POLICY, alert(kind="hung"), "observed").endswith(
        'alerts.tell = ["hung"] or a rule of the policy file would'
    )
    test = alert(concern=BOB.__class__("ada", "ml", "test"))
    assert "observed: rule 1 of `observe` has it of partition test, before rule 1 of `tell`" == why(
        POLICY, test, "observed"
    )


def test_which_accounts_rules_are_of_is_for_staff() -> None:
    """Whoever asks about his own job learns no other's account."""
    bobs = alert(kind="idle", concern=BOB)

    assert why(POLICY, bobs, "observed", to_staff=False).endswith("`idle` of account vision and partition gpu")
    assert why(POLICY, alert(kind="idle"), "told", to_staff=False).endswith("rule 2 of `tell` has it")


def test_what_is_muted_says_by_whom_and_why() -> None:
    """And what would tell it else."""
    mute = Mute(Scope("job", "7"), 0.0, None, "grace", "known", id=3)

    assert "muted by grace (mute 3: known); else it would be told: rule 1 of `tell` has it" == why(
        POLICY, alert(), "muted", mute
    )


@pytest.mark.parametrize(
    ("mode", "kind", "words"), [("observed", "projected", "next pass on"), ("told", "hung", "until the next pass")]
)
def test_a_policy_that_changed_counts_from_the_next_pass(mode: str, kind: str, words: str) -> None:
    """What is so now is said beside it."""
    assert why(POLICY, alert(kind=kind), mode).endswith(words)  # type: ignore[arg-type]


def test_a_policy_in_words() -> None:
    """A line for each rule; the rest is observed."""
    assert [
        "exceeded, projected: told to owners by log and apprise",
        "idle of account ml*: told to owners and channel chat by log and apprise",
        "all kinds of partition test: observed, whatever tells it",
        "all else is observed",
    ] == list(policy_lines(POLICY, ["log", "apprise"]))
    assert ["all kinds: told to owners, those who look after accounts and operators by log"] == list(
        policy_lines(Policy(tell=(TellRule(kinds=("*",)),)), ["log"])
    )
    assert "nothing is told" in " ".join(policy_lines(Policy(), ["log"]))


def test_a_notifier_that_there_is_not_is_named() -> None:
    """Nobody would be told by it."""
    assert [] == list(unknown_notifiers(POLICY, ["log", "apprise"]))
    (wrong,) = unknown_notifiers(POLICY, ["log"])
    assert "rule 2 of `tell` names 'apprise', which is none of accounting.notifiers: log" == wrong
