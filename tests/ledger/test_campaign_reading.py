"""A campaign as it is read: figures, how runs ended, what was declared, and what may have been forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.ledger import campaign_reading, campaign_store, tables, tag_store, writing
from gpuwatch.ledger.campaign_document import by_tag, document, outcome_of
from gpuwatch.ledger.campaign_reading import stem
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.store import Store
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import declared, delivery, row
from tests.ledger.told import ADA, ADMIN, EVE, NOW, fill, jobs, members, told, view


def whole(store: Store, *job_ids: str) -> dict[str, Any]:
    """The document of campaign llama with some jobs added."""
    with store.writing() as connection:
        campaign_store.add(connection, ADMIN, "llama", jobs(connection, *job_ids), NOW)
    return document(view(store))


def test_failed_and_debugging_runs_are_in_the_total_with_their_share(store: Store) -> None:
    """Three jobs of two devices and an hour; one failed, one tried something."""
    fill(store)

    totals = whole(store, "2", "4")["totals"]
    assert (3, 3, 6 * HOUR, 6 * HOUR) == (
        totals["jobs"], totals["runs"], totals["device_seconds"], totals["allocated_device_seconds"],
    )  # fmt: skip
    assert {
        "completed": {"runs": 2, "device_seconds": 4 * HOUR, "share": 2 / 3},
        "failed": {"runs": 1, "device_seconds": 2 * HOUR, "share": 1 / 3},
    } == totals["outcomes"]
    assert {"jobs": 1, "device_seconds": 2 * HOUR, "share": 1 / 3} == totals["debugging"]
    assert (["ada", "eve"], T0, T0 + HOUR) == (totals["users"], totals["began"], totals["ended"])


def test_each_run_of_a_job_ends_in_its_own_way(store: Store) -> None:
    """Requeued, then cancelled; one that runs; one that ran out of time."""
    again = {"submitted": T0 + 3600, "started": T0 + 3660.0, "ended": T0 + 7200.0}
    fill(
        store,
        [
            record("1", state="PREEMPTED"), record("1", state="CANCELLED by 7", **again),
            record("2", state="TIMEOUT"),
            running("3", seen=NOW), record("4", state="NODE_FAIL"), record("5", state="OUT_OF_MEMORY"),
        ],
    )  # fmt: skip

    with store.reading() as connection:
        found = jobs(connection, *"12345")
    assert [["requeued", "cancelled"], ["timed out"], ["running"], ["failed"], ["failed"]] == [
        [outcome_of(job, number) for number in range(len(job.runs))] for job in found
    ]


def test_energy_and_states_are_those_of_the_devices(store: Store) -> None:
    """Of a run that no batch system knows: what its agent counted."""
    said = declared("campaign=llama device-hours=2")
    with store.writing() as connection:
        found = delivery([row(energy_unmeasured_seconds=25.0)], [said])
        writing.post(connection, read(found), found.origin)

    totals = whole(store)["totals"]
    assert ({"counter": 36_000.0}, 0.75) == (totals["energy_joules"], totals["energy_covered_ratio"])
    assert ({"working": 90.0, "idle": 10.0}, 100.0, None) == (
        totals["state_seconds"], totals["device_seconds"], totals["allocated_device_seconds"],
    )  # fmt: skip
    assert ["running"] == list(totals["outcomes"])


def test_what_was_declared_first_stands_beside_what_counts(store: Store) -> None:
    """The original is the first one, where it came before 10 % of the run."""
    fill(store)
    first = declared("for=campaign:llama device-hours=3", None, time=T0 + 60.0, started=None)
    later = declared("for=campaign:llama device-hours=9", None, time=T0 + 1800.0, started=None, seq=6)
    late = declared("for=campaign:llama energy=9kWh", None, time=T0 + 1800.0, started=None, seq=7)
    with store.writing() as connection:
        found = delivery(declarations=[first, later, late])
        writing.post(connection, read(found), found.origin)

    told_of = whole(store)["declared"]
    hours, energy = told_of["device-hours"], told_of["energy"]
    assert (9 * HOUR, 3 * HOUR, 2 * HOUR) == (
        hours["in_force"]["likely"], hours["original"]["likely"], hours["used"],
    )  # fmt: skip
    assert (None, None) == (energy["original"], energy["used"])


def test_hours_by_the_rows_of_a_table(store: Store) -> None:
    """Numbers by size, what has no tag apart and last."""
    fill(store)
    whole(store, "2", "3", "4")
    with store.writing() as connection:
        tag_store.tag(connection, ADA, jobs(connection, "2"), {"table": "10"}, NOW)
        tag_store.tag(connection, ADMIN, jobs(connection, "3"), {"table": "9"}, NOW)

    rows = by_tag(view(store).members, "table")
    assert [("1", 2 * HOUR), ("9", 2 * HOUR), ("10", 2 * HOUR), (None, 2 * HOUR)] == [
        (each["value"], each["device_seconds"]) for each in rows
    ]


def test_a_job_that_is_asked_for_shows_its_id_alone(store: Store) -> None:
    """Nothing of it is counted."""
    fill(store)
    with store.writing() as connection:
        campaign_store.add(connection, EVE, "llama", jobs(connection, "2", "3"), NOW)

    shown = whole(store)
    assert 1 == shown["totals"]["jobs"]
    assert [
        {"job": each, "cluster": "default", "asked_by": "eve", "asked_at": NOW, "refused": False} for each in "23"
    ] == shown["asked"]


def test_jobs_that_were_possibly_forgotten_are_named_alike(store: Store) -> None:
    """Of the same users or accounts, at the time; not those of another campaign, asked for, or taken out."""
    long_ago = {"submitted": 1, "started": 60.0, "ended": 120.0}
    fill(store, [*told(), record("7", name="llama-7b-9"), record("8", name="LLaMA 7B 3"),
                 record("9", name="llama-7b-0", **long_ago), record("10", name="llama-7b-5")])  # fmt: skip
    with store.writing() as connection:
        campaign_store.add(connection, ADA, "other", jobs(connection, "7"), NOW)
        campaign_store.remove(connection, ADA, "llama", jobs(connection, "10"), NOW)

    with store.reading() as connection:
        seen = campaign_reading.view(connection, "llama", NOW)
        everything = campaign_reading.possible(connection, seen, NOW)
        evens = campaign_reading.possible(connection, seen, NOW, EVE)
    assert ["2", "3", "8"] == [job.scope.name for job in everything]
    assert () == evens


@pytest.mark.parametrize(
    ("name", "expected"),
    [("llama-7b_3.sh", "llama b sh"), ("Train 12", "train"), ("2026", ""), ("Grün-1", "grün")],
)
def test_names_of_one_series_have_the_same_words(name: str, expected: str) -> None:
    """Numbers and signs aside."""
    assert expected == stem(name)


def test_what_a_job_was_charged_is_in_its_figures(store: Store) -> None:
    """Of all days and models, by the rates in force."""
    fill(store)
    charge = {
        "job_id": "1", "cluster": "default", "attempt": T0, "model": "H100", "edition": 2, "final": True,
        "begins": 0.0, "ends": 0.0, "user": "ada", "account": "ml", "partition": "gpu", "currency": "EUR",
        "rates": "r1", "counts": 0, "seen": 0.0,
    }  # fmt: skip
    rows = [
        {"day": 1, "current": True, "cost": 2.0, "carbon_grams": 10.0, "facility_joules": None, **charge},
        {"day": 2, "current": True, "cost": 3.5, "carbon_grams": None, "facility_joules": 7.0, **charge},
        {"day": 3, "current": False, "cost": 99.0, "carbon_grams": 99.0, "facility_joules": 9.0, **charge},
    ]
    estimate = declared("for=campaign:llama cost=9EUR carbon=1kg", None, time=T0 + 60.0, started=None)
    with store.writing() as connection:
        connection.execute(tables.charges.insert(), rows)
        found = delivery(declarations=[estimate])
        writing.post(connection, read(found), found.origin)

    shown = whole(store)
    totals = shown["totals"]
    assert {"cost": 5.5, "carbon": 10.0} == {name: each["used"] for name, each in shown["declared"].items()}
    assert ({"EUR": 5.5}, 10.0, 7.0, ["r1"], [2]) == tuple(
        totals[name] for name in ("cost", "carbon_grams", "facility_joules", "rates", "editions")
    )


def test_every_campaign_that_anybody_spoke_of_is_listed(store: Store) -> None:
    """Declared, asked for, looked like, or estimated; any other is not there."""
    fill(store)
    with store.writing() as connection:
        campaign_store.add(connection, EVE, "asked", jobs(connection, "1"), NOW)

    with store.reading() as connection:
        assert ("asked", "llama") == campaign_reading.names(connection)
    with pytest.raises(Unavailable, match="campaign 'nowhere': not in the ledger"):
        view(store, "nowhere")
    assert {} == members(store, "asked")
