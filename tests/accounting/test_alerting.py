"""Alerts from pass to pass: observed until the policy tells them, muted by who asks, right or wrong at the end."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gpuwatch.accounting.accountant import Accountant, Report
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.site_policy import SitePolicy
from gpuwatch.ledger import episodes, mutes
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.mutes import Mute
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.model import Scope
from tests.accounting.fakes import FakeNotifier, FakePeople, FakeRenewing, FakeSource, everything_told
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import declared, delivery, progress, row

JOB = Scope("job", "7")
NOW = T0 + 1800.0


class Site:
    """A job of ada's that declared one device-hour, and after half an hour of two devices is a quarter done."""

    def __init__(self, store: Store, policy: SitePolicy, **notifiers: object) -> None:
        self.store, self.source = store, FakeSource()
        self.accountant = Accountant(
            store, {"fake": self.source}, notifiers, Bounds(0.1, 0.0), policy=policy  # type: ignore[arg-type]
        )  # fmt: skip
        with store.writing() as connection:
            post_records(connection, [running("7", seen=NOW)])
        self.source.answers = [
            delivery(
                [row("7", started=T0, uuid=f"GPU-{n}", last_seen=NOW, held_seconds=1800.0,
                     state_seconds={"working": 1800.0}, last_in_state={"working": NOW}) for n in (0, 1)],
                [declared("device-hours=1", "7", started=T0, time=T0 + 5.0)],
                [progress(250, 1000, "7", started=T0, time=NOW)], now=NOW,
            )
        ]  # fmt: skip

    def look(self, now: float = NOW) -> Report:
        report = self.accountant.run_pass(now)
        self.source.answers = []
        return report

    def end(self, state: str = "COMPLETED", at: float = NOW + HOUR) -> None:
        with self.store.writing() as connection:
            post_records(connection, [record("7", state=state, ended=at, seen=at)])

    def episodes(self) -> list[Episode]:
        with self.store.reading() as connection:
            return episodes.since(connection, 0.0, "default")


def test_what_no_rule_tells_is_observed(store: Store) -> None:
    """It is found, recorded, and in the report; and nobody hears of it."""
    channel, people = FakeRenewing(), FakePeople()
    site = Site(store, SitePolicy(), channel=channel, people=people)

    report = site.look()

    assert (["projected"], ()) == ([each.kind for each in report.observed], report.alerts)
    assert ([], [], [()]) == (
        channel.told,
        people.letters,
        [active for active, _, _ in channel.calls if active != 0],
    )
    assert [("projected", "observed", None)] == [
        (each.key.kind, each.mode, each.resolved) for each in site.episodes()
    ]


def test_a_rule_tells_it_to_the_owner_and_to_channels(store: Store) -> None:
    """With everything that there is to say, line by line."""
    channel, people = FakeNotifier(), FakePeople()
    site = Site(store, everything_told(), channel=channel, people=people)

    site.look()

    (letter,), (change,) = people.letters, channel.told
    assert ("user:ada", "raised") == (letter.recipient, change.what)
    assert letter.changes == (change,)
    lines = change.alert.details
    assert "declared: 1 device-hours by uid:1000 at 2023-11-14 08:00Z" == lines[0]
    assert "used: 1 device-hours, 100 % of what was declared, since 2023-11-14 08:00Z" == lines[1]
    assert lines[2].startswith("projected: 80 % between ")
    assert lines[-3:] == (
        "such alerts here: none whose outcome is known yet",
        "look closer: gpuwatch show 7",
        "declare anew: gpuwatch declare --for job:7 …",
    )


def test_a_kind_that_is_promoted_is_told_from_then_on(store: Store, tmp_path: Path) -> None:
    """What is active already is raised at that moment; when it is demoted it is over for who was told."""
    path, channel = tmp_path / "alerts.toml", FakeNotifier()
    path.write_text("")
    site = Site(store, SitePolicy(path), channel=channel)
    site.look()

    path.write_text('[[tell]]\nkinds = ["projected"]\naccounts = ["ml"]\n')
    site.look(NOW + 60.0)
    assert ["raised"] == [change.what for change in channel.told]

    path.write_text('[[tell]]\nkinds = ["projected"]\n[[observe]]\nkinds = ["*"]\naccounts = ["m?"]\n')
    site.look(NOW + 120.0)
    assert ["raised", "resolved"] == [change.what for change in channel.told]
    assert ["observed"] == [each.mode for each in site.episodes()]


