"""One pass: what is posted, acknowledged, forecast and told, and what happens when a part of it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from sqlalchemy import select

from gpuwatch.accounting.accountant import Accountant, Report, charged_to
from gpuwatch.accounting.forecaster import Forecaster
from gpuwatch.accounting.forecaster import Policy as Foresight
from gpuwatch.accounting.forecasts import OPEN_ENDED
from gpuwatch.accounting.metrics import after, at_start
from gpuwatch.accounting.outbox import OUTBOX_SECONDS
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.shown import MAX_SCOPES
from gpuwatch.accounting.site_record import Standing
from gpuwatch.errors import GpuwatchError, Rejected, Unavailable
from gpuwatch.ledger import record_store, tables
from gpuwatch.ledger.burnup_store import load_burnups, save_burnups
from gpuwatch.ledger.forecast_store import KEPT_SECONDS
from gpuwatch.ledger.queries import Current
from gpuwatch.ledger.scopes import Revision, key_of
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.model import BurnUp, BurnUpPoint, Estimate, Scope
from gpuwatch.schedulers.base import Live
from gpuwatch.usage.base import Allocated, Delivery, Failure, Mark, Reached
from tests.accounting.fakes import FakeNotifier, FakeRenewing, FakeSource, everything_told
from tests.ledger.batch import record
from tests.ledger.deliveries import EPOCH, ORIGIN, T0, declared, delivery, progress, row, run_started
from tests.ledger.made import job

NOW = T0 + 120.0
FAILED = Failure("http://prometheus target gw0:9838", "has rows, and nobody says whose")
BOUNDS = Bounds(0.10, 0.0)


def overrun(**changed: object) -> Delivery:
    """A job that declared 0.05 device-hours (180 s), used 100 s and is a quarter done."""
    return delivery([row(**changed)], [declared("device-hours=0.05 campaign=llama")], [progress(250)])


def run(store: Store, source: FakeSource, notifier: FakeNotifier | None = None, now: float = NOW) -> Report:
    accountant = Accountant(
        store, {"fake": source}, {"fake": notifier or FakeNotifier()}, BOUNDS, policy=everything_told()
    )
    return accountant.run_pass(now)


def test_a_pass_posts_acknowledges_forecasts_and_tells(store: Store) -> None:
    """The whole mission, once."""
    source, notifier = FakeSource([overrun()]), FakeNotifier()

    report = run(store, source, notifier)

    assert ("ok", 1, 0, 1) == (
        report.outcome, report.collected.nodes, report.collected.failed, report.collected.rows,
    )  # fmt: skip
    assert [10] == source.acknowledged
    (hours,) = (each for each in report.forecasts if each.quantity == "device-hours" and each.scope.kind == "job")
    assert 180.0 < hours.quantiles[0.1] < 400.0 < hours.quantiles[0.9]
    assert 7 == len(hours.quantiles)
    assert 0.8 < hours.p_over
    assert [("projected", Scope("job", "run-1"), "device-hours")] == [
        (alert.kind, alert.scope, alert.quantity) for alert in report.alerts
    ]
    assert ["raised"] == [change.what for change in notifier.told]


def test_a_pass_says_how_right_forecasts_were(store: Store) -> None:
    """Of none so far: an overrun is told of from 80 % on."""
    assert Standing(0, 0.8, {}) == run(store, FakeSource([overrun()])).record


def test_what_has_no_end_to_be_forecast_has_a_budget(store: Store) -> None:
    """A notebook is told of once it used more than was declared for it, and of no day on which it will have."""
    forecaster = Forecaster("default", Foresight(open_ended=("jupyter*",)))
    source = FakeSource([delivery([row()], [declared("device-hours=0.05")], [run_started(name="jupyter-lab")])])
    accountant = Accountant(store, {"fake": source}, {}, BOUNDS, forecaster=forecaster, policy=everything_told())

    report = accountant.run_pass(NOW)

    assert [(OPEN_ENDED, {})] == [
        (each.basis, each.quantiles) for each in report.forecasts if each.quantity == "device-hours"
    ]
    assert () == report.alerts
    more = {"held_seconds": 200.0, "state_seconds": {"working": 200.0}, "last_seen": T0 + 200.0}
    source.answers = [delivery([row(**more)], seq=20)]
    assert ["exceeded"] == [alert.kind for alert in accountant.run_pass(NOW + 60).alerts]


def batch_job(store: Store, limit_seconds: float, step: float | None, declaration: str | None) -> Report:
    """A pass over a job of a batch system on one device, of which nothing alike has ended."""
    with store.writing() as connection:
        told = record("7", started=float(T0), ended=None, seen=NOW, state="RUNNING", nodes=("gw0",), devices=1.0,
                      limit_seconds=limit_seconds, submitted=T0 - 60)  # fmt: skip
        record_store.post_records(connection, [told])
    said = [declared(declaration, job_id="7")] if declaration else []
    done = [progress(step, job_id="7")] if step is not None else []
    return run(store, FakeSource([delivery([row("7")], said, done)]))


@pytest.mark.parametrize("declaration", [None, "device-hours=1"])
def test_a_job_that_its_time_limit_will_kill_is_told_of(store: Store, declaration: str | None) -> None:
    """A quarter of it took 100 seconds, and its limit is at 200."""
    report = batch_job(store, 200.0, 250, declaration)

    assert [("limit", Scope("job", "7"), "wall")] == [
        (alert.kind, alert.scope, alert.quantity) for alert in report.alerts
    ]
    assert "will be killed by its time limit with probability" in report.alerts[0].text


def test_of_what_is_shipped_alone_no_time_limit_is_told(store: Store) -> None:
    """Ten times the limit is declared, and nobody knows what this user's declarations are worth."""
    report = batch_job(store, 200.0, None, "device-hours=0.5")

    assert {None} == {each.p_limit for each in report.forecasts}
    assert [] == [alert.kind for alert in report.alerts if alert.kind == "limit"]


