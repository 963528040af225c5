"""One pass: what is posted, acknowledged, forecast and told, and what happens when a part of it fails."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from threading import Event

import pytest
from sqlalchemy import select

from gpuwatch.accounting.accountant import OUTBOX_SECONDS, Accountant, Report
from gpuwatch.accounting.alerts import Policy
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.ledger import tables
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.model import Scope
from gpuwatch.usage.base import Delivery, Failure
from tests.accounting.fakes import FakeNotifier, FakeSource
from tests.ledger.deliveries import EPOCH, ORIGIN, T0, declared, delivery, progress, row

NOW = T0 + 120.0
POLICY = Policy(0.10, 0.0)


def overrun(**changed: object) -> Delivery:
    """A job that declared 0.05 device-hours (180 s), used 100 s and is a quarter done."""
    return delivery([row(**changed)], [declared("device-hours=0.05 campaign=llama")], [progress(250)])


def run(store: Store, source: FakeSource, notifier: FakeNotifier | None = None, now: float = NOW) -> Report:
    accountant = Accountant(store, {"fake": source}, {"fake": notifier or FakeNotifier()}, POLICY)
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
    assert {0.5: pytest.approx(400.0)} == hours.quantiles
    assert [("projected", Scope("job", "run-1"), "device-hours")] == [
        (alert.kind, alert.scope, alert.quantity) for alert in report.alerts
    ]
    assert ["raised"] == [change.what for change in notifier.told]


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

    assert [{ORIGIN: (EPOCH, 10)}] == source.marks


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

    Accountant(store, {"fake": source}, {}, POLICY, stopping).run_pass(NOW)

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
    assert {0.5: pytest.approx(800.0)} == hours.quantiles
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
            store, {"fake": FakeSource([replace(overrun(), cluster=name)])}, {"fake": each}, POLICY, cluster=name
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
