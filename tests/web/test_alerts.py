"""Alerts over the API: who may know of which, why they are told or not, and who may keep them from being told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gpuwatch.accounting.alert_policy import load_policy
from gpuwatch.ledger import episodes, letter_store, mutes
from gpuwatch.ledger.letter_store import To, Told
from gpuwatch.ledger.mutes import Mute
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.model import Scope
from gpuwatch.web.api import Gate
from gpuwatch.web.identity import Identity
from gpuwatch.web.names import FixedNames
from tests.ledger.alerted import BOB, alert, ended, raised
from tests.ledger.batch import T0, pending, record
from tests.web.asking import ask
from tests.web.ledgers import ACCESS, ALERTS, NOW, UIDS, Said, api, as_user, fill

BASE = "/api/v1"
ALL = {scope for scope, _, _ in ALERTS}
READS = {
    "ada": {"job:7"},
    "bob": {"job:8", "job:9"},
    "grace": {"job:7", "job:9", "account:ml"},
    "linus": {"job:8"},
    "sam": ALL,
    "root": ALL,
    "eve": set(),
}
"""Who may know of the alerts of which scopes."""
PEOPLE = tuple(READS)
MAY = {
    "job:7": {"ada", "grace", "root"},
    "7": {"ada", "grace", "root"},
    "job:8": {"bob", "linus", "root"},
    "job:9": {"bob", "grace", "root"},
    "job:run-1": {"ada", "root"},
    "job:12": {"ada", "grace", "root"},
    "array:30": {"ada", "grace", "root"},
    "campaign:llama": {"root"},
    "account:ml": {"grace", "root"},
    "account:vision": {"linus", "root"},
    "user:ada": {"ada", "root"},
    "partition:gpu": {"root"},
    "cluster:default": {"root"},
}
"""Who may mute what: job 12 waits in the queue, array 30 has two tasks of ada's, llama has jobs of two people."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The ledger of `fill`, with a job that waits and an array."""
    opened = open_store(str(tmp_path / "ledger.db"))
    fill(opened)
    tasks = [record(str(31 + n), display=f"30_{n}", whole=str(31 + n), started=float(T0)) for n in range(2)]
    with opened.writing() as connection:
        post_records(connection, [pending("12", submitted=T0 - 5), *tasks])
    yield opened
    opened.close()


def get(store: Store, path: str, user: str = "root", gate: Gate | None = None, **params: str) -> httpx.Response:
    return ask(api(store, gate), "GET", BASE + path, params=params, headers=as_user(user))


def post(store: Store, path: str, user: str = "root", now: float = NOW, **body: str) -> httpx.Response:
    headers = {**as_user(user), "content-type": "application/json"}
    return ask(api(store, now=now), "POST", BASE + path, content=json.dumps(body), headers=headers)


def mute(store: Store, scope: str, user: str = "root", **more: str) -> httpx.Response:
    body = {"scope": scope, "kind": "", "quantity": "", "for": "7d", "reason": "known"} | more
    return post(store, "/mutes", user, **body)


def scopes(answer: httpx.Response) -> list[str]:
    return [f"{each['scope_kind']}:{each['scope']}" for each in answer.json()["alerts"]]


def opened(store: Store) -> dict[AlertKey, episodes.Episode]:
    with store.reading() as connection:
        return episodes.opened(connection, "default")


@pytest.mark.parametrize("user", READS)
def test_everybody_lists_the_alerts_that_are_his(store: Store, user: str) -> None:
    """Coordinators those of their accounts, staff all; a campaign of several people is nobody's own."""
    assert READS[user] == {*scopes(get(store, "/alerts", user))}


@pytest.mark.parametrize("user", READS)
@pytest.mark.parametrize("scope", sorted(ALL))
def test_an_alert_that_is_anothers_is_as_if_there_were_none(store: Store, user: str, scope: str) -> None:
    """The same answer as for a scope without alerts."""
    answer, none = get(store, f"/alerts/{scope}", user), get(store, "/alerts/job:nothing", user)

    assert 404 == none.status_code
    if scope in READS[user]:
        assert (200, scope) == (answer.status_code, answer.json()["scope"])
    else:
        assert (404, none.content) == (answer.status_code, answer.content)


