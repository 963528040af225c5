"""Declaring over the API: who may, what becomes of it, and what those are told who may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from gpuwatch.ledger import tables
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.schedulers.base import Live
from gpuwatch.web.pace import Pace
from tests.ledger.batch import T0, pending, record, running
from tests.web.asking import ask
from tests.web.ledgers import NOW, api, as_user, fill

PATH = "/api/v1/declarations"
JSON = {"content-type": "application/json"}
HOURS = "device-hours=640"
PEOPLE = ("ada", "bob", "grace", "linus", "sam", "root", "eve")
MAY = {
    "job:7": {"ada", "grace", "root"},
    "job:8": {"bob", "linus", "root"},
    "job:9": {"bob", "grace", "root"},
    "job:run-1": {"ada", "root"},
    "job:user:bob": {"bob", "root"},
    "job:66": {"root"},
    "job:12": {"ada", "grace", "root"},
    "campaign:llama": {"ada", "bob", "grace", "linus", "root"},
    "campaign:new": {*PEOPLE},
    "account:ml": {"grace", "root"},
    "account:nlp": {"grace", "root"},
    "account:vision": {"linus", "root"},
    "array:30": {"ada", "grace", "root"},
}
"""Who may declare for what in the ledger of `fill`: job 12 waits in the queue, array 30 has two tasks of ada's."""


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


def post(store: Store, text: str, user: str = "root", **more: Any) -> httpx.Response:
    """Declare as somebody."""
    headers = {**as_user(user), **JSON, **more.pop("headers", {})}
    application = api(store, now=more.pop("now", NOW))
    options = {"content": json.dumps({"text": text})} | more
    return ask(application, "POST", PATH, headers=headers, **options)


def get(store: Store, scope: str, user: str = "root") -> httpx.Response:
    """Read what is declared as somebody."""
    return ask(api(store), "GET", PATH, params={"scope": scope}, headers=as_user(user))


def journal(store: Store) -> list[Any]:
    """What came by API."""
    with store.reading() as connection:
        return list(connection.execute(select(tables.journal).where(tables.journal.c.channel == "api")))


def refused(store: Store, user: str = "root") -> list[Any]:
    """The refusals that somebody may read."""
    answer = ask(api(store), "GET", "/api/v1/refusals", headers=as_user(user))
    found: list[Any] = answer.json()["refusals"]
    return found


@pytest.mark.parametrize("scope", MAY)
def test_who_may_declare_for_what(store: Store, scope: str) -> None:
    """The owner, a coordinator, an admin; for a campaign who has a job in it, for a new one whoever is first."""
    answers = {user: post(store, f"{HOURS} for={scope}", user) for user in PEOPLE[::-1] if scope != "campaign:new"}
    answers |= {
        user: post(store, f"{HOURS} for={scope}-{user}", user) for user in PEOPLE if scope == "campaign:new"
    }

    assert MAY[scope] == {user for user, answer in answers.items() if answer.status_code == 200}
    assert dict.fromkeys({*PEOPLE} - MAY[scope], 403) == {
        user: answer.status_code for user, answer in answers.items() if answer.status_code != 200
    }
    assert len(MAY[scope]) == len(journal(store))


def test_a_declaration_is_answered_as_it_was_stored(store: Store) -> None:
    """With who, when and through what; it is in force above what the job's comment says, and is read again."""
    answer = post(store, "device-hours=10..12..16 energy=5kWh basis=pilot for=job:7", "grace")

    stored = answer.json()
    hours, energy = sorted(stored["declarations"], key=lambda each: each["quantity"])
    assert ("job:7", "default") == (stored["scope"], stored["cluster"])
    assert (36_000.0, 43_200.0, 57_600.0, "s", "pilot") == tuple(
        hours[name] for name in ("low", "likely", "high", "unit", "basis")
    )
    assert ("user:grace", NOW, "api") == tuple(energy[name] for name in ("declared_by", "declared_at", "channel"))
    read = get(store, "job:7", "ada").json()["declarations"]
    assert {"api", "comment"} == {each["channel"] for each in read}
    assert all(each in read for each in stored["declarations"])


def test_a_declaration_for_a_job_that_runs_is_in_force(store: Store) -> None:
    """The latest; the first one stays the original."""
    with store.writing() as connection:
        post_records(connection, [running("40", started=NOW - 60, submitted=int(NOW) - 90, seen=NOW)])

    post(store, f"{HOURS} for=job:40", "ada")
    post(store, "device-hours=700 for=job:40", "ada", now=NOW + 5)

    last, first = get(store, "job:40", "ada").json()["declarations"]
    assert [(700 * 3600.0, True, False), (640 * 3600.0, False, True)] == [
        (each["likely"], each["in_force"], each["original"]) for each in (last, first)
    ]


def test_a_declaration_after_the_end_is_kept_and_does_not_count(store: Store) -> None:
    """Nobody estimates rightly what he knows."""
    answer = post(store, f"{HOURS} for=job:9", "bob")

    (late,) = answer.json()["declarations"]
    assert (False, False, True) == (late["in_force"], late["original"], late["after_end"])
    detail = ask(api(store), "GET", "/api/v1/jobs/9", headers=as_user("bob")).json()
    assert {} == detail["declared"]
    assert [late] == detail["revisions"]


