"""The agent's page: what is on it, what is not, and when it is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gpuwatch import __version__, hygiene
from gpuwatch.model import (
    Allocation,
    DeviceUsage,
    JobKey,
    Progress,
    Reading,
    Site,
    Snapshot,
    Usage,
    series_of,
)
from gpuwatch.sinks.prometheus import OWN_SERIES, PrometheusSink, catalogue
from tests.sinks import snapshots
from tests.sinks.snapshots import NOW, STARTED

SINK = "gpuwatch_sink_"


def sink(clock: Callable[[], float] = lambda: NOW, **settings: float) -> PrometheusSink:
    """A sink whose clock stands still."""
    return PrometheusSink(PrometheusSink.Settings.model_validate(settings), Site("default", "gw0"), clock)


def rendered(snapshot: Snapshot, **settings: float) -> str:
    """The page of a snapshot just taken."""
    fresh = sink(**settings)
    fresh.take(snapshot)
    return fresh.render().decode()


def series(page: str, name: str = "") -> dict[tuple[str, ...], float]:
    """Name and label values of each series on a page, sorted by label, as an independent parser reads them."""
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name.startswith(name):
                key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
                assert key not in found
                found[key] = sample.value
    return found


def labels_of(page: str, name: str) -> list[Mapping[str, str]]:
    """The labels of each series of one metric."""
    families = text_string_to_metric_families(page)
    return [sample.labels for family in families for sample in family.samples if sample.name == name]


def test_the_whole_page(golden: Callable[[str, str], None]) -> None:
    """A node with something of everything gives the page under version control."""
    golden("agent_metrics.txt", rendered(snapshots.full()).replace(f'"{__version__}"', '"VERSION"'))


def test_each_family_on_the_page_is_in_the_catalogue_with_its_type_and_labels() -> None:
    """What is documented is what is exported."""
    known = {metric.name: metric for metric in catalogue()}

    for line in rendered(snapshots.full()).splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            assert known[name].kind == kind
        elif not line.startswith("#"):
            name, labels = re.match(r"(\w+)(\{.*\})?", line).groups()  # type: ignore[union-attr]
            assert known[name].labels == tuple(re.findall(r'(\w+)="', labels or ""))


def test_no_label_has_a_name_that_a_server_puts_there_itself() -> None:
    """job, instance, pod, namespace and node are the scraper's."""
    forbidden = {"job", "instance", "pod", "namespace", "node"}

    assert not forbidden & {label for metric in catalogue() for label in metric.labels}


def test_names_are_unique_and_counters_end_in_total() -> None:
    """What promtool would say, said earlier."""
    names = [metric.name for metric in catalogue()]

    assert len(set(names)) == len(names)
    assert all((metric.kind == "counter") == metric.name.endswith("_total") for metric in catalogue())
    assert all(metric.help.endswith(".") for metric in catalogue())


def test_every_known_number_of_a_reading_is_exported() -> None:
    """A field is a metric: none is forgotten, none is made up."""
    reading = snapshots.reading()
    expected = {
        metric.name: sum(1 for other, _, _ in series_of(reading) if other is metric)
        for metric, _, _ in series_of(reading)
    }

    page = rendered(replace(snapshots.full(), readings={"GPU-0": reading}))

    assert expected == {name: len(labels_of(page, name)) for name in expected}


def test_unknown_is_absent_and_zero_is_a_reading() -> None:
    """A slice that knows only its memory has one series of its own, and it may be 0."""
    page = rendered(snapshots.full())

    assert {
        key: value
        for key, value in series(page, "gpuwatch_device_").items()
        if key[1:] == ("MIG-1",) and not key[0].endswith("_up")
    } == {("gpuwatch_device_memory_used_bytes", "MIG-1"): 0.0}


def test_a_lost_device_is_down_and_says_nothing() -> None:
    """Its identity and its counters stay, its readings leave at once."""
    page = rendered(snapshots.full())

    up = {
        labels["uuid"]: value
        for labels, value in zip(
            labels_of(page, "gpuwatch_device_up"), series(page, "gpuwatch_device_up").values(), strict=True
        )
    }
    assert up == {"GPU-0": 1.0, "GPU-1": 0.0, "MIG-1": 1.0}
    assert {"GPU-0", "GPU-1", "MIG-1"} == {each["uuid"] for each in labels_of(page, "gpuwatch_device_info")}
    assert "GPU-1" not in {each["uuid"] for each in labels_of(page, "gpuwatch_device_power_watts")}
    assert "GPU-1" in {each["uuid"] for each in labels_of(page, "gpuwatch_device_held_seconds_total")}


