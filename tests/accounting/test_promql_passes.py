"""Passes over what agents exported: the ledger's mark moves with the windows, and nothing counts twice."""

from __future__ import annotations

from collections.abc import Callable

from gpuwatch.accounting.accountant import Accountant, Report
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.ledger import queries, writing
from gpuwatch.ledger.store import Store
from gpuwatch.model import Site
from gpuwatch.usage.promql import PromqlUsage
from tests.usage.agent_pages import Held, Node, job_declares
from tests.usage.fake_prometheus import FakePrometheus, refused
from tests.usage.small_promql import SmallPromql
from tests.usage.test_promql import T0, scrapes

NODE = Node(
    jobs=(Held("4711", T0), Held("4712", T0 + 100, T0 + 400, "GPU-1")),
    declared={"4711": (job_declares("device-hours", 3600, 7200, 7200, "s"),)},
    progress={"4711": ((T0 + 20.0, 10.0), (T0 + 1000.0, 40.0))},
)


def passes(store: Store, fake: FakePrometheus) -> Callable[[float], Report]:
    """Makes a pass of a new process each time."""
    settings = PromqlUsage.Settings(url=fake.url, first_seconds=60, timeout_seconds=5)
    return lambda now: Accountant(
        store, {"promql": PromqlUsage(settings, Site("default"))}, {}, Bounds(0.1, 0.0)
    ).run_pass(now)


def held(store: Store, now: float) -> dict[str, tuple[float, str]]:
    """The device-seconds and the state of each job in the ledger."""
    with store.reading() as connection:
        jobs = queries.jobs_since(connection, T0 - 1, now)
    return {job.name or next(iter(job.job_ids)): (job.usage.held_seconds, job.state) for job in jobs}


def test_passes_add_up_whatever_comes_between(store: Store) -> None:
    """One that failed is made good by the next; one that is repeated changes nothing."""
    there = SmallPromql(scrapes(NODE, T0, T0 + 2400, 30))
    with FakePrometheus(there.answer) as fake:
        run = passes(store, fake)
        outcomes = [run(T0 + 90.0).outcome]
        fake.respond = lambda _: refused(503, "starting")
        outcomes.append(run(T0 + 630.0).outcome)
        fake.respond = there.answer
        outcomes += [run(now).outcome for now in (T0 + 1230.0, T0 + 1230.0, T0 + 2430.0)]
        with store.reading() as connection:
            mark = writing.watermarks(connection, "default")[fake.url]

    assert ["ok", "partial", "ok", "ok", "ok"] == outcomes
    assert ("windows", T0 + 2400, None) == mark
    assert {"4711": (2400.0, "running"), "4712": (300.0, "ended")} == held(store, T0 + 2430.0)


def test_what_was_declared_and_how_far_it_is_makes_a_forecast(store: Store) -> None:
    """As if the agent had been read."""
    with FakePrometheus(SmallPromql(scrapes(NODE, T0, T0 + 2400, 30)).answer) as fake:
        run = passes(store, fake)
        report = [run(now) for now in (T0 + 90.0, T0 + 1050.0)][-1]

    (job,) = (job for job in report.current.jobs if "4711" in job.job_ids)
    assert job.progress is not None
    assert (0.4, 0.1) == (job.progress.ratio, job.progress.start_ratio)
    assert "device-hours" in {each.quantity for each in report.forecasts}
    assert [7200.0] == [revision.estimate.likely for revision in job.revisions]