def test_what_waits_in_the_queue_keeps_it_when_it_starts(store: Store) -> None:
    """A job is declared for between its submission and its start."""
    post(store, f"{HOURS} for=job:12", "ada")
    with store.writing() as connection:
        post_records(connection, [running("12", submitted=T0 - 5, started=NOW + 60, seen=NOW + 90)])

    (estimate,) = get(store, "job:12", "ada").json()["declarations"]
    assert (True, True, "user:ada") == tuple(estimate[each] for each in ("in_force", "original", "declared_by"))


def test_of_a_job_id_that_came_back_the_latest_is_meant(store: Store) -> None:
    """An earlier one is named with its start, or by whose it is, where that tells them apart."""
    with store.writing() as connection:
        post_records(connection, [running("8", submitted=int(NOW) - 9, started=NOW - 5, seen=NOW, user="ada")])

    for user, name in (("ada", "8"), ("bob", "8"), ("root", f"8@{T0 + 10}")):
        assert 200 == post(store, f"{HOURS} for=job:{name}", user).status_code

    latest, first = (get(store, f"job:8@{start}").json()["declarations"] for start in (int(NOW) - 5, T0 + 10))
    assert [("user:ada", False)] == [(each["declared_by"], each["after_end"]) for each in latest]
    assert {("user:bob", True), ("user:root", True), ("user:bob", False)} == {
        (each["declared_by"], each["after_end"]) for each in first
    }


def test_who_declared_first_for_a_campaign_may_again(store: Store) -> None:
    """Others may not, unless they come to own a job in it."""
    statuses = [post(store, f"{HOURS} for=campaign:mine", user).status_code for user in ("eve", "ada", "eve")]

    assert [200, 403, 200] == statuses
    assert 2 == len(get(store, "campaign:mine", "eve").json()["declarations"])


def test_what_may_not_be_read_is_as_if_it_were_not_there(store: Store) -> None:
    """The same answer for another's job as for none, to those who declare and to those who read."""
    for one, none in (("job:7", "job:777"), ("account:ml", "account:none"), ("array:30", "array:333")):
        another, nothing = (post(store, f"{HOURS} for={each}", "eve") for each in (one, none))
        assert (403, 403) == (another.status_code, nothing.status_code)
        assert another.json()["error"].replace(one, "") == nothing.json()["error"].replace(none, "")
        assert get(store, one, "eve").content == get(store, none, "eve").content


def test_staff_is_told_that_there_is_none(store: Store) -> None:
    """Who may read everything learns nothing by it; support may read a job, and not declare for it."""
    assert 404 == post(store, f"{HOURS} for=job:777", "root").status_code
    assert "for=job:7: is not yours to declare for; its owner" in post(store, f"{HOURS} for=job:7", "sam").text


def test_a_refusal_is_kept_for_staff_and_for_who_was_refused(store: Store) -> None:
    """With what was tried, by whom, how he was known, and what he was told; mistakes of grammar are not."""
    post(store, f"{HOURS} for=job:7", "eve")
    post(store, "device-hours=lots for=job:7", "eve")

    (refusal,) = refused(store)
    assert {"time": NOW, "who": "eve", "uid": None, "identified_by": "test"}.items() <= refusal.items()
    assert (f"{HOURS} for=job:7", True) == (refusal["text"], "not yours" in refusal["reason"])
    assert ([refusal], [refusal], []) == (refused(store, "sam"), refused(store, "eve"), refused(store, "ada"))


def test_who_joins_a_campaign_does_not_read_what_others_declared_for_it(store: Store) -> None:
    """Anybody can join one; who reads all of its jobs reads all."""
    post(store, f"{HOURS} for=campaign:llama", "ada")
    post(store, "energy=5kWh for=campaign:llama", "bob")

    assert {"device-hours", "energy"} == {
        each["quantity"] for each in get(store, "campaign:llama").json()["declarations"]
    }
    assert ["energy"] == [each["quantity"] for each in get(store, "campaign:llama", "bob").json()["declarations"]]


def test_what_an_admin_declares_makes_no_job_his(store: Store) -> None:
    """Whose a job outside of a batch system is, is not told by who declares for it from elsewhere."""
    post(store, f"{HOURS} for=job:user:bob", "root")

    assert 404 == ask(api(store), "GET", "/api/v1/jobs/user:bob", headers=as_user("ada")).status_code
    assert None is ask(api(store), "GET", "/api/v1/jobs/user:bob", headers=as_user("bob")).json()["uid"]


