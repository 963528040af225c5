"""Letters to people: to whom, how often, until they get through, and never the same one twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuwatch.accounting.alert_policy import Policy, load_policy
from gpuwatch.accounting.postman import GIVE_UP_SECONDS, SENDING_SECONDS, Postman
from gpuwatch.errors import GpuwatchError, Rejected, Unavailable
from gpuwatch.ledger import episodes, letter_store
from gpuwatch.ledger.episodes import End
from gpuwatch.ledger.scopes import key_of
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert, Concern, Scope
from gpuwatch.notifiers.base import Letter
from tests.accounting.fakes import FakePeople

NOW = 1_764_000_000.0
HOUR, DAY = 3600.0, 86_400.0
ALL = load_policy(None, ["*"])
ADA = Concern("ada", "ml", "gpu", "train")
ALERT = Alert("projected", Scope("job", "7"), "energy", "warning", NOW, 2.0, 1.0, "job 7 needs more", concern=ADA)


def job(number: int, user: str = "ada", kind: str = "projected") -> Alert:
    return replace(ALERT, kind=kind, scope=Scope("job", str(number)), concern=replace(ADA, user=user))


def deliver(
    store: Store, people: FakePeople, *alerts: Alert, now: float = NOW, policy: Policy = ALL
) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """As another process each time: what a postman knows is in the ledger."""
    waiting, outcomes = Postman(store, "default", {"people": people}).deliver(alerts, policy, now)
    return waiting, dict(outcomes)


def raised(store: Store, *alerts: Alert, now: float = NOW) -> None:
    with store.writing() as connection:
        episodes.begin(connection, "default", [(each, "told") for each in alerts], now)


def over(store: Store, *alerts: Alert, now: float, verdict: str = "right") -> None:
    ends = [End(key_of(each), "ended", verdict, "", f"the job ended: {each.text}") for each in alerts]  # type: ignore[arg-type]
    with store.writing() as connection:
        episodes.end(connection, "default", ends, now)


def scopes(people: FakePeople) -> list[list[str]]:
    return [[change.alert.scope.name for change in letter.changes] for letter in people.letters]


def test_an_owner_is_told_once(store: Store) -> None:
    """Whoever asks again, with the next pass or after a restart, finds that he knows."""
    people = FakePeople()

    first = deliver(store, people, ALERT)
    again = deliver(store, people, ALERT, now=NOW + 60.0)

    assert (({"people": 0}, {("people", "sent"): 1}), ({"people": 0}, {})) == (first, again)
    assert (["user:ada"], [["7"]]) == ([each.recipient for each in people.letters], scopes(people))


def test_five_thousand_overruns_at_once_are_a_letter_for_each_owner(store: Store) -> None:
    """With the twenty that matter most, and how many more there are."""
    people = FakePeople()
    alerts = [job(number, f"user{number % 40}") for number in range(5000)]

    _, outcomes = deliver(store, people, *alerts)

    assert ({("people", "sent"): 5000}, 40) == (outcomes, len(people.letters))
    assert {(20, 105)} == {(len(each.changes), each.more) for each in people.letters}
    assert ({"people": 0}, {}) == deliver(store, people, *alerts, now=NOW + DAY)


def test_what_comes_within_the_hour_is_one_letter_after_it(store: Store) -> None:
    """It waits, and nothing is wrong with that."""
    people = FakePeople()
    for number in range(30):
        alerts = [job(each) for each in range(number + 1)]
        waiting, _ = deliver(store, people, *alerts, now=NOW + 120.0 * number)
        assert {"people": 0} == waiting
    deliver(store, people, *(job(each) for each in range(30)), now=NOW + HOUR)

    assert [1, 20] == [len(each.changes) for each in people.letters]
    assert [0, 9] == [each.more for each in people.letters]


@pytest.mark.parametrize("answer", [False, Unavailable("no answer")])
def test_a_letter_is_tried_until_it_gets_through_and_keeps_its_key(
    store: Store, answer: bool | GpuwatchError
) -> None:
    """By which a channel that had it already knows it; what is no longer so by then is not in it."""
    people = FakePeople({"user:ada": answer})

    first = deliver(store, people, ALERT, job(8))
    too_early = deliver(store, people, ALERT, job(8), now=NOW + 20.0)
    people.answers = {}
    second = deliver(store, people, job(8), now=NOW + 60.0)

    assert ({"people": 2}, {("people", "later"): 2}) == first
    assert ({"people": 2}, {}) == too_early
    assert ({"people": 0}, {("people", "sent"): 1}) == second
    assert (2, 1) == (len(people.tried), len({each.key for each in people.tried}))
    assert [["8"]] == scopes(people)


def test_one_that_is_refused_is_not_tried_again(store: Store) -> None:
    """A recipient that does not exist: he counts as told, and the others are."""
    people = FakePeople({"user:ada": Rejected("550 no such user")})

    first = deliver(store, people, ALERT, job(8, "bob"))
    later = deliver(store, people, ALERT, job(8, "bob"), now=NOW + DAY)

    assert {("people", "rejected"): 1, ("people", "sent"): 1} == first[1]
    assert ({"people": 0}, {}) == later
    assert ["user:bob"] == [each.recipient for each in people.letters]


def test_one_is_given_up_after_a_day(store: Store) -> None:
    """So that the list of what waits does not grow for ever."""
    people = FakePeople({"user:ada": False})
    deliver(store, people, ALERT)

    _, last = deliver(store, people, ALERT, now=NOW + GIVE_UP_SECONDS)

    assert {("people", "given_up"): 1} == last
    assert ({"people": 0}, {}) == deliver(store, people, ALERT, now=NOW + GIVE_UP_SECONDS + 60.0)


def test_one_that_hangs_holds_up_nobody_else(store: Store) -> None:
    """Who was tried in vain comes last, and a pass stops sending after some time."""
    clock = [0.0]
    people = FakePeople()

    class Slow(FakePeople):
        def send(self, letter: Letter) -> bool:
            clock[0] += 15.0 if letter.recipient == "user:ada" else 0.1
            return people.send(letter) if letter.recipient != "user:ada" else False

    slow = Slow()
    alerts = [job(1), *(job(number, f"user{number}") for number in range(2, 10))]
    for number in range(2):
        postman = Postman(store, "default", {"people": slow}, lambda: clock[0])
        postman.deliver(alerts, ALL, NOW + 60.0 * number)

    assert 8 == len(people.letters)
    assert clock[0] < 2 * SENDING_SECONDS


def test_a_crash_after_sending_sends_the_same_letter_again(store: Store) -> None:
    """At least once; its key is the same, so that mail and webhooks know it."""
    people = FakePeople()

    class Crashing(FakePeople):
        def send(self, letter: Letter) -> bool:
            people.send(letter)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(store, Crashing(), ALERT)
    deliver(store, people, ALERT, now=NOW + 60.0)
    deliver(store, people, ALERT, now=NOW + 120.0)

    assert (2, 1) == (len(people.letters), len({each.key for each in people.letters}))


def test_what_flaps_is_told_once(store: Store) -> None:
    """Whatever ends and comes back at once did not end."""
    people = FakePeople()
    now = NOW
    for number in range(50):
        now = NOW + 600.0 * number
        if number % 2 == 0:
            raised(store, ALERT, now=now)
            deliver(store, people, ALERT, now=now)
        else:
            over(store, ALERT, now=now, verdict="wrong")
            deliver(store, people, now=now)

    assert 1 == len(people.letters)


def test_an_overrun_that_ended_before_its_owner_could_be_told_is_told_after_all(store: Store) -> None:
    """It is as true as before."""
    people, exceeded = FakePeople(), job(8, kind="exceeded")
    deliver(store, people, ALERT)
    raised(store, exceeded, now=NOW + 60.0)
    deliver(store, people, ALERT, exceeded, now=NOW + 60.0)
    over(store, exceeded, now=NOW + 120.0)

    deliver(store, people, ALERT, now=NOW + HOUR)
    deliver(store, people, ALERT, now=NOW + DAY)

    assert [["7"], ["8"]] == scopes(people)
    assert ["resolved"] == [change.what for change in people.letters[1].changes]


def test_the_policy_says_whom(store: Store) -> None:
    """Accounts and operators beside the owner; who is not known is nobody."""
    people = FakePeople()
    policy = Policy.model_validate({
        "tell": [
            {"kinds": ["projected"], "to": ["owner", "account"], "accounts": ["ml"]},
            {"kinds": ["throttled"]},
        ]
    })  # fmt: skip
    nobodys = replace(ALERT, scope=Scope("job", "9"), concern=Concern(account="ml"))

    deliver(store, people, ALERT, nobodys, job(8, kind="throttled"), policy=policy)

    found = {each.recipient: [change.alert.scope.name for change in each.changes] for each in people.letters}
    assert {"user:ada": ["7"], "account:ml": ["7", "9"], "operators": ["8"]} == found


def test_letters_of_long_ago_are_forgotten(store: Store) -> None:
    """Who was told what is kept as long as it may matter."""
    people = FakePeople()
    raised(store, ALERT)
    deliver(store, people, ALERT)
    over(store, ALERT, now=NOW + 60.0)

    deliver(store, people, now=NOW + 40 * DAY)

    with store.reading() as connection:
        told = letter_store.told(connection, "default")
        posted = letter_store.letters_since(connection, "default", 0.0)
    assert ({}, {}) == (dict(told), dict(posted))


def test_a_clock_that_was_ahead_holds_up_nobody(store: Store) -> None:
    """A letter that is to be tried next year is tried now."""
    people = FakePeople({"user:ada": False})
    deliver(store, people, ALERT, now=NOW + 365 * DAY)
    people.answers = {}

    deliver(store, people, ALERT)

    assert [["7"]] == scopes(people)
