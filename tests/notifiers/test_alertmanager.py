"""Telling Alertmanagers: all of them, again while it lasts, and the end for a while; a bad alert stays alone."""

from __future__ import annotations

import base64
import logging
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gpuwatch.model import Alert, Scope, Site
from gpuwatch.notifiers.alertmanager import RESOLVED_SECONDS, AlertmanagerNotifier
from gpuwatch.notifiers.alertmanager_server import AT_ONCE, REFUSED_SECONDS
from gpuwatch.notifiers.base import Change, Notifier, Probing, Renewing
from tests.integration.debian import free_port
from tests.notifiers.fake_alertmanager import Document, FakeAlertmanager, fake_alertmanager

NOW = 1_764_000_000.0
HELD = 240.0


def alert(name: str = "1", **changed: Any) -> Alert:
    made = Alert("projected", Scope("job", name), "energy", "warning", NOW, 7.2e6, 3.6e6, f"job {name} needs more")
    return replace(made, **changed)


def notifier(*fakes: FakeAlertmanager | str, **settings: Any) -> AlertmanagerNotifier:
    urls = tuple(each if isinstance(each, str) else each.url for each in fakes)
    chosen = AlertmanagerNotifier.Settings(urls=urls, **{"timeout_seconds": 2.0, **settings})
    return AlertmanagerNotifier(chosen, Site())


def renewed(told: AlertmanagerNotifier, *active: Alert, at: float = 0.0) -> dict[str, int]:
    return dict(told.renew(active, NOW + at, NOW + at + HELD))


def ends(document: Document) -> str:
    return str(document["endsAt"])


def scopes(posts: Sequence[Sequence[Document]]) -> list[list[str]]:
    return [[each["labels"]["scope"] for each in post] for post in posts]


def bad(*names: str) -> Any:
    """Refuse whatever has one of these in it."""
    return lambda alerts: 400 if {each["labels"]["scope"] for each in alerts} & set(names) else 200


def test_it_is_a_notifier_that_renews_and_can_be_tried() -> None:
    """By what accounting and `check` ask for."""
    told: Notifier = notifier("http://127.0.0.1:9093")

    assert isinstance(told, Renewing)
    assert isinstance(told, Probing)


def test_every_alertmanager_is_told_all() -> None:
    """They agree among themselves on who tells."""
    with fake_alertmanager() as one, fake_alertmanager() as other:
        told = notifier(one, other)

        assert ({}, True) == (renewed(told, alert("1"), alert("2")), told.notify([Change("raised", alert("1"))]))
    assert [["1", "2"]] == scopes(one.posts) == scopes(other.posts)


def test_what_is_active_is_told_again_in_each_pass() -> None:
    """Four passes further each time, with what is new about it."""
    with fake_alertmanager() as fake:
        told = notifier(fake)
        renewed(told, alert())
        renewed(told, alert(text="more yet"), at=60.0)

    assert ["2025-11-24T16:04:00.000Z", "2025-11-24T16:05:00.000Z"] == [ends(each) for (each,) in fake.posts]
    assert "more yet" == fake.taken["1"]["annotations"]["description"]


def test_an_end_is_told_for_five_minutes() -> None:
    """The same end each time, with the words that say why."""
    with fake_alertmanager() as fake:
        told = notifier(fake)
        renewed(told, alert())
        renewed(told, at=60.0)
        taken = told.notify([Change("resolved", alert(text="the job ended: it did"))])
        renewed(told, at=120.0)
        renewed(told, at=60.0 + RESOLVED_SECONDS)
        renewed(told, at=61.0 + RESOLVED_SECONDS)

    assert taken
    assert ["2025-11-24T16:01:00.000Z"] * 4 == [ends(each) for (each,) in fake.posts[1:]]
    assert "the job ended: it did" == fake.taken["1"]["annotations"]["description"]


def test_an_end_is_told_by_the_next_process_too() -> None:
    """It was not there when the alert was active; the outbox has it."""
    with fake_alertmanager() as fake:
        told = notifier(fake)
        renewed(told)

        assert told.notify([Change("raised", alert()), Change("resolved", alert())])
    assert ["2025-11-24T16:00:00.000Z"] == [ends(each) for post in fake.posts for each in post]


