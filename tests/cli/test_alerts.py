"""`gpuwatch alerts`: out of the ledger and by API alike."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gpuwatch.cli import application
from gpuwatch.errors import Forbidden, Rejected, Unavailable
from gpuwatch.ledger import alert_tables, episodes, letter_store, mutes
from gpuwatch.ledger.letter_store import To, Told
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.scopes import key_of
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.model import Concern
from gpuwatch.web.api import Gate, api_routes
from gpuwatch.web.exposition import base_app
from gpuwatch.web.identity import Caller, Identity
from gpuwatch.web.names import FixedNames
from gpuwatch.web.roles import Access, Person
from gpuwatch.web.server import WebServer
from tests.ledger.alerted import BOB, alert, ended, raised
from tests.ledger.batch import running

NOW = time.time()


class Known:
    """A proof that takes everybody for ada."""

    challenge = hint = ""

    async def person(self, caller: Caller) -> Person | None:
        return Person("test", "ada")


@dataclass(frozen=True)
class Place:
    """A ledger, its API's socket, and a configuration that names both."""

    store: Store
    ledger: str
    socket: str
    config: str


def fill(store: Store) -> None:
    """A projection of ada's that is told and was mailed, an idle job of bob's, observed, one that is over."""
    with store.writing() as connection:
        times = {"submitted": int(NOW) - 1000, "started": NOW - 900.0, "seen": NOW}
        post_records(connection, [running("77", **times), running("79", user="bob", account="vision", **times)])
    projected = alert("job:77", text="job 77 will need 32 device-hours", details=("used 8", "will use 32"))
    grave = alert("account:ml", "exceeded", Concern("", "ml"), severity="critical", text="account ml is over")
    raised(store, [(projected, "told"), (alert("job:79", "idle", BOB), "observed"), (grave, "told")], NOW - 600)
    raised(store, [(alert("job:70", "hung"), "observed")], NOW - 500)
    ended(store, key_of(alert("job:70", "hung")), NOW - 400, "cleared", "wrong")
    with store.writing() as connection:
        known = {key_of(projected): Told(NOW - 590, False, "warning", 0)}
        letter_store.keep_told(connection, "default", To("apprise", "user:ada"), known)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    store = open_store(str(tmp_path / "ledger.db"))
    fill(store)
    gate = Gate(Identity([Known()]), FixedNames({"ada": 1000}), Access())
    app = base_app("test", bytes, lambda: True, lambda: True, [], api_routes(lambda: store, gate))
    server = WebServer(app, "127.0.0.1:0", unix_socket=tmp_path / "api.sock")
    server.start()
    config = tmp_path / "g.toml"
    config.write_text(
        f'[accounting]\nledger = "sqlite:///{tmp_path}/ledger.db"\nsocket = "{tmp_path}/api.sock"\n'
        '[alerts]\ntell = ["exceeded", "projected"]\n'
    )
    yield Place(store, str(tmp_path / "ledger.db"), str(tmp_path / "api.sock"), str(config))
    server.stop()
    store.close()


def invoke(*arguments: str) -> Result:
    """Run a command in this process; what it raises is in the result."""
    return CliRunner().invoke(application(["alerts", "budget"]), ["alerts", *arguments])


def test_what_is_told_is_listed_and_the_rest_is_a_number(place: Place) -> None:
    """The gravest first; alone it is the list."""
    alone, listed = invoke("--config", place.config), invoke("list", "--config", place.config)

    assert (0, alone.output) == (listed.exit_code, listed.output)
    head, first, second, rest = alone.output.splitlines()
    assert ["KIND", "SCOPE", "QUANTITY", "SINCE", "MODE", "WHOSE", "WHAT"] == head.split()
    assert ("exceeded", "account:ml", True) == (*first.split()[:2], "critical: account ml is over" in first)
    assert ["projected", "77", "device-hours"] == second.split()[:3]
    assert "1 is observed: recorded, and told to nobody; `gpuwatch alerts --all`" == rest