def test_a_chain_runs_into_its_limits_by_intention(store: Store) -> None:
    """The second job of it goes on with the first one's work, and a third one will with its."""
    first, second = T0 - 400.0, float(T0)
    with store.writing() as connection:
        record_store.post_records(connection, [
            record("6", started=first, ended=T0 - 200.0, seen=NOW, state="TIMEOUT", nodes=("gw0",), devices=1.0,
                   limit_seconds=200.0, submitted=int(first)),
            record("7", started=second, ended=None, seen=NOW, state="RUNNING", nodes=("gw0",), devices=1.0,
                   limit_seconds=200.0, submitted=int(second)),
        ])  # fmt: skip
    of_chain = [
        declared("campaign=llama", job_id="6", started=int(first), time=first + 1.0),
        declared("campaign=llama", job_id="7", seq=7),
    ]
    before = {"started": int(first), "time": T0 - 201.0}
    steps = [
        progress(10, job_id="6", **{**before, "time": first + 5.0}), progress(200, job_id="6", **before),
        progress(210, job_id="7", start_step=200, time=T0 + 5.0), progress(300, job_id="7", start_step=200),
    ]  # fmt: skip
    earlier = row("6", started=int(first), last_seen=T0 - 200.0, held_seconds=200.0, open=False,
                  state_seconds={"working": 200.0})  # fmt: skip

    report = run(store, FakeSource([delivery([earlier, row("7")], of_chain, steps)]))

    hours = [each for each in report.forecasts if each.scope.name == "7" and each.quantity == "device-hours"]
    assert [True] == [(each.p_limit or 0.0) > 0.8 for each in hours]
    assert [] == [alert.kind for alert in report.alerts]


def test_a_delivery_of_another_cluster_is_a_failed_node(store: Store) -> None:
    """Its rows would be charged to accounts of this one; it is not acknowledged, so nothing is lost."""
    source = FakeSource([delivery([row()], cluster="medusa")])

    report = run(store, source)

    assert ("partial", 1, 0) == (report.outcome, report.collected.failed, report.collected.rows)
    assert [] == source.acknowledged


def test_the_watermark_is_shown_to_the_next_pass(store: Store) -> None:
    """Across a restart of accounting, as it is in the ledger."""
    run(store, FakeSource([overrun()]))
    store.close()

    source = FakeSource()
    with closing(open_store(store.where)) as again:
        run(again, source)

    assert [{ORIGIN: Mark(EPOCH, 10)}] == source.marks


def test_an_alert_survives_a_restart_and_is_told_once(store: Store) -> None:
    """The same job in the next pass, by another process: same beginning, no second notification."""
    first = run(store, FakeSource([overrun()]))
    notifier = FakeNotifier()

    second = run(store, FakeSource([overrun()]), notifier, NOW + 60)

    assert [alert.since for alert in first.alerts] == [alert.since for alert in second.alerts] == [NOW]
    assert [] == notifier.told