def test_a_stale_snapshot_shows_counters_and_no_momentary_value() -> None:
    """When the agent's loop stands still, nobody is shown the last value as if it were now."""
    time = [1000.0]
    page_sink = sink(lambda: time[0])
    page_sink.take(snapshots.full())
    time[0] += 3.0
    fresh = page_sink.render().decode()
    time[0] += 0.1

    stale = page_sink.render().decode()

    assert series(fresh, "gpuwatch_device_power_watts") and series(fresh, "gpuwatch_host_")
    assert {0.0} == set(series(stale, "gpuwatch_device_up").values())
    for gone in ("gpuwatch_device_power_watts", "gpuwatch_host_", "gpuwatch_device_job_share"):
        assert series(stale, gone) == {}
    for stays in ("gpuwatch_job_", "gpuwatch_device_info", "gpuwatch_device_energy", "gpuwatch_agent_"):
        assert series(fresh, stays) == series(stale, stays)


def test_jump_of_the_wall_clock_hides_nothing() -> None:
    """How old a snapshot is does not depend on the date: a wrong one is no reason to show nothing."""
    page_sink = sink(lambda: 1000.0)
    for year in (NOW, NOW + 3e7, 0.0):
        page_sink.take(replace(snapshots.full(), time=year))

        assert series(page_sink.render().decode(), "gpuwatch_device_power_watts")


def test_an_agent_that_ticks_slowly_is_not_stale_between_its_ticks() -> None:
    """Three intervals, whatever the interval is."""
    time = [1000.0]
    page_sink = sink(lambda: time[0])
    page_sink.take(snapshots.full())
    time[0] += 10.0
    page_sink.take(snapshots.full())
    time[0] += 29.0
    between = page_sink.render().decode()
    time[0] += 1.1

    late = page_sink.render().decode()

    assert series(between, "gpuwatch_device_power_watts")
    assert not series(late, "gpuwatch_device_power_watts")


def test_counters_of_a_device_carry_the_epoch_and_metered_energy_the_method() -> None:
    """A lost state begins a new series instead of a fall that looks like a reset."""
    page = rendered(snapshots.full())

    assert {"uuid": "GPU-0", "epoch": snapshots.EPOCH} in labels_of(page, "gpuwatch_device_held_seconds_total")
    assert labels_of(page, "gpuwatch_device_energy_joules_total") == [{"uuid": "GPU-0", "method": "counter"}]


def test_energy_that_was_never_measured_is_not_zero() -> None:
    """A device without any measurement has seconds by holder and no joules; one that was measured may have 0."""
    page = rendered(snapshots.full())

    joules = {each["uuid"] for each in labels_of(page, "gpuwatch_device_unallocated_energy_joules_total")}
    assert joules == {"GPU-0"}


def test_an_ended_job_stays_for_its_grace_and_then_leaves() -> None:
    """4710 ended 899 seconds ago, 4709 901 seconds ago."""
    page = rendered(snapshots.full())

    jobs = {labels["job_id"] for labels in labels_of(page, "gpuwatch_job_held_seconds_total")}
    assert {"4711", "4710", "user:ada"} == jobs
    assert {"4711"} == {each["job_id"] for each in labels_of(page, "gpuwatch_job_declared")}


def test_an_open_job_shows_the_devices_it_gave_back_long_ago() -> None:
    """The sum over a job's devices never falls while the job runs."""
    rows = [snapshots.row(), snapshots.row(uid="GPU-1", open=False, last_seen=NOW - 5000)]

    page = rendered(replace(snapshots.full(), rows={row.key: row for row in rows}))

    assert {"GPU-0", "GPU-1"} == {each["uuid"] for each in labels_of(page, "gpuwatch_job_held_seconds_total")}


def test_shares_of_a_job_by_the_same_rule_add_up_and_carry_its_start() -> None:
    """Two shards of one device are one series; an allocation whose start nobody knows is none."""
    page = rendered(snapshots.full())

    shares = {
        (labels["uuid"], labels["job_id"], labels["started"], labels["basis"])
        for labels in labels_of(page, "gpuwatch_device_job_share")
    }
    assert series(page)["gpuwatch_device_job_share", "shard", "4711", str(STARTED), "GPU-0"] == 0.75
    assert {
        ("GPU-0", "4711", str(STARTED), "shard"),
        ("GPU-1", "4711", str(STARTED), "whole"),
        ("MIG-1", "user:ada", str(STARTED + 7), "mig"),
    } == shares


def test_a_job_shows_its_own_declaration_and_not_its_campaigns() -> None:
    """A campaign's amount is declared once, for the campaign; each bound is one series, in base units."""
    page = rendered(snapshots.full())

    declared = series(page, "gpuwatch_job_declared")
    likely = {key[3]: value for key, value in declared.items() if key[1] == "likely"}
    assert likely == {"device-hours": 7200.0, "energy": 1.8e8}
    assert len(declared) == 6