def test_alerts_of_another_cluster_are_not_here(store: Store) -> None:
    """A name is one person on one cluster only."""
    raised(store, [(alert("job:66"), "told")], NOW, "other")

    assert "job:66" not in scopes(get(store, "/alerts", "ada")) + scopes(get(store, "/alerts"))


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"kind": "exceeded", "user": "bob"}, ["job:9", "job:8"]),
        ({"account": "ml"}, ["account:ml", "job:7"]),
        ({"mode": "observed"}, ["job:40"]),
        ({"kind": "idle"}, ["job:40"]),
        ({"mode": "muted"}, []),
    ],
)
def test_alerts_are_filtered(store: Store, params: dict[str, str], expected: list[str]) -> None:
    """By kind, by how they are told, by whose they are."""
    raised(store, [(alert("job:40", "idle", BOB), "observed")], NOW + 60)

    assert expected == scopes(get(store, "/alerts", **params))


def test_the_gravest_comes_first_and_what_is_over_last(store: Store) -> None:
    """What ended is there only with `since`; pages follow each other and miss nothing."""
    grave = alert("job:41", "projected", severity="critical")
    raised(store, [(grave, "told"), (alert("job:42", "idle"), "observed")], NOW + 60)
    ended(store, key_of(alert("job:42", "idle")), NOW + 120)

    assert "job:41" == scopes(get(store, "/alerts"))[0]
    whole = scopes(get(store, "/alerts", since=str(int(NOW))))
    assert ("job:41", "job:42", len(ALL) + 2) == (whole[0], whole[-1], len(whole))
    found: list[str] = []
    params = {"since": str(int(NOW)), "limit": "2"}
    while True:
        page = get(store, "/alerts", **params)
        found += scopes(page)
        if page.json()["next"] is None:
            break
        params["cursor"] = page.json()["next"]
    assert whole == found
    assert 400 == get(store, "/alerts", cursor="WzEsMl0").status_code


def test_why_says_what_was_said_who_was_told_and_by_which_rule(store: Store) -> None:
    """With details, letters, and how often its kind was right."""
    told = alert("job:50", "projected", details=("used 8", "will use 32"))
    raised(store, [(told, "told"), (alert("job:50", "idle"), "observed")], NOW, channels=("log",))
    with store.writing() as connection:
        letter = {key_of(told): Told(NOW + 1, False, "warning", 0)}
        letter_store.keep_told(connection, "default", To("apprise", "user:ada"), letter)
    policy = load_policy(None, ["projected"])
    gate = Gate(Identity([Said()]), FixedNames(UIDS), ACCESS, policy=lambda: policy)

    idle, projected = get(store, "/alerts/50", "ada", gate).json()["alerts"]

    assert "observed: no rule of the policy tells `idle` of account ml" in idle["why"]
    assert ["used 8", "will use 32"] == projected["details"]
    assert [{"notifier": "apprise", "recipient": "user:ada", "time": NOW + 1, "over": False}] == projected["told"]
    assert (["log"], "raised") == (projected["waiting"], projected["history"][0]["what"])
    assert "told to owners: rule 1 of `tell` has it" == projected["why"]
    assert "none whose outcome is known yet" == projected["record"]["words"]


@pytest.mark.parametrize("scope", MAY)
def test_who_may_mute_what(store: Store, scope: str) -> None:
    """All of it must be one's own; support reads alone."""
    answers = {user: mute(store, scope, user) for user in PEOPLE}

    assert MAY[scope] == {user for user, answer in answers.items() if answer.status_code == 200}
    assert {403} == {answer.status_code for user, answer in answers.items() if user not in MAY[scope]}
    acks = {user: post(store, "/acknowledgements", user, scope=scope, kind="") for user in PEOPLE}
    assert MAY[scope] == {user for user, answer in acks.items() if answer.status_code == 200}


def test_a_mute_is_kept_with_who_and_why_and_counts_as_acted(store: Store) -> None:
    """What it mutes of what is active is said."""
    answer = mute(store, "job:7", "ada", kind="exceeded", reason=" waits for data ")

    document = answer.json()
    assert ("job:7", "exceeded", None, "waits for data", "ada", NOW + 7 * 86_400) == tuple(
        document["mute"][name] for name in ("scope", "kind", "quantity", "reason", "who", "until")
    )
    assert ["job:7"] == scopes(answer)
    acted = {str(key.scope): each.acted for key, each in opened(store).items()}
    assert ("muted", "") == (acted["job:7"], acted["job:8"])
    with store.reading() as connection:
        (kept,) = mutes.in_force(connection, "default", NOW)
    assert kept.matches(alert("job:7", "exceeded")) and not kept.matches(alert("job:7", "idle"))
    assert None is mute(store, "job:7", **{"for": "forever"}).json()["mute"]["until"]