def test_a_policy_with_a_mistake_changes_nothing(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log with where it is, and in the report."""
    path = tmp_path / "alerts.toml"
    path.write_text('[[tell]]\nkinds = ["*"]\n')
    site = Site(store, SitePolicy(path))
    site.look()

    path.write_text('[[tell]]\nkinds = ["projceted"]\n')
    with caplog.at_level(logging.ERROR):
        report = site.look(NOW + 60.0)

    assert (["projected"], False) == ([each.kind for each in report.alerts], report.alert_policy_successful)
    assert "alert policy not taken, the old one stays" in caplog.text
    assert "tell[0].kinds" in caplog.text


@pytest.mark.parametrize(
    ("scope", "kind", "heard"),
    [
        (JOB, "", False), (JOB, "idle", True), (Scope("job", "8"), "", True), (Scope("user", "ada"), "", False),
        (Scope("account", "ml"), "projected", False), (Scope("partition", "cpu"), "", True),
    ],
)  # fmt: skip
def test_a_mute_keeps_nobody_from_knowing_but_from_hearing(
    store: Store, scope: Scope, kind: str, heard: bool
) -> None:
    """Of a job, or of all that is somebody's; until it is over or taken back."""
    channel, people = FakeNotifier(), FakePeople()
    site = Site(store, everything_told(), channel=channel, people=people)
    with store.writing() as connection:
        mutes.keep(connection, "default", Mute(scope, NOW, NOW + HOUR, "ada", "I know", kind))

    site.look()
    assert (heard, heard) == (bool(channel.told), bool(people.letters))
    assert ["told" if heard else "muted"] == [each.mode for each in site.episodes()]

    site.look(NOW + HOUR + 1.0)
    assert (1, 1) == (len(channel.told), len(people.letters))


@pytest.mark.parametrize(("at", "verdict"), [(NOW + HOUR, "right"), (NOW, "wrong")])
def test_what_was_right_is_known_at_its_end(store: Store, at: float, verdict: str) -> None:
    """Two devices for an hour and a half are above one device-hour; for half an hour they are not."""
    site = Site(store, everything_told())
    site.look()
    site.end(at=at)
    site.look(NOW + HOUR + 60.0)

    assert [("projected", "ended", verdict)] == [
        (each.key.kind, each.how, each.verdict) for each in site.episodes()
    ]


def test_who_cancels_a_job_after_he_was_told_acted(store: Store) -> None:
    """Which is counted, as alerts are for that."""
    site = Site(store, everything_told())
    site.look()
    site.end("CANCELLED", NOW)
    site.look(NOW + 120.0)

    found = [(each.how, each.verdict, each.acted) for each in site.episodes() if each.key.kind == "projected"]
    assert [("ended", "", "cancelled")] == found


def test_another_process_goes_on_where_the_first_one_was(store: Store) -> None:
    """Nothing is raised twice, and nobody is told twice."""
    channel, people = FakeNotifier(), FakePeople()
    Site(store, everything_told(), channel=channel, people=people).look()
    Site(store, everything_told(), channel=channel, people=people).look(NOW + 60.0)

    assert (1, 1) == (len(channel.told), len(people.letters))
    with store.reading() as connection:
        assert 1 == len(episodes.opened(connection, "default"))


def test_two_accountings_that_take_turns_tell_once(store: Store) -> None:
    """As leaders do that lose a database and win it again."""
    channel, people = FakeNotifier(), FakePeople()
    both = [Site(store, everything_told(), channel=channel, people=people) for _ in range(2)]
    for number in range(10):
        site = both[number % 2]
        site.accountant.stand_by()
        site.look(NOW + 60.0 * number)

    assert (1, 1) == (len(channel.told), len(people.letters))


@pytest.mark.parametrize("jump", [-365 * 86_400.0, -3600.0, 3600.0, 365 * 86_400.0])
def test_a_clock_that_jumps_and_comes_back_tells_nothing_twice(store: Store, jump: float) -> None:
    """Whatever ended by the wrong clock goes on by the right one, and its owner knows of it."""
    channel, people = FakeRenewing(), FakePeople()
    site = Site(store, everything_told(), channel=channel, people=people)
    site.look()

    site.look(NOW + jump)
    with store.writing() as connection:
        post_records(connection, [running("7", seen=NOW + 60.0)])
    site.look(NOW + 60.0)
    site.look(NOW + 120.0)

    told = [change.alert.kind for letter in people.letters for change in letter.changes if change.what == "raised"]
    assert 1 == told.count("projected")
    assert 1 == len([each for each in site.episodes() if each.key.kind == "projected"])
