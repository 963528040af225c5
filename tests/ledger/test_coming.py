"""Jobs that wait for a campaign, in both databases."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.ledger.coming import MOST, tasks_waiting, waiting_for
from gpuwatch.ledger.jobs import LOST_SECONDS
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Facts, Live, Record
from tests.ledger.batch import HOUR, T0, pending, record, running

NOW = T0 + HOUR


def of(job_id: str, campaign: str = "llama", **changed: Any) -> Record:
    """A job that waits and says which campaign it belongs to."""
    return pending(job_id, live=Live(T0, f"gpuwatch: campaign={campaign}"), **changed)


def waiting(
    store: Store, *records: Record, campaigns: tuple[str, ...] = ("llama", "opt")
) -> dict[str, list[Facts]]:
    """What waits of two campaigns once the ledger was told."""
    with store.writing() as connection:
        post_records(connection, records)
    with store.reading() as connection:
        return waiting_for(connection, "default", campaigns, NOW)


def test_what_waits_is_found_by_its_campaign(store: Store) -> None:
    """With what a forecast needs of it, in the order of ids."""
    found = waiting(store, of("2"), of("1", name="eval", tasks=9), of("3", "opt"), of("4", "other"), pending("5"))

    assert {"llama": ["1", "2"], "opt": ["3"]} == {
        name: ["1" if each.name == "eval" else "2" if name == "llama" else "3" for each in facts]
        for name, facts in found.items()
    }
    assert Facts(T0, "PENDING", devices=2.0, name="eval", user="ada", account="ml", limit_seconds=2 * HOUR,
                 tasks=9) == found["llama"][0]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        running("1", live=Live(T0, "gpuwatch: campaign=llama")),
        record("1", Live(T0, "gpuwatch: campaign=llama"), state="CANCELLED", started=None),
        record("1", Live(T0, "gpuwatch: campaign=llama")),
        of("1", seen=NOW - LOST_SECONDS - 1),
        of("1", devices=0.0),
        of("1", cluster="elsewhere"),
    ],
    ids=["runs", "cancelled", "ended", "lost", "without devices", "of another cluster"],
)
def test_what_does_not_wait_for_devices_is_not_to_come(store: Store, other: Record) -> None:
    """It needs none, or is counted already."""
    assert {} == waiting(store, other)


def test_devices_may_be_known_from_what_is_asked_for(store: Store) -> None:
    """Or not at all, and it waits all the same."""
    asked = pending("1", live=Live(T0, "gpuwatch: campaign=llama", devices=4.0), devices=None)
    unknown = of("2", devices=None)

    assert [4.0, None] == [each.devices for each in waiting(store, asked, unknown)["llama"]]


def test_no_more_than_so_many_are_looked_at(store: Store) -> None:
    """A campaign of very many, which are counted all the same; none is asked for where there is no campaign."""
    many = [of(f"{number:05d}") for number in range(MOST + 5)]

    assert MOST == len(waiting(store, *many, of("1", "opt", tasks=9))["llama"])
    with store.reading() as connection:
        assert {"llama": MOST + 5, "opt": 9} == tasks_waiting(connection, "default", ("llama", "opt"), NOW)
    assert {} == waiting(store, campaigns=())