def test_all_has_what_is_observed_and_what_ended(place: Place) -> None:
    """What ended is last, with how it turned out; only of so many days."""
    output = invoke("--all", "--config", place.config).output

    assert ["account:ml", "77", "79", "70"] == [line.split()[1] for line in output.splitlines()[1:]]
    assert "Z, wrong" in output.splitlines()[-1]
    assert "70" not in [
        line.split()[1] for line in invoke("--all", "--days", "0", "--config", place.config).output.splitlines()
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--user", "bob", "--all"), ["79"]),
        (("--account", "ml"), ["account:ml", "77"]),
        (("--kind", "projected"), ["77"]),
        (("--mode", "observed"), ["79"]),
        (("--mode", "muted"), []),
    ],
)
def test_alerts_are_filtered(place: Place, options: tuple[str, ...], expected: list[str]) -> None:
    """By whose they are, by kind and by how they are told."""
    found = json.loads(invoke(*options, "--json", "--config", place.config).output)

    assert expected == [
        f"account:{each['scope']}" if each["scope_kind"] == "account" else each["scope"] for each in found
    ]


def test_by_api_one_sees_his_own(place: Place) -> None:
    """The same document; why also."""
    listed, by_api = (json.loads(invoke("--all", "--json", *where).output) for where in (
        ("--ledger", place.ledger), ("--api", place.socket)))  # fmt: skip

    assert ["77", "70"] == [each["scope"] for each in by_api]
    assert by_api == [each for each in listed if each["user"] == "ada"]
    of_ledger, asked = (invoke("why", "77", *where) for where in (
        ("--ledger", place.ledger), ("--api", place.socket)))  # fmt: skip
    assert (0, of_ledger.output.splitlines()[:5]) == (asked.exit_code, asked.output.splitlines()[:5])
    assert isinstance(invoke("why", "79", "--api", place.socket).exception, Unavailable)


def test_empty_says_what_is_so(tmp_path: Path) -> None:
    """Nothing is active, or nothing is told."""
    ledger = str(tmp_path / "ledger.db")
    with_none = open_store(ledger)
    assert "No alert is active\n" == invoke("--ledger", ledger).output
    raised(with_none, [(alert(), "observed"), (alert("job:8"), "observed")], NOW)

    assert invoke("--ledger", ledger).output.startswith("No alert is told; 2 are observed: ")
    assert "Nothing is muted\n" == invoke("mutes", "--ledger", ledger).output
    assert [] == json.loads(invoke("--json", "--ledger", ledger).output)
    with_none.close()


def test_why_says_details_times_letters_rule_and_record(place: Place) -> None:
    """Line by line."""
    told, idle, over = (invoke("why", scope, "--config", place.config).output for scope in ("77", "job:79", "70"))

    assert told.startswith("projected 77 device-hours, warning\n            used 8\n            will use 32\n")
    for part in (
        "user ada, account ml",
        "Z raised",
        "user:ada by apprise, of it",
        "told to owners: rule 1 of `tell`",
    ):
        assert part in told
    assert "nobody, it is observed" in idle
    assert "observed: no rule of the policy tells `idle` of account vision" in idle
    assert "hung 70 device-hours, warning (over)" in over
    assert "ended by itself" in over and "this one was wrong" in over
    assert "0 of 1 were right (0 %)" in over


def test_a_scope_without_alerts_is_69(place: Place) -> None:
    """With where to look."""
    assert isinstance(invoke("why", "job:1", "--config", place.config).exception, Unavailable)
    assert "No alert of the kind idle." in invoke("why", "77", "--kind", "idle", "--config", place.config).output


@pytest.mark.parametrize("by_api", [False, True])
def test_muted_and_taken_back(place: Place, by_api: bool) -> None:
    """With a number, by whom, and until when; it is listed while it is in force."""
    where = ("--api", place.socket) if by_api else ("--config", place.config)

    made = invoke("mute", "77", "--reason", "waits for data", "--for", "2h", "--kind", "projected", *where)
    assert (0, "mute 1: projected of job:77, until ") == (made.exit_code, made.output[:35])
    assert made.output.endswith("; 1 alert active\n")
    listed = invoke("mutes", *where).output
    assert "job:77" in listed and "waits for data" in listed
    assert "muted" == next(iter(_episodes(place, "77"))).acted
    lifted = invoke("unmute", "1", *where)
    assert (0, "mute 1 of job:77 lifted\n") == (lifted.exit_code, lifted.output)
    assert "Nothing is muted\n" == invoke("mutes", *where).output
    assert "lifted " in invoke("mutes", "--all", *where).output
    assert isinstance(invoke("unmute", "1", *where).exception, Rejected)
    assert isinstance(invoke("unmute", "9", *where).exception, Unavailable)