def test_an_end_may_be_left_to_somebody_else_to_tell() -> None:
    """Beside rules that hold an alert longer, one way would say that it is over and the other that it is not."""
    with fake_alertmanager() as fake:
        told = notifier(fake, resolve=False)
        renewed(told, alert())
        renewed(told, at=60.0)

        assert told.notify([Change("raised", alert()), Change("resolved", alert())])
    assert ["2025-11-24T16:04:00.000Z"] == [ends(each) for post in fake.posts for each in post]


def test_another_severity_ends_the_alert_it_was() -> None:
    """To an Alertmanager it is another alert, and the first would stay."""
    with fake_alertmanager() as fake:
        told = notifier(fake)
        renewed(told, alert())
        renewed(told, alert(severity="critical"), at=60.0)

    assert {"critical": "2025-11-24T16:05:00.000Z", "warning": "2025-11-24T16:01:00.000Z"} == {
        each["labels"]["severity"]: ends(each) for each in fake.posts[1]
    }


def test_what_begins_again_has_not_ended() -> None:
    """However short a time ago it had."""
    with fake_alertmanager() as fake:
        told = notifier(fake)
        renewed(told, alert())
        renewed(told, at=60.0)
        renewed(told, alert(), at=120.0)

    assert [1, 1, 1] == [len(post) for post in fake.posts]
    assert "2025-11-24T16:06:00.000Z" == ends(fake.taken["1"])


def test_nothing_is_promised_before_the_first_pass() -> None:
    """The outbox keeps it."""
    with fake_alertmanager() as fake:
        assert not notifier(fake).notify([Change("raised", alert())])
    assert [] == fake.posts


def test_nothing_is_sent_where_there_is_nothing_to_tell() -> None:
    """Most passes of most clusters."""
    with fake_alertmanager() as fake:
        told = notifier(fake)

        assert ({}, True) == (renewed(told), told.notify([]))
    assert [] == fake.asked


def test_one_that_is_away_stays_alone_and_is_told_later() -> None:
    """The outbox holds the change until all have it; those that have it hear no more of it than in any pass."""
    with fake_alertmanager() as fake:
        told = notifier(fake, f"http://127.0.0.1:{free_port()}")

        assert {"unrenewed": 1} == renewed(told, alert())
        assert not told.notify([Change("raised", alert())])
    assert [["1"]] == scopes(fake.posts)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_one_that_hangs_is_waited_for_once_in_a_pass(silent: str) -> None:
    """And the others not at all."""
    with fake_alertmanager() as fake:
        told = notifier(silent, fake, timeout_seconds=0.2)

        assert {"unrenewed": 1} == renewed(told, alert())
        assert not told.notify([Change("raised", alert())])
    assert [["1"]] == scopes(fake.posts)


@pytest.mark.parametrize("status", [302, 401, 403, 404, 408, 429, 500, 502, 503])
def test_what_an_alertmanager_cannot_do_now_is_tried_again(status: int) -> None:
    """A redirect is followed nowhere: it would carry the password along."""
    answers = iter([status])
    with fake_alertmanager(status=lambda _alerts: next(answers, 200)) as fake:
        fake.headers = {"Location": f"{fake.url}/elsewhere"}
        told = notifier(fake)

        assert {"unrenewed": 1} == renewed(told, alert())
        assert not told.notify([Change("raised", alert())])
        assert ({}, True) == (renewed(told, alert(), at=60.0), told.notify([Change("raised", alert())]))
    assert [["1"]] == scopes(fake.posts)


def test_one_that_asks_for_time_has_it() -> None:
    """Passes go on meanwhile; a clock that is set back does not make it longer."""
    answers = iter([429])
    with fake_alertmanager(status=lambda _alerts: next(answers, 200), headers={"Retry-After": "90"}) as fake:
        told = notifier(fake)

        assert [{"unrenewed": 1}, {"unrenewed": 1}, {}] == [
            renewed(told, alert(), at=at) for at in (0.0, 60.0, 120.0)
        ]
    assert [b"[]", b"[]"] == [each.body for each in fake.asked[:2]]
    assert 1 == len(fake.posts)