def test_the_latest_declaration_of_a_quantity_is_the_one_shown() -> None:
    """A revision replaces what it revises, in whatever order the two are kept."""
    first = snapshots.declared()
    revised = replace(first.estimates[0], likely=8000.0, declared_at=5.0)
    both = replace(first, estimates=(revised, *first.estimates))

    page = rendered(replace(snapshots.full(), declared={both.job: both}))

    assert series(page)["gpuwatch_job_declared", "likely", "4711", "device-hours", str(STARTED)] == 8000.0


def test_progress_is_the_done_fraction_and_the_fraction_at_the_start() -> None:
    """A total of nothing is no progress rather than a division by zero."""
    page = rendered(snapshots.full())
    nothing = replace(snapshots.declared(), estimates=(), progress=Progress(0, 0, 0, NOW))
    without = rendered(replace(snapshots.full(), declared={nothing.job: nothing}))

    assert series(page)["gpuwatch_job_progress_ratio", "4711", str(STARTED)] == 1200 / 9000
    assert series(page)["gpuwatch_job_progress_start_ratio", "4711", str(STARTED)] == 600 / 9000
    assert series(without, "gpuwatch_job_progress") == {}


def test_nothing_about_people_is_exported_beyond_job_ids() -> None:
    """Campaigns, channels, messages and process lists stay inside."""
    page = rendered(snapshots.full())

    assert "llama-ft" not in page
    assert "no right to look" not in page


def test_there_are_no_timestamps_and_no_created_series() -> None:
    """A series that leaves is gone at the next scrape."""
    page = rendered(snapshots.full())

    assert "_created" not in page
    stamped = (sample.timestamp for family in text_string_to_metric_families(page) for sample in family.samples)
    assert all(stamp is None for stamp in stamped)


@given(
    st.text(st.characters(), max_size=200),
    st.text(st.characters(), max_size=200),
    st.text(st.characters(), max_size=9),
)
def test_hostile_names_read_back_cleaned_in_as_many_series(job: str, uid: str, reason: str) -> None:
    """Quotes, newlines, surrogates and backslashes in a job's or device's name change no series but their own."""
    row = snapshots.row(job, uid)
    row = replace(row, usage=Usage(held_seconds=3.5, throttled_seconds={reason: 1.25}))
    snapshot = Snapshot(
        "default", "gw0", NOW, 1, "e", "b",
        devices={uid: snapshots.device(uid)},
        readings={uid: Reading(uid, NOW, utilization_ratio=0.5)},
        device_usage={uid: DeviceUsage(uid)},
        allocations=(Allocation(job, uid, 0.5, "whole"),),
        rows={row.key: row},
    )  # fmt: skip

    page = rendered(snapshot)

    job, uid, reason = hygiene.label(job), hygiene.label(uid), hygiene.label(reason)
    found = series(page)
    assert found["gpuwatch_job_held_seconds_total", "e", job, str(STARTED), uid] == 3.5
    assert found["gpuwatch_job_throttled_seconds_total", "e", job, reason, str(STARTED), uid] == 1.25
    assert found["gpuwatch_device_utilization_ratio", uid] == 0.5
    assert found["gpuwatch_device_job_share", "whole", job, str(STARTED), uid] == 0.5
    fixed = 1 + 1 + 1 + 3 + 1  # info, up, reading, the device's seconds by holder, share
    assert fixed + 3 == len(series(page, "gpuwatch_device_")) + len(series(page, "gpuwatch_job_"))
    assert found[SINK + "dropped_total", "duplicate", "prometheus"] == 0


def test_two_jobs_whose_cleaned_names_are_the_same_do_not_break_the_page() -> None:
    """The second is left out and counted, so that no series is there twice."""
    rows = [snapshots.row("a\n"), snapshots.row("a\t")]
    per_job = len(list(series_of(rows[0].usage)))

    page = rendered(replace(snapshots.full(), rows={row.key: row for row in rows}, allocations=(), declared={}))

    assert [{"a\ufffd"}] == [{each["job_id"] for each in labels_of(page, "gpuwatch_job_held_seconds_total")}]
    assert per_job == series(page)[SINK + "dropped_total", "duplicate", "prometheus"]


def jobs_shown(page: str) -> set[str]:
    """The jobs on a page."""
    return {labels["job_id"] for labels in labels_of(page, "gpuwatch_job_held_seconds_total")}