@pytest.mark.parametrize("by_api", [False, True])
def test_acknowledged(place: Place, by_api: bool) -> None:
    """By name, in the list."""
    where = ("--api", place.socket) if by_api else ("--config", place.config)

    assert "1 alert of job:77 acknowledged\n" == invoke("ack", "77", *where).output
    assert "job:77 has no active alert of the kind hung\n" == invoke("ack", "77", "--kind", "hung", *where).output
    assert "told, ack " in invoke("--config", place.config).output
    (seen,) = _episodes(place, "77")
    assert ("acknowledged", True) == (seen.acted, bool(seen.acked_by))


def test_what_is_muted_says_so_from_the_next_pass_on(place: Place) -> None:
    """By whom, until when, why, and how to take it back."""
    invoke("mute", "user:ada", "--reason", "on leave", "--for", "forever", "--config", place.config)

    output = invoke("why", "77", "--config", place.config).output

    assert "user:ada by " in output and "until forever" not in output and "on leave" in output
    assert "`gpuwatch alerts unmute 1` takes it back" in output
    assert "else it would be told: rule 1 of `tell` has it" in output


def test_others_are_not_muted_by_api(place: Place) -> None:
    """Ada may not for bob's job; who may is said."""
    refused = invoke("mute", "79", "--reason", "x", "--api", place.socket).exception

    assert isinstance(refused, Forbidden) and "its owner, a coordinator of its account and admins may" in str(
        refused
    )


def test_a_ledger_that_may_be_read_alone_is_written_by_accounting(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host whose users share the group of the ledger."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)

    assert 0 == invoke("mute", "77", "--reason", "x", "--config", place.config).exit_code

    with place.store.reading() as connection:
        (made,) = mutes.all_of(connection, "default")
    assert "ada" == made.who


@pytest.mark.parametrize(
    "arguments",
    [
        ("mute", "77"),
        ("mute", "77", "--reason", " "),
        ("mute", "77", "--reason", "x", "--for", "3y"),
        ("mute", "77", "--reason", "x", "--kind", "nonsense"),
        ("--kind", "nonsense"),
        ("--kind", "idle", "list"),
        ("--policy", "x.toml"),
        ("--would-have", "soon"),
        ("would-have", "5m"),
        ("unmute", "0"),
        ("ack", "user:"),
    ],
)
def test_what_cannot_be_is_64(place: Place, arguments: tuple[str, ...]) -> None:
    """Before anything is read."""
    assert 64 == invoke(*arguments).exit_code


def test_would_have_counts_letters_and_what_was_right(place: Place, tmp_path: Path) -> None:
    """Out of the ledger, as option or command; a policy in the place of all being told."""
    with place.store.writing() as connection:
        rows = [dict(row._mapping) for row in connection.execute(alert_tables.episodes.select())]
        again = [{**rows[-1], "scope": str(n), "verdict": "right", "id": 100 + n} for n in range(30)]
        connection.execute(alert_tables.episodes.insert(), again)
    option, command = (
        invoke("--would-have", "30d", "--config", place.config),
        invoke("would-have", "--config", place.config),
    )

    assert (0, option.output) == (command.exit_code, command.output)
    assert "hung           31" in option.output and "97 %" in option.output
    assert option.output.endswith('In the policy file:\n\n[[tell]]\nkinds = ["hung"]\n')
    policy = tmp_path / "alerts.toml"
    policy.write_text('[[tell]]\nkinds = ["idle"]\nto = ["operators"]\n')
    found = json.loads(
        invoke("would-have", "7d", "--policy", str(policy), "--json", "--config", place.config).output
    )
    assert [("operators", 1)] == [(each["recipient"], each["letters"]) for each in found["people"]]
    assert (["hung"], None) == (found["promote"], found["letters_per_person_and_week"])


def test_would_have_is_for_who_may_read_the_ledger(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about everybody: the API does not answer it."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "ledger.db")

    assert isinstance(invoke("--would-have", "30d", "--config", place.config).exception, Forbidden)


def test_would_have_of_nothing(tmp_path: Path) -> None:
    """It says so."""
    ledger = str(tmp_path / "ledger.db")
    open_store(ledger).close()

    assert "no alert was raised in that time." in invoke("would-have", "--ledger", ledger).output


def _episodes(place: Place, job: str) -> list[episodes.Episode]:
    with place.store.reading() as connection:
        return [each for each in episodes.opened(connection, "default").values() if each.key.scope.name == job]