def test_a_clock_set_back_does_not_wait_for_it_to_come_round_again() -> None:
    """An hour of silence for ninety seconds."""
    answers = iter([429])
    with fake_alertmanager(status=lambda _alerts: next(answers, 200), headers={"Retry-After": "90"}) as fake:
        told = notifier(fake)

        assert [{"unrenewed": 1}, {}] == [renewed(told, alert(), at=at) for at in (0.0, -3600.0)]


def test_a_bad_alert_never_blocks_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """All but it are taken, it is counted and logged once, and not told again for an hour."""
    alerts = [alert(str(number)) for number in range(9)]
    with fake_alertmanager(status=bad("5"), body=b'"bad label"') as fake:
        told = notifier(fake)

        assert {"refused": 1} == renewed(told, *alerts)
        assert told.notify([Change("raised", each) for each in alerts])
        fake.posts.clear()
        assert {} == renewed(told, *alerts, at=60.0)
        again = scopes(fake.posts)
        assert {"refused": 1} == renewed(told, *alerts, at=REFUSED_SECONDS)
    assert set("01234678") == set(fake.taken)
    assert [list("01234678")] == again
    assert [logging.ERROR] * 2 == [record.levelno for record in caplog.records]
    assert "reason=answered 400 Bad Request: bad label labels=" in caplog.messages[0]
    assert '"scope": "5"' in caplog.messages[0]


def test_several_bad_ones_are_each_found() -> None:
    """In fewer questions than there are alerts."""
    with fake_alertmanager(status=bad("3", "77", "200")) as fake:
        found = renewed(notifier(fake), *(alert(str(number)) for number in range(AT_ONCE)))

    assert ({"refused": 3}, AT_ONCE - 3) == (found, len(fake.taken))
    assert len(fake.posts) < 80


def test_who_refuses_whatever_we_say_is_not_taken_at_his_word(caplog: pytest.LogCaptureFixture) -> None:
    """A gateway that was set up wrongly answers 400 to nothing at all, too; once it is mended all is told."""
    with fake_alertmanager(status=lambda _alerts: 400) as fake:
        told = notifier(fake)

        assert {"unrenewed": 4} == renewed(told, *(alert(str(number)) for number in range(4)))
        assert not told.notify([Change("raised", alert())])
        fake.status = lambda _alerts: 200
        assert {} == renewed(told, alert("1"), at=60.0)
    assert [f"alertmanager unreachable url={fake.url} reason=answered 400 Bad Request"] == caplog.messages


def test_a_body_that_is_too_large_is_sent_in_parts() -> None:
    """A gateway before an Alertmanager lets through no more."""
    with fake_alertmanager(status=lambda alerts: 413 if len(alerts) > 2 else 200) as fake:
        assert {} == renewed(notifier(fake), *(alert(str(number)) for number in range(8)))

    assert 8 == len(fake.taken)


def test_thousands_are_told_in_requests_that_pass() -> None:
    """Half a megabyte each at most."""
    with fake_alertmanager() as fake:
        renewed(notifier(fake), *(alert(str(number), text="é" * 300) for number in range(1000)))

    assert [256, 256, 256, 232] == [len(post) for post in fake.posts]
    assert max(len(each.body) for each in fake.asked) < 2**20


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_alerts_end_by_the_clock_of_the_alertmanager(ahead: float, caplog: pytest.LogCaptureFixture) -> None:
    """Where one of the two is wrong they would be over when they come; it is asked before anything is told."""
    with fake_alertmanager(now=NOW + ahead) as fake:
        told = notifier(fake)
        renewed(told, alert())
        renewed(told, alert(), at=1.0)

    hour = "17" if ahead > 0 else "15"
    assert [f"2025-11-24T{hour}:04:00.000Z", f"2025-11-24T{hour}:04:01.000Z"] == [
        ends(each) for (each,) in fake.posts
    ]
    assert [f"alertmanager clock url={fake.url} seconds_ahead={ahead:.0f}"] == caplog.messages


def test_our_own_clock_may_jump() -> None:
    """Set forward an hour and back again: what is active stays so, to an Alertmanager whose clock went on."""
    with fake_alertmanager(now=NOW) as fake:
        told = notifier(fake)
        for at, theirs in [(0.0, 0.0), (3660.0, 60.0), (120.0, 120.0)]:
            fake.now = NOW + theirs
            renewed(told, alert(), at=at)

    assert [f"2025-11-24T16:0{minute}:00.000Z" for minute in (4, 5, 6)] == [ends(each) for (each,) in fake.posts]