def test_a_mute_of_an_array_is_one_of_its_tasks(store: Store) -> None:
    """Also of those that come to be known later."""
    raised(store, [(alert("job:31", "idle"), "told")], NOW)

    assert ["job:31"] == scopes(mute(store, "array:30", "ada"))
    with store.writing() as connection:
        post_records(connection, [record("39", display="30_8", whole="39", started=float(T0))])
    with store.reading() as connection:
        found = mutes.in_force(connection, "default", NOW)
    assert {Scope("array", "30"), *(Scope("job", each) for each in ("31", "32", "39"))} == {
        each.scope for each in found
    }


def test_a_mute_of_an_array_is_none_of_another_clusters(store: Store) -> None:
    """The same numbers are other jobs there."""
    with store.writing() as connection:
        post_records(connection, [record("8", display="30_9", whole="8", cluster="other", started=float(T0))])

    assert [] == scopes(mute(store, "array:30", "ada"))
    with store.reading() as connection:
        assert not any(each.matches(alert("job:8")) for each in mutes.in_force(connection, "default", NOW))


def test_an_alert_is_acknowledged_by_name(store: Store) -> None:
    """Others see who knows of it; it is told as before."""
    answer = post(store, "/acknowledgements", "ada", scope="7", kind="exceeded")

    assert ["job:7"] == scopes(answer)
    (seen,) = get(store, "/alerts/job:7", "grace").json()["alerts"]
    assert ("ada", NOW, "acknowledged", "told") == tuple(
        seen[name] for name in ("acknowledged_by", "acknowledged", "acted", "mode")
    )
    assert [] == scopes(post(store, "/acknowledgements", "ada", scope="7", kind="idle"))


def test_mutes_are_seen_by_whom_they_concern(store: Store) -> None:
    """His own, and those of what is his; all for staff."""
    made = {
        "job:7": "grace",
        "job:9": "bob",
        "account:vision": "linus",
        "user:ada": "root",
        "campaign:llama": "root",
    }
    numbers = {scope: mute(store, scope, user).json()["mute"]["number"] for scope, user in made.items()}

    def seen(user: str) -> set[str]:
        return {each["scope"] for each in get(store, "/mutes", user).json()["mutes"]}

    assert {*made} == seen("root") == seen("sam")
    assert ({"job:7", "user:ada"}, {"job:9"}, {"job:7", "job:9"}, {"account:vision"}, set()) == tuple(
        map(seen, ("ada", "bob", "grace", "linus", "eve"))
    )
    lifted = {user: post(store, "/unmutes", user, number=str(numbers["job:7"])).status_code for user in
              ("eve", "bob", "sam", "ada", "grace")}  # fmt: skip
    assert {"eve": 404, "bob": 404, "sam": 403, "ada": 200, "grace": 400} == lifted
    assert {"user:ada"} == seen("ada")
    (over,) = (each for each in get(store, "/mutes", "ada", which="all").json()["mutes"] if each["lifted"])
    assert ("ada", False) == (over["lifted_by"], over["in_force"])


def test_what_may_not_be_read_is_as_if_it_were_not_there(store: Store) -> None:
    """The same words for another's job as for none; staff is told that there is none."""
    for one, none in (("job:7", "job:777"), ("campaign:llama", "campaign:none"), ("array:30", "array:333")):
        another, nothing = (mute(store, each, "eve") for each in (one, none))
        assert (403, 403) == (another.status_code, nothing.status_code)
        assert another.json()["error"].replace(one, "") == nothing.json()["error"].replace(none, "")
        assert 404 == mute(store, none, "root").status_code
    assert (
        post(store, "/unmutes", "eve", number="1").content == post(store, "/unmutes", "eve", number="99").content
    )


@pytest.mark.parametrize(
    "body",
    [
        {"reason": ""}, {"reason": "  "}, {"reason": "x" * 501}, {"for": "3y"}, {"for": ""}, {"for": "0d"},
        {"kind": "nonsense"}, {"quantity": "x" * 200}, {"scope": ""}, {"scope": "user:"}, {"scope": "a\nb"},
        {"who": "ada"},
    ],
)  # fmt: skip
def test_a_mute_that_cannot_be_is_refused_with_why(store: Store, body: dict[str, str]) -> None:
    """And nothing is kept."""
    answer = mute(store, **{"scope": "job:7", **body})

    assert (400, True) == (answer.status_code, len(answer.json()["error"]) > 10)
    assert [] == get(store, "/mutes").json()["mutes"]


def test_a_mute_that_is_over_is_in_force_no_more(store: Store) -> None:
    """It is kept all the same."""
    with store.writing() as connection:
        mutes.keep(connection, "default", Mute(Scope("job", "7"), NOW - 100, NOW - 1, "ada", "done"))

    assert [] == get(store, "/mutes", "ada").json()["mutes"]
    assert ["done"] == [each["reason"] for each in get(store, "/mutes", "ada", which="all").json()["mutes"]]
