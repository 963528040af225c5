"""Subjects: one line, short, with the most important thing and its number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.notifiers.base import Change
from gpuwatch.notifiers.kinds import KINDS
from gpuwatch.notifiers.letter_words import (
    SUBJECT_LENGTH,
    clean,
    counted,
    moment,
    plural,
    safe_scope,
    said_of,
    subject_of,
)
from tests.notifiers.letters import NOW, alert, letter, named, over, raised


def subject(*changes: Change, recipient: str = "user:alice", more: int = 0) -> str:
    return subject_of(letter(*changes, recipient=recipient, more=more), "gpuwatch")


def test_one_alert_is_told_with_its_number() -> None:
    """Whoever reads no more than this knows what it is about."""
    assert "gpuwatch: job 4711 (llama-ft) will use 60 % more energy than declared" == subject(raised())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.62e9, "will use more energy than declared"),
        (1.0e9, "will use more energy than declared"),
        (1.7e9, "will use 5 % more energy than declared"),
        (1.62e10, "will use 10 times the energy declared"),
        (1.62e13, "will use 10,000 times the energy declared"),
        (math.inf, "will use more energy than declared"),
        (math.nan, "will use more energy than declared"),
    ],
)
def test_the_number_is_a_percentage_or_a_multiple(value: float, said: str) -> None:
    """A median below what was declared has none: the alert is about its upper end."""
    assert said == said_of(alert(value=value))


def test_a_limit_is_told_with_its_probability() -> None:
    """Its value is one."""
    assert "will be killed by its time limit (93 % likely)" == said_of(alert("limit", value=0.93, declared=0.8))


def test_what_got_worse_and_what_is_over_say_so() -> None:
    """The number that was is not told of what is over."""
    worse = Change("changed", alert())

    assert "gpuwatch: worse: job 4711 (llama-ft) will use 60 % more energy than declared" == subject(worse)
    assert "gpuwatch: over for job 4711 (llama-ft): will use more than declared" == subject(over())


def test_several_are_counted_by_kind() -> None:
    """In the order of the kinds, and in the plural."""
    changes = [
        *(raised("idle", name=f"{each}") for each in range(5)),
        *(raised(name=f"1{each}") for each in range(9)),
    ]

    assert (
        "gpuwatch: 14 alerts about your jobs: 9 will use more than declared, 5 hold devices and do nothing"
        == subject(*changes)
    )


def test_those_that_are_over_are_counted_apart() -> None:
    """They are no alerts any more."""
    assert "gpuwatch: 2 alerts about your jobs: 2 will use more than declared; 1 is over" == subject(
        raised(), raised(name="4712"), over(name="4713")
    )
    assert "gpuwatch: 2 alerts about your jobs are over" == subject(over(), over(name="4712"))
    assert "gpuwatch: job 4711 (llama-ft) will use 60 % more energy than declared; 1 is over" == subject(
        raised(), over(name="4713")
    )


def test_of_very_many_the_most_urgent_is_told() -> None:
    """What the others are about is not known here."""
    changes = [raised(name=f"{each}") for each in range(20)]

    assert (
        "gpuwatch: 5,000 alerts, first of all: job 0 (llama-ft) will use 60 % more energy than declared"
        == subject(*changes, recipient="operators", more=4980)
    )


@pytest.mark.parametrize(
    ("recipient", "scope", "about"),
    [
        ("user:alice", "job", " about your jobs"), ("user:alice", "campaign", " about your work"),
        ("account:vision", "job", " about account vision"), ("operators", "job", ""), ("channel:ml", "job", ""),
    ],
)  # fmt: skip
def test_it_says_whose_they_are(recipient: str, scope: str, about: str) -> None:
    """As far as that is not everybody's."""
    told = subject(raised(scope=scope), raised(scope=scope, name="2"), recipient=recipient)

    assert f"gpuwatch: 2 alerts{about}: 2 will use more than declared" == told


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_counted(kind: str) -> None:
    """A kind that is added is one that has a plural."""
    told = counted(kind, 2)

    assert told.startswith("2 ") or told.endswith("(2)")
    assert {"holds", "has", "makes", "is", "uses", "runs", "spins", "its"}.isdisjoint(told.split())


def test_the_plural_has_other_verbs() -> None:
    """And other owners."""
    assert "will be killed by their time limit" == plural("will be killed by its time limit")
    assert "budget and time do not go together (3)" == counted("pace", 3)


WHAT = st.sampled_from(["raised", "changed", "resolved"])
FOUND = st.tuples(st.sampled_from([*KINDS, "made_up"]), st.text(max_size=80), WHAT)


@given(st.lists(FOUND, min_size=1, max_size=30), st.integers(0, 10**7), st.text(max_size=60))
def test_a_subject_is_one_short_line(found: list[tuple[str, str, str]], more: int, called: str) -> None:
    """Whatever the names, the kinds and the counts."""
    changes = [Change(what, alert(kind, name=name, called=called)) for kind, name, what in found]  # type: ignore[arg-type]

    told = subject(*changes, more=more)
    assert len(told) <= SUBJECT_LENGTH
    assert told.isprintable() or "\ufffd" in told or any(sign.isspace() for sign in told)
    assert len(told.splitlines()) == 1
    assert told.startswith("gpuwatch: ")


def test_a_long_name_does_not_push_the_number_out() -> None:
    """The name is cut."""
    told = subject_of(named("x" * 10_000), "gpuwatch")

    assert "will use 60 % more energy than declared" in told


def test_addresses_in_names_are_no_links() -> None:
    """Programs that show mail and chats make one of whatever looks like it."""
    assert "http[:]//evil.example and www[.]evil.example" == clean("http://evil.example and www.evil.example")


def test_a_scope_for_the_shell_is_a_plain_word() -> None:
    """It is meant to be copied."""
    assert "job:4711" == safe_scope([raised(name="$(rm -rf ~)"), raised()])
    assert "" == safe_scope([raised(name="a b"), over()])


def test_times_that_are_none_are_not_told() -> None:
    """A clock that was wrong, or nobody who knew."""
    assert "Mon 24 Nov 2025, 16:00 UTC" == moment(NOW)
    assert ["", "", "", ""] == [moment(time) for time in (0.0, math.nan, math.inf, 1e18)]