def test_it_is_said_who_asks(tmp_path: Path) -> None:
    """By what is in the file now, and by headers for whoever stands before it."""
    password = tmp_path / "password"
    password.write_text("first\n")
    with fake_alertmanager() as fake:
        told = notifier(fake, username="gw", password_file=password, headers={"X-Scope-OrgID": "gpu"})
        renewed(told, alert())
        password.write_text("second\n")
        renewed(told, alert(), at=60.0)

    said = [base64.b64decode(each.headers["authorization"].split()[1]) for each in fake.asked[1::2]]
    assert ([b"gw:first", b"gw:second"], "gpu") == (said, fake.asked[0].headers["x-scope-orgid"])


def test_a_token_is_shown_and_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where it is not the right one."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    with fake_alertmanager(status=lambda _alerts: 401) as fake:
        renewed(notifier(fake, token_file=token), alert())

    assert "Bearer s3cret" == fake.asked[0].headers["authorization"]
    assert "s3cret" not in caplog.text


def test_a_state_is_logged_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    """Not in each pass."""
    caplog.set_level(logging.INFO)
    with fake_alertmanager(status=lambda _alerts: 500, body=b"no\nroom") as fake:
        told = notifier(fake)
        renewed(told, alert())
        renewed(told, alert(), at=60.0)
        fake.status = lambda _alerts: 200
        renewed(told, alert(), at=120.0)
        renewed(told, alert(), at=180.0)

    assert [
        f"alertmanager unreachable url={fake.url} reason=answered 500 Internal Server Error: no\\nroom",
        f"alertmanager reachable again url={fake.url}",
    ] == caplog.messages


def checked(told: AlertmanagerNotifier, now: float = NOW) -> list[tuple[bool, str]]:
    return [(probe.ok, probe.detail) for probe in told.check(now)]


def test_a_trial_tells_nobody_anything() -> None:
    """It asks who is there, and gives no alert."""
    with fake_alertmanager(now=NOW + 0.4) as fake:
        found = checked(notifier(fake))

    assert [(True, "takes alerts; Alertmanager 0.25.0"), (True, "its clock agrees with ours")] == found
    assert [("/api/v2/status", b""), ("/api/v2/alerts", b"[]")] == [(each.path, each.body) for each in fake.asked]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"status": lambda _alerts: 403}, "answered 403 Forbidden"),
        ({"version": None}, "is no Alertmanager: its status has no version"),
    ],
)
def test_a_trial_says_why_it_failed(said: dict[str, Any], why: str) -> None:
    """One who may read may not be allowed to write."""
    with fake_alertmanager(**said) as fake:
        assert [(False, why)] == checked(notifier(fake))


def test_a_trial_says_that_a_clock_is_wrong() -> None:
    """Alerts end by it."""
    with fake_alertmanager(now=NOW + 100.0) as fake:
        assert (False, "its clock is 100 s ahead of ours") == checked(notifier(fake))[1]


def test_a_trial_asks_each_of_them() -> None:
    """The first that is away does not hide the second."""
    with fake_alertmanager() as fake:
        found = checked(notifier(f"http://127.0.0.1:{free_port()}", fake))

    assert [(False, "Connection refused"), (True, "takes alerts; Alertmanager 0.25.0")] == found


@pytest.mark.parametrize(
    "wrong",
    [
        {"urls": []},
        {"urls": ["alertmanager:9093"]},
        {"urls": ["http://user:password@alertmanager:9093"]},
        {"labels": {"severity": "page"}},
        {"labels": {"bad-name": "x"}},
        {"labels": {"cluster": ""}},
        {"runbook_url": "wiki"},
        {"generator_url": "http://a b"},
        {"timeout_seconds": 0},
        {"username": "gw"},
        {"url": "http://alertmanager:9093"},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_honoured_is_a_mistake(wrong: dict[str, Any]) -> None:
    """Found at start."""
    with pytest.raises(ValidationError):
        AlertmanagerNotifier.Settings.model_validate(wrong)


def test_settings_are_those_of_one_alertmanager_here() -> None:
    """With nothing set."""
    settings = AlertmanagerNotifier.Settings()

    assert (("http://127.0.0.1:9093",), {}) == (settings.urls, settings.labels)