def test_the_end_of_a_job_is_told(store: Store) -> None:
    """Its alert is resolved, and it is still shown for a while."""
    run(store, FakeSource([overrun()]))
    notifier = FakeNotifier()

    report = run(store, FakeSource([overrun(open=False)]), notifier)

    assert ["resolved"] == [change.what for change in notifier.told]
    assert () == report.alerts
    assert ["ended", "ended"] == [scope.state for scope in report.current.scopes]


def test_a_node_that_fails_stays_alone(store: Store) -> None:
    """The other one is posted, and the pass is partial."""
    source = FakeSource([Failure("http://bad", "timed out"), overrun()])

    report = run(store, source)

    assert ("partial", 2, 1) == (report.outcome, report.collected.nodes, report.collected.failed)
    assert [10] == source.acknowledged


def test_a_source_that_fails_stays_alone(store: Store) -> None:
    """What it gave before is posted."""
    report = run(store, FakeSource([overrun(), Unavailable("promql: no answer")]))

    assert ("partial", 1) == (report.outcome, report.collected.rows)


def test_nothing_is_posted_over_a_delivery_that_was_not(store: Store) -> None:
    """Or the watermark would say that it was: the second answer of an agent waits for the next pass."""
    bad, following = delivery([row()], epoch="a\nb", seq=5), delivery([row()], seq=9)
    source = FakeSource([bad, following])

    report = run(store, source)

    assert ([], 0, "partial") == (source.acknowledged, report.collected.rows, report.outcome)
    run(store, source)
    assert {} == source.marks[1]


def window(*deliveries: Delivery, until: int = 60, state: str | None = None) -> list[Delivery | Reached | Failure]:
    """What a source that reads windows of time gives for one."""
    marked = Reached("http://prometheus", Mark("windows", until, state))
    return [*(replace(each, seq=None, origin=f"http://prometheus {each.node}") for each in deliveries), marked]


def test_a_window_is_marked_once_all_of_it_is_posted(store: Store) -> None:
    """With what its source needs to go on, which the next pass is shown."""
    source = FakeSource([*window(overrun(), delivery([row()], node="gw1"), state="{}")])

    report = run(store, source)

    assert ("ok", 2) == (report.outcome, report.collected.rows)
    run(store, source)
    assert [{}, {"http://prometheus": Mark("windows", 60, "{}")}] == source.marks


def test_a_node_that_is_refused_does_not_hold_up_the_windows(store: Store) -> None:
    """What can never be posted is no reason to read the same hour for ever; its next one is tried again."""
    refused, following = delivery([row()], node="a\nb"), delivery([row()], node="a\nb", epoch="")
    source = FakeSource(
        [*window(refused, overrun()), *window(following, delivery([row()], node="gw1"), until=120)]
    )

    report = run(store, source)

    assert ("partial", 2) == (report.outcome, report.collected.rows)
    run(store, source)
    assert {"http://prometheus": Mark("windows", 120)} == source.marks[1]