@pytest.mark.parametrize(
    "text",
    [
        "device-hours=0 for=job:7", "device-hours=-1 for=job:7", "device-hours=NaN for=job:7",
        "device-hours=1e308 for=job:7", "energy=450kg for=job:7", "device-hours=9..5..1 for=job:7",
        "device-hours=1 device-hours=2 for=job:7", "device-hours=\u0661\u0662 for=job:7",
        "device-hours=1", "device-hours=1 for=job:7 campaign=x", "tag=a:b for=job:7",
        "device-hours=1 tag=a:b for=job:7", "for=job:7", "device-hours=1 for=node:7", "", "\ud800",
        "device-hours=1 for=job:7\0", "device-hours=1 for=job:" + "7" * 300, "x" * 65_000,
    ],
)  # fmt: skip
def test_what_is_not_in_the_grammar_is_refused_with_what_is(store: Store, text: str) -> None:
    """With the same words as everywhere, and nothing is kept."""
    answer = post(store, text)

    assert (400, True) == (answer.status_code, len(answer.json()["error"]) > 10)
    assert ([], []) == (journal(store), refused(store))


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"content": b"device-hours=1 for=job:7"}, 400),
        ({"content": b'["device-hours=1 for=job:7"]'}, 400),
        ({"content": b'{"text": 1}'}, 400),
        ({"content": b"{}"}, 400),
        ({"content": b'{"text": "device-hours=1 for=job:7", "who": "bob"}'}, 400),
        ({"content": b"[" * 60_000}, 400),
        ({"content": b'{"text": "' + b"x" * 70_000 + b'"}'}, 413),
        ({"headers": {"content-type": "text/plain"}}, 415),
        ({"headers": {"content-type": "application/x-www-form-urlencoded"}}, 415),
        ({"headers": {"origin": "https://elsewhere.example"}}, 403),
        ({"params": {"text": "device-hours=1"}}, 400),
        ({"headers": {"x-test-user": ""}}, 401),
    ],
)
def test_a_request_that_is_not_one_is_refused(store: Store, more: dict[str, Any], status: int) -> None:
    """What a browser could be made to send from another site above all."""
    answer = post(store, f"{HOURS} for=job:7", **more)

    assert (status, []) == (answer.status_code, journal(store))
    assert answer.json()["error"]


def test_who_says_too_much_is_asked_to_wait(store: Store) -> None:
    """Each person for himself."""
    application = api(store, pace=Pace(2, 0.1, lambda: 0.0))

    def status(user: str) -> int:
        headers = {**as_user(user), **JSON}
        return ask(application, "POST", PATH, headers=headers, json={"text": f"{HOURS} for=job:7"}).status_code

    assert [200, 200, 429, 200] == [status(user) for user in ("root", "root", "root", "ada")]


def test_pace_grows_back() -> None:
    """One more after each interval, and no more than at first; of people who are not heard from little is kept."""
    times = iter([0.0, 0.0, 0.0, 10.0, 10.0, 1000.0, 1000.0, 1000.0, 900.0])
    pace = Pace(2, 0.1, lambda: next(times))

    assert [True, True, False, True, False, True, True, False, False] == [pace.takes("ada") for _ in range(9)]


def test_what_is_declared_for_a_job_that_waits_is_not_shown_to_whose_its_id_was(store: Store) -> None:
    """By API or in comments, while it waits and where it never starts."""
    waiting = pending("8", submitted=int(NOW) - 9, user="ada", name="secret", seen=NOW)
    comments = [replace(waiting, live=Live(NOW + n, f"gpuwatch: device-hours={n}")) for n in (1, 2)]
    before = get(store, "job:8", "bob").json()
    with store.writing() as connection:
        post_records(connection, [waiting])
    assert 200 == post(store, f"{HOURS} for=job:8", "ada").status_code

    for told in (*comments, pending("8", submitted=int(NOW) - 9, user="ada", state="CANCELLED", seen=NOW + 3)):
        with store.writing() as connection:
            post_records(connection, [told])
        assert before == get(store, "job:8", "bob").json()


def test_a_job_that_waits_shows_what_its_comment_declared(store: Store) -> None:
    """Before it was declared for by hand, which counts."""
    comment = Live(NOW - 5, "gpuwatch: device-hours=500")
    with store.writing() as connection:
        post_records(connection, [pending("41", submitted=int(NOW) - 9, live=comment, seen=NOW - 5)])

    post(store, f"{HOURS} for=job:41", "ada")

    assert [("api", True, False), ("comment", False, True)] == [
        (each["channel"], each["in_force"], each["original"])
        for each in get(store, "job:41", "ada").json()["declarations"]
    ]


def test_a_job_that_waits_to_run_again_shows_all_that_was_declared(store: Store) -> None:
    """A requeue goes on with the job; what comes while it waits is not after its end."""
    ran: dict[str, Any] = {
        "submitted": int(NOW) - 900,
        "started": NOW - 800,
        "ended": NOW - 400,
        "state": "NODE_FAIL",
    }
    with store.writing() as connection:
        post_records(connection, [record("42", **ran)])
    post(store, "device-hours=500 for=job:42", "ada", now=NOW - 600)
    with store.writing() as connection:
        post_records(connection, [pending("42", submitted=int(NOW) - 395, restarts=1, seen=NOW)])

    post(store, f"{HOURS} for=job:42", "ada")

    assert [(640 * 3600.0, True, False), (500 * 3600.0, False, False)] == [
        (each["likely"], each["in_force"], each["after_end"])
        for each in get(store, "job:42", "ada").json()["declarations"]
    ]