@pytest.mark.parametrize("jobs", [0, 1, 100, 1000])
@pytest.mark.parametrize("limit", [500, 2000])
def test_the_page_never_has_more_series_than_the_limit(jobs: int, limit: int) -> None:
    """Jobs leave as a whole and are counted; devices stay."""
    page = rendered(snapshots.node(8, jobs), series_limit=limit)

    found = series(page)
    dropped = found[SINK + "dropped_total", "series_limit", "prometheus"]
    assert len(found) <= limit
    assert len(labels_of(page, "gpuwatch_device_power_watts")) == 16
    assert found[SINK + "taken_total", "prometheus"] == found[SINK + "delivered_total", "prometheus"] + dropped
    assert found[SINK + "delivered_total", "prometheus"] == len(found) - OWN_SERIES
    per_job = len(list(series_of(snapshots.usage()))) + 1
    assert jobs == len(jobs_shown(page)) + dropped / per_job


def test_ended_jobs_leave_before_open_ones_and_the_first_ended_first() -> None:
    """Whoever runs longest is dropped last."""
    rows = [
        snapshots.row("ended-first", open=False, last_seen=NOW - 500),
        snapshots.row("ended-last", open=False, last_seen=NOW - 5),
        snapshots.row("newer", started=STARTED + 1),
        snapshots.row("older", started=STARTED - 1),
    ]
    snapshot = replace(snapshots.full(), rows={row.key: row for row in rows}, allocations=(), declared={})
    everything = len(series(rendered(snapshot)))
    per_job = len(list(series_of(snapshots.usage())))

    shown = [jobs_shown(rendered(snapshot, series_limit=everything - per_job * gone)) for gone in range(5)]

    order = ["older", "newer", "ended-last", "ended-first"]
    assert [set(order[: 4 - gone]) for gone in range(5)] == shown


def test_without_jobs_to_drop_the_host_goes_before_the_devices() -> None:
    """A node with a thousand mounts still shows its devices, and the page stays within the limit."""
    mounts = {f"/mnt/{each}": 1.0 for each in range(1000)}
    host = replace(snapshots.host(), filesystem_size_bytes=mounts)

    page = rendered(replace(snapshots.node(), host=host), series_limit=600)

    assert len(series(page)) == 600
    assert len(labels_of(page, "gpuwatch_device_power_watts")) == 16
    assert set() == jobs_shown(page)


def test_a_snapshot_is_rendered_once_however_often_it_is_asked_for() -> None:
    """The same bytes are handed out until there is a newer snapshot."""
    page_sink = sink()
    page_sink.take(snapshots.full())
    first = page_sink.render()

    again = page_sink.render()
    page_sink.take(snapshots.full())
    newer = page_sink.render()

    assert again is first
    assert newer is not first


def test_snapshots_that_nobody_asks_for_cost_nothing() -> None:
    """What is counted as taken is what was rendered."""
    page_sink = sink()
    for _ in range(100):
        page_sink.take(snapshots.full())

    found = series(page_sink.render().decode())

    assert found[SINK + "taken_total", "prometheus"] == len(found) - OWN_SERIES


def test_many_scrapes_at_once_share_one_rendering() -> None:
    """Eight threads that ask at the same moment get the same object."""
    page_sink = sink()
    page_sink.take(snapshots.node())
    barrier, bodies = Barrier(8), []

    def scrape() -> None:
        barrier.wait()
        bodies.append(page_sink.render())

    threads = [Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(bodies) == 8
    assert len({id(body) for body in bodies}) == 1


def test_before_the_first_tick_the_page_is_valid_and_claims_nothing() -> None:
    """A scrape that comes early sees the sink and no device, job or source."""
    found = series(sink().render().decode())

    assert len(found) == OWN_SERIES
    assert found[SINK + "up", "prometheus"] == 1.0


def test_the_order_of_the_page_does_not_depend_on_the_order_of_discovery() -> None:
    """Two agents that found the same things in another order write the same page."""
    snapshot = snapshots.full()
    turned = replace(
        snapshot,
        devices=dict(reversed(snapshot.devices.items())),
        rows=dict(reversed(snapshot.rows.items())),
        sources=dict(reversed(snapshot.sources.items())),
        allocations=tuple(reversed(snapshot.allocations)),
    )

    assert rendered(snapshot) == rendered(turned)


def test_a_declaration_without_a_job_on_the_page_shows_nothing() -> None:
    """Declarations do not make series by themselves: nobody can fill the page with them."""
    strangers = {
        JobKey(f"{each}", 1): replace(snapshots.declared(), job=JobKey(f"{each}", 1)) for each in range(50)
    }

    page = rendered(replace(snapshots.full(), declared=strangers))

    assert series(page, "gpuwatch_job_declared") == {}
    assert series(page, "gpuwatch_job_progress") == {}