def test_what_fails_again_is_in_the_log_again(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Once each time it begins: a target whose node is not known has no success of its own in between."""
    source = FakeSource()
    accountant = Accountant(store, {"fake": source}, {}, BOUNDS)
    for answers in ([FAILED], [FAILED], [], [FAILED]):
        source.answers = [*answers]
        accountant.run_pass(NOW)

    assert 2 == sum("cannot be read" in message for message in caplog.messages)


class Faltering:
    """A ledger in which writing fails as told, time after time."""

    def __init__(self, store: Store, failures: Sequence[GpuwatchError]) -> None:
        self._store = store
        self._failures = list(failures)
        self.reading = store.reading

    @contextmanager
    def writing(self) -> Iterator[Any]:
        if self._failures:
            raise self._failures.pop(0)
        with self._store.writing() as connection:
            yield connection


def test_a_ledger_that_fails_after_it_refused_moves_no_mark(store: Store) -> None:
    """Of those that are posted one by one, since one of them was refused, the others must not be lost."""
    refused, down = Rejected("a value cannot be stored"), Unavailable("connection lost")
    source = FakeSource(window(overrun(), delivery([row()], node="gw1")))
    faltering: Any = Faltering(store, [refused, down])

    with pytest.raises(Unavailable, match="connection lost"):
        run(faltering, source)

    report = run(store, source)
    assert ({}, 2) == (source.marks[1], report.collected.rows)


def test_a_source_that_failed_is_read_from_where_it_was(store: Store) -> None:
    """A window after one that could not be read does not move the mark."""
    source = FakeSource([Failure("http://prometheus", "timed out"), *window(overrun())])

    run(store, source)

    run(store, source)
    assert {} == source.marks[1]


def test_a_pass_tells_sources_what_was_allocated_and_when_it_is(store: Store) -> None:
    """For those that see devices and do not know whose they are."""
    with store.writing() as connection:
        record_store.post_records(connection, [
            record("7", Live(T0, devices=2.0, indices={"gw0": (0, 1)}), started=T0, ended=None, seen=NOW,
                   state="RUNNING", nodes=("gw0",), devices=2.0),
            record("8", started=T0 - 500.0, ended=T0 - 400.0, state="COMPLETED", nodes=("gw0",), devices=1.0),
        ])  # fmt: skip
    source = FakeSource()

    run(store, source)

    (asking,) = source.asked
    held = Allocated("7", "gw0", T0, NOW, (0, 1), 2.0, 1, True)
    assert (NOW, [held]) == (asking.now, list(asking.allocated(T0 - 60.0, NOW)))


def test_what_a_source_knows_of_itself_is_exported(store: Store) -> None:
    """Devices that it saw, and how much of their time is nobody's as far as it knows."""
    source = FakeSource(known={"devices": 8.0, "unattributed_ratio": 0.25})

    health = after(at_start(), run(store, source))

    assert ({"fake": 8.0}, {"fake": 0.25}) == (health.usage_devices, health.usage_unattributed_ratio)


def test_what_cannot_be_acknowledged_is_posted_all_the_same(store: Store) -> None:
    """The agent keeps it, and delivers it again; that changes nothing."""
    source = FakeSource([overrun()], refuses=Unavailable("agent: gone"))

    first = run(store, source)
    second = run(store, source)

    assert ["partial", "partial"] == [first.outcome, second.outcome]
    assert first.current.jobs[0].usage == second.current.jobs[0].usage


def test_rows_that_cannot_be_right_are_counted(store: Store) -> None:
    """The rest of the delivery is posted and acknowledged."""
    source = FakeSource([delivery([row(), row(uuid="GPU-1", held_seconds=-1.0)])])

    report = run(store, source)

    assert ({"range": 1}, 1, [10]) == (report.collected.rejected, report.collected.rows, source.acknowledged)


@pytest.mark.parametrize("answer", [False, Unavailable("mail: no answer")])
def test_a_notification_is_tried_until_it_is_taken(store: Store, answer: bool | Unavailable) -> None:
    """At least once, also by the next process."""
    deaf, hearing = FakeNotifier(answer), FakeNotifier()

    first = run(store, FakeSource([overrun()]), deaf)
    second = run(store, FakeSource([overrun()]), hearing, NOW + 60)

    assert ({"fake": 1}, "partial") == (first.waiting, first.outcome)
    assert {("fake", "later"): 1} == first.collected.notifications
    assert (["raised"], {"fake": 0}) == ([change.what for change in hearing.told], second.waiting)


def test_what_is_active_is_told_in_every_pass_for_four_of_them(store: Store) -> None:
    """To those whose channel forgets it; also by the next process, which finds it in the ledger."""
    fakes = [FakeRenewing(), FakeRenewing()]
    for fake, source, now in zip(fakes, (FakeSource([overrun()]), FakeSource()), (NOW, NOW + 300.0), strict=True):
        Accountant(
            store, {"fake": source}, {"fake": fake}, BOUNDS, interval_seconds=300.0, policy=everything_told()
        ).run_pass(now)

    (first, raised), (again,) = (fake.calls for fake in fakes)
    assert (["raised"], (NOW, NOW + 1200.0), (NOW + 300.0, NOW + 1500.0)) == (raised, first[1:], again[1:])
    ((before,), (after,)) = first[0], again[0]
    assert (key_of(before), NOW) == (key_of(after), after.since)


def test_a_notification_that_can_never_be_sent_is_dropped_and_counted(store: Store) -> None:
    """It does not hold up the next one."""
    report = run(store, FakeSource([overrun()]), FakeNotifier(Rejected("mail: no such address")))

    assert ({("fake", "rejected"): 1}, {"fake": 0}) == (report.collected.notifications, report.waiting)


def test_a_notification_is_given_up_after_a_day(store: Store) -> None:
    """What is a day old is no news; the outbox stays small."""
    run(store, FakeSource([overrun()]), FakeNotifier(False))

    report = run(store, FakeSource(), FakeNotifier(False), NOW + OUTBOX_SECONDS + 1)

    assert 1 == report.collected.notifications["", "given_up"]


def test_a_stop_ends_the_pass_between_two_deliveries(store: Store) -> None:
    """What was not read is read next time."""
    stopping = Event()
    stopping.set()
    source = FakeSource([overrun()])

    Accountant(store, {"fake": source}, {}, BOUNDS, stopping).run_pass(NOW)

    assert [] == source.acknowledged


def test_a_campaign_is_forecast_and_compared_as_a_whole(store: Store) -> None:
    """Its own declaration, all its jobs."""
    more = declared("device-hours=0.06 for=campaign:llama", seq=6)
    both = delivery([row(), row(uuid="GPU-1")], [declared("campaign=llama"), more], [progress(250)])

    report = run(store, FakeSource([both]))

    (hours,) = (
        each
        for each in report.forecasts
        if each.scope == Scope("campaign", "llama") and each.quantity == "device-hours"
    )
    assert hours.quantiles[0.1] < 800.0 < hours.quantiles[0.9]
    assert [Scope("campaign", "llama")] == [alert.scope for alert in report.alerts]


def test_an_unseen_job_keeps_its_alert(store: Store) -> None:
    """An agent that is down for an hour is not good news."""
    run(store, FakeSource([overrun()]))

    report = run(store, FakeSource(), now=NOW + 3600)

    assert ["projected"] == [alert.kind for alert in report.alerts]


def test_two_clusters_in_one_ledger_leave_each_other_alone(store: Store) -> None:
    """Jobs of the same id, alerts, notifications and charges are each cluster's own."""
    told = {"north": FakeNotifier(), "south": FakeNotifier()}
    accountants = {
        name: Accountant(
            store,
            {"fake": FakeSource([replace(overrun(), cluster=name)])},
            {"fake": each},
            BOUNDS,
            cluster=name,
            policy=everything_told(),
        )
        for name, each in told.items()
    }

    reports = {name: accountant.run_pass(NOW) for name, accountant in accountants.items()}

    for name, report in reports.items():
        assert [name] == [job.cluster for job in report.current.jobs]
        assert 1 == len(report.alerts)
    assert [1, 1] == [len(each.told) for each in told.values()]
    with store.reading() as connection:
        charged = connection.scalars(select(tables.charges.c.cluster).order_by(tables.charges.c.cluster))
        assert ["north", "south"] == list(charged)


def test_a_pass_drops_the_burnups_of_what_is_long_over(store: Store) -> None:
    """What runs keeps its own, and goes on with it."""
    burnup, over, running = BurnUp(T0, (BurnUpPoint(T0 + 10.0, 8.0),)), ("run-0", int(T0)), ("run-1", int(T0))
    with store.writing() as connection:
        save_burnups(connection, "default", {over: burnup}, NOW - KEPT_SECONDS - 300.0)
        save_burnups(connection, "default", {running: burnup}, NOW)

    run(store, FakeSource([overrun()]))

    with store.reading() as connection:
        kept = load_burnups(connection, "default", [over, running])
    assert [running] == list(kept)
    assert [8.0, 100.0] == [point.used for point in kept[running].points]


@pytest.mark.parametrize(
    ("quantity", "is_charged"),
    [("cost", True), ("carbon", True), ("facility-energy", True), ("device-hours", False), ("energy", False)],
)
def test_what_declares_what_is_charged_is_charged_however_many_scopes_are_shown(
    quantity: str, is_charged: bool
) -> None:
    """The oldest of more jobs than are exported."""
    revision = Revision(Estimate(Scope("job", "old"), quantity, 1.0, 1.0, 1.0, "1"), in_force=True)
    old = job(name="old", job_ids=frozenset({"old"}), last_seen=NOW - 1.0, revisions=(revision,))
    later = tuple(job(name=str(each), job_ids=frozenset({str(each)}), last_seen=NOW) for each in range(MAX_SCOPES))

    found = charged_to(Current((old, *later)))

    assert {("default", str(each)) for each in range(MAX_SCOPES)} == found - {("default", "old")}
    assert is_charged == (("default", "old") in found)
