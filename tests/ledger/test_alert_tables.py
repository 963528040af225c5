"""Alerts in the ledger: episodes from raised to resolved, mutes with their reasons, who was told what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuwatch.ledger import alert_store, episodes, letter_store, mutes
from gpuwatch.ledger.alert_store import Noted, Standing
from gpuwatch.ledger.episodes import REOPENED_SECONDS, Count, End
from gpuwatch.ledger.letter_store import To, Told
from gpuwatch.ledger.mutes import Mute
from gpuwatch.ledger.scopes import key_of
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert, Concern, Scope
from gpuwatch.notifiers.base import Change

NOW = 1_764_000_000.0
CONCERN = Concern("ada", "ml", "gpu", "tr'ain\n")
ALERT = Alert(
    "idle", Scope("job", "7"), "device-hours", "warning", NOW, 2.0, 1.0, "job 7 does nothing", ("a", "b ü"), 80,
    CONCERN,
)  # fmt: skip
KEY = key_of(ALERT)


def test_what_is_active_is_kept_whole(store: Store) -> None:
    """Its lines, its level, whose it is, how it is told, and when it was found."""
    standing = Standing(ALERT, "muted", NOW + 5.0)
    with store.writing() as connection:
        alert_store.save(connection, "c", [standing], [Noted(Change("raised", ALERT), "muted")], NOW)
    with store.reading() as connection:
        found = alert_store.standing(connection, "c")
        (past,) = alert_store.history(connection, "c", ALERT.scope)

    assert {KEY: standing} == found
    assert (NOW, Change("raised", ALERT), "muted") == (past.time, past.change, past.mode)


def test_only_channels_that_are_to_be_told_have_it_waiting(store: Store) -> None:
    """And what they took is gone, whatever the number."""
    alerts = [replace(ALERT, scope=Scope("job", str(n))) for n in range(3000)]
    changes = [Noted(Change("raised", each), "told", ("log",)) for each in alerts]
    with store.writing() as connection:
        alert_store.save(connection, "c", [], changes, NOW)
        waiting = alert_store.waiting(connection, "c", "log")
        alert_store.taken(connection, "log", waiting[:-1])
        left = alert_store.waiting(connection, "c", "log")

        assert (3000, ["2999"], []) == (
            len(waiting), [each.change.alert.scope.name for each in left],
            alert_store.waiting(connection, "c", "mail"),
        )  # fmt: skip


def test_old_changes_are_dropped_once_they_are_told(store: Store) -> None:
    """Those that wait for a channel, and those of other clusters, stay."""
    told, waits = replace(ALERT, kind="hung"), replace(ALERT, kind="idle")
    with store.writing() as connection:
        changes = [Noted(Change("raised", told), "told"), Noted(Change("raised", waits), "told", ("log",))]
        alert_store.save(connection, "c", [], changes, NOW)
        alert_store.save(connection, "other", [], changes[:1], NOW)

        assert 1 == alert_store.thin(connection, "c", NOW + 1.0)
        assert ["idle"] == [each.change.alert.kind for each in alert_store.history(connection, "c", ALERT.scope)]
        assert ["hung"] == [
            each.change.alert.kind for each in alert_store.history(connection, "other", ALERT.scope)
        ]


def test_an_episode_is_from_raised_to_resolved(store: Store) -> None:
    """As it was when it was raised, and what it came to."""
    with store.writing() as connection:
        episodes.begin(connection, "c", [(ALERT, "observed")], NOW)
        episodes.rise(connection, "c", [(replace(ALERT, level=90, text="worse"), "told")])
        episodes.end(connection, "c", [End(KEY, "ended", "right", "cancelled", "the job ended")], NOW + 60.0)
        (one,) = episodes.of_scope(connection, ALERT.scope)

    assert (NOW, NOW + 60.0, "told", 90) == (one.raised, one.resolved, one.mode, one.level)
    assert ("job 7 does nothing", "the job ended") == (one.text, one.last_text)
    assert ("ended", "right", "cancelled", CONCERN) == (one.how, one.verdict, one.acted, one.concern)


@pytest.mark.parametrize(("later", "number"), [(REOPENED_SECONDS - 1.0, 1), (REOPENED_SECONDS + 1.0, 2)])
def test_what_comes_back_soon_goes_on(store: Store, later: float, number: int) -> None:
    """The same episode, as if it had not ended; after hours it is another one."""
    with store.writing() as connection:
        episodes.begin(connection, "c", [(ALERT, "told")], NOW)
        episodes.end(connection, "c", [End(KEY, "cleared", "wrong", "", "over")], NOW + 60.0)
        episodes.begin(connection, "c", [(ALERT, "told")], NOW + 60.0 + later)
        found = episodes.of_scope(connection, ALERT.scope, "c")
        (last,) = episodes.opened(connection, "c").values()

    assert number == len(found)
    assert (None, "", 2 - number) == (last.resolved, last.verdict, last.reopened)


def test_the_first_thing_that_somebody_did_counts(store: Store) -> None:
    """Whoever acknowledged it and cancels the job later had seen it before."""
    with store.writing() as connection:
        episodes.begin(connection, "c", [(ALERT, "told")], NOW)
        (one,) = episodes.opened(connection, "c").values()
        episodes.act(connection, [one.id], "acknowledged", "ada", NOW + 5.0)
        episodes.end(connection, "c", [End(KEY, "ended", "right", "cancelled", "over")], NOW + 60.0)
        (one,) = episodes.since(connection, NOW, "c")
        counts = episodes.counts(connection, "c", NOW)

    assert ("acknowledged", "ada", NOW + 5.0) == (one.acted, one.acked_by, one.acked)
    assert [Count("idle", "told", "right", "acknowledged", 1)] == counts


def test_clusters_leave_each_other_alone(store: Store) -> None:
    """The same job id in each."""
    with store.writing() as connection:
        for cluster in ("a", "b"):
            episodes.begin(connection, cluster, [(ALERT, "told")], NOW)
        episodes.end(connection, "a", [End(KEY, "ended", "right", "", "over")], NOW + 60.0)

        assert ([], [KEY]) == ([*episodes.opened(connection, "a")], [*episodes.opened(connection, "b")])
        assert [KEY] == [each.key for each in episodes.ended_since(connection, "a", NOW, ["idle"])]
        assert [] == episodes.ended_since(connection, "a", NOW, ["hung"])


def test_a_mute_holds_until_it_is_over_or_taken_back(store: Store) -> None:
    """And is kept with who, why and until when."""
    mine = Mute(Scope("user", "ada"), NOW, NOW + 60.0, "ada", "holidays", "idle")
    for_good = Mute(Scope("job", "7"), NOW, None, "root", "known")
    with store.writing() as connection:
        first, second = (mutes.keep(connection, "c", each) for each in (mine, for_good))

        assert [first, second] == [each.id for each in mutes.in_force(connection, "c", NOW + 59.0)]
        assert [second] == [each.id for each in mutes.in_force(connection, "c", NOW + 60.0)]
        assert (True, False) == tuple(mutes.lift(connection, "c", second, "ada", NOW + 70.0) for _ in range(2))
        assert () == mutes.in_force(connection, "c", NOW + 80.0)
        last, before = mutes.all_of(connection, "c")

    assert replace(for_good, id=second, lifted=NOW + 70.0, lifted_by="ada") == last
    assert replace(mine, id=first) == before


@pytest.mark.parametrize(
    ("scope", "kind", "quantity", "matches"),
    [
        (Scope("job", "7"), "", "", True), (Scope("job", "7"), "idle", "device-hours", True),
        (Scope("job", "7"), "hung", "", False), (Scope("job", "7"), "", "energy", False),
        (Scope("user", "ada"), "", "", True), (Scope("user", ""), "", "", False),
        (Scope("account", "ml"), "", "", True), (Scope("partition", "gpu"), "", "", True),
        (Scope("campaign", "ml"), "", "", False),
    ],
)  # fmt: skip
def test_what_a_mute_matches(scope: Scope, kind: str, quantity: str, matches: bool) -> None:
    """What it names; of people and places all that is theirs."""
    assert matches is Mute(scope, NOW, None, "ada", "x", kind, quantity).matches(ALERT)


def test_who_was_told_what_is_kept_by_person_and_alert(store: Store) -> None:
    """The latest counts; what is forgotten may be told anew."""
    ada, bob = To("mail", "user:ada"), To("mail", "user:bob")
    first, second = Told(NOW, False, "warning", 0), Told(NOW + 60.0, True, "critical", 80)
    with store.writing() as connection:
        for to, told in ((ada, first), (ada, second), (bob, first)):
            letter_store.keep_told(connection, "c", to, {KEY: told})
        known = letter_store.told(connection, "c")
        letter_store.forget_told(connection, "c", ada, [KEY])
        left = letter_store.told(connection, "c")

    assert ({ada: {KEY: second}, bob: {KEY: first}}, {bob: {KEY: first}}) == (known, left)


def test_a_letter_is_open_until_it_is_sent_or_refused(store: Store) -> None:
    """Those that are are found whenever they were made."""
    ada = To("mail", "user:ada")
    with store.writing() as connection:
        made = [letter_store.make(connection, "c", {ada: f"key{n}"}, NOW + n)[ada] for n in range(3)]
        letter_store.update_letter(connection, replace(made[0], sent=NOW + 9.0, tries=2, changes=5))
        letter_store.update_letter(connection, replace(made[1], refused=NOW + 9.0))
        open_ones = letter_store.letters_since(connection, "c", NOW + 100.0)
        everything = letter_store.letters_since(connection, "c", NOW)
        sent = letter_store.sent_by_recipient(connection, "c", NOW)

    assert [made[2]] == open_ones[ada]
    assert [False, False, True] == [each.open for each in everything[ada]]
    assert {ada: 1} == sent


def test_who_looks_at_a_job_is_told_of_what_is_told(store: Store) -> None:
    """What is observed is nobody's business yet, and what is muted is meant to be quiet."""
    with store.writing() as connection:
        those = [Standing(replace(ALERT, kind=kind), kind, NOW) for kind in ("told", "observed", "muted")]  # type: ignore[arg-type]
        alert_store.save(connection, "c", those, [], NOW)

        assert ["told"] == [key.kind for key in alert_store.active(connection, "c")]
        assert 3 == len(alert_store.standing(connection, "c"))
