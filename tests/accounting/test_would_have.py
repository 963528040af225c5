"""Past alerts told again: as many letters as the limits allow, each alert once, in whatever order they come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.alert_policy import LetterLimits, Policy, TellRule, load_policy
from gpuwatch.accounting.would_have import Simulation, WouldBe, by_policy, simulate
from gpuwatch.accounting.would_have_figures import figures, policy_text
from gpuwatch.ledger.episodes import Episode
from gpuwatch.model import Concern
from tests.ledger.alerted import episode

HOUR, DAY = 3600.0, 86_400.0
END = 40 * DAY
ALL = load_policy(None, ["*"])
LIMITS = LetterLimits()


def told(*episodes: Episode, policy: Policy = ALL, until: float = END) -> Simulation:
    return simulate(episodes, by_policy(policy), policy.letters, until)


def when(simulation: Simulation) -> list[tuple[float, list[int]]]:
    return [(each.time, [one.id for one in each.alerts]) for each in simulation.letters]


def test_the_first_letter_goes_at_once_and_the_next_waits() -> None:
    """An hour for the second one, eight for the third; what comes meanwhile is one letter."""
    found = told(*(episode(n, began=at * HOUR) for n, at in enumerate((0.0, 0.1, 0.2, 1.5, 12.0), 1)))

    assert [(0.0, [1]), (HOUR, [2, 3]), (9 * HOUR, [4]), (24 * HOUR, [5])] == when(found)


def test_several_of_one_pass_are_one_letter() -> None:
    """The first one too."""
    assert [(5.0, [1, 2, 3])] == when(told(*(episode(n, began=5.0) for n in (3, 1, 2))))


def test_what_is_over_before_a_letter_can_go_is_not_told() -> None:
    """Unless it is an overrun of a job that ended, which is as true as before."""
    first = episode(1, began=0.0)
    idle = episode(2, began=60.0, over=120.0, how="ended")
    over = episode(3, "exceeded", began=60.0, over=120.0, how="ended")
    back = episode(4, "exceeded", began=60.0, over=120.0, how="cleared")

    found = told(first, idle, over, back)

    assert [(0.0, [1]), (HOUR, [3])] == when(found)
    assert {"user:ada": (2, 4)} == {to: tuple(each.id for each in those) for to, those in found.missed.items()}


def test_what_waits_at_the_end_of_the_time_is_not_told_yet() -> None:
    """Nobody knows what will be."""
    found = told(episode(1, began=0.0), episode(2, began=60.0), until=HOUR / 2)

    assert [(0.0, [1])] == when(found)
    assert [2] == [each.id for each in found.missed["user:ada"]]


def test_what_several_people_read_gets_a_letter_an_hour() -> None:
    """Operators are several."""
    found = told(*(episode(n, "throttled", began=n * 60.0) for n in range(1, 5)))

    assert [("operators", 60.0), ("operators", 60.0 + HOUR)] == [
        (each.recipient, each.time) for each in found.letters
    ]


def test_a_policy_says_whom() -> None:
    """By account; what it does not tell, what is nobody's and what was muted is for nobody."""
    rule = TellRule(kinds=("idle",), accounts=("ml",), to=("owner", "account", "chat"))
    other = Concern("bob", "vision")
    found = told(
        episode(1), episode(2, concern=other), episode(3, "hung"), episode(4, mode="muted", began=9.0),
        policy=Policy(tell=(rule,)),
    )  # fmt: skip

    assert {"user:ada", "account:ml", "channel:chat"} == {each.recipient for each in found.letters}
    assert [2, 3, 4] == sorted(each.id for each in found.nobody)
    assert () == told(episode(1, concern=Concern())).letters


kinds = st.sampled_from(["exceeded", "projected", "idle", "throttled", "rate"])
users = st.sampled_from(["ada", "bob", ""])


@st.composite
def histories(draw: st.DrawFn) -> list[Episode]:
    made = draw(
        st.lists(st.tuples(kinds, users, st.integers(0, 30 * 1440), st.none() | st.integers(1, 3000)), max_size=60)
    )
    return [
        replace(
            episode(number, kind, began=began * 60.0, over=None if lasted is None else (began + lasted) * 60.0),
            concern=Concern(user, "ml"), how="ended" if lasted else "",
        )
        for number, (kind, user, began, lasted) in enumerate(made, 1)
    ]  # fmt: skip


@given(histories(), st.integers(1, 5), st.integers(0, 7200), st.randoms(use_true_random=False))
def test_never_more_letters_than_allowed_and_each_alert_once(
    history: list[Episode], a_day: int, wait: int, random: object
) -> None:
    """In any 24 hours, of any history, whatever order it is in; who is not told is said."""
    limits = LetterLimits(a_day=a_day, second_after_seconds=float(wait))
    recipients = by_policy(ALL)

    found = simulate(history, recipients, limits, END)

    shuffled = history[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert found == simulate(shuffled, recipients, limits, END)
    for recipient in {each.recipient for each in found.letters}:
        times = [each.time for each in found.letters if each.recipient == recipient]
        most = a_day if recipient.startswith("user:") else 24
        assert all(later - first >= DAY for first, later in zip(times, times[most:], strict=False))
    pairs = [(each.recipient, one.id) for each in found.letters for one in each.alerts]
    pairs += [(to, each.id) for to, those in found.missed.items() for each in those]
    assert sorted(pairs) == sorted((to, each.id) for each in history for to in recipients(each))
    assert all(one.raised <= each.time for each in found.letters for one in each.alerts)


def test_figures_are_by_person_and_kind() -> None:
    """How many letters, how many at most in a day, and how often it was right."""
    there = [episode(n, began=n * DAY, over=n * DAY + HOUR, verdict="right" if n else "wrong") for n in range(14)]

    found = figures(there, told(*there), 14.0, Policy())

    (person,), (kind,) = found.people, found.kinds
    assert ("user:ada", 14, 1, {"idle": 14}, 13, 1) == (
        person.recipient, person.letters, person.most, person.alerts, person.tally.right, person.tally.wrong
    )  # fmt: skip
    assert ("idle", 14, 1, False) == (kind.kind, kind.told, kind.people, kind.earned)
    assert (7.0, 7.0, 1, ()) == (
        found.letters_a_week, found.alerts_a_week, found.most_in_a_day, found.promote
    )  # fmt: skip


def test_the_most_letters_are_those_of_any_24_hours() -> None:
    """A day does not begin at midnight."""
    at = [0.0, 20 * HOUR, 26 * HOUR, 43 * HOUR]
    letters = tuple(WouldBe("user:ada", time, (episode(1),)) for time in at)

    (person,) = figures([episode(1)], Simulation(letters), 7.0, Policy()).people

    assert 3 == person.most


@pytest.mark.parametrize(
    ("right", "wrong", "earned"), [(17, 3, True), (16, 4, False), (19, 0, False), (85, 15, True)]
)
def test_a_kind_is_worth_telling_once_enough_of_enough_were_right(right: int, wrong: int, earned: bool) -> None:
    """Twenty judged, and 85 % of them; what is told already is not named."""
    there = [episode(n, verdict="right" if n < right else "wrong") for n in range(right + wrong)]

    promoted, already = (figures(there, told(*there), 30.0, policy).promote for policy in (Policy(), ALL))

    assert ((("idle",) if earned else ()), ()) == (promoted, already)


def test_the_lines_to_paste_are_a_policy(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """They tell what they say."""
    path = tmp_path / "alerts.toml"
    path.write_text(policy_text(["idle", "hung"]))

    assert ("idle", "hung") == load_policy(path).tell[0].kinds
