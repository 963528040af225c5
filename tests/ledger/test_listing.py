"""Jobs and campaigns page by page, in both databases: a page is what a reader may see, and nothing is missed."""

from __future__ import annotations

import pytest

from gpuwatch.ledger.audience import EVERYTHING, Audience
from gpuwatch.ledger.coordinators import coordinated
from gpuwatch.ledger.deadline import limited
from gpuwatch.ledger.listing import (
    Position,
    Wanted,
    campaign_called,
    campaigns_page,
    jobs_called,
    jobs_page,
)
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Grant, Live
from tests.ledger.batch import HOUR, T0, record
from tests.web.ledgers import NOW, fill

ADA = Audience(cluster="default", user="ada", uid=1000)
ML = Audience(cluster="default", user="grace", accounts=frozenset({"ml", "nlp"}))


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        (EVERYTHING, ["user:bob", "run-1", "66", "9", "8", "7"]),
        (ADA, ["run-1", "7"]),
        (Audience(cluster="other", user="ada", uid=1000), ["66"]),
        (Audience(cluster="default", user="ada"), ["7"]),
        (ML, ["9", "7"]),
        (Audience(), []),
    ],
)
def test_a_reader_sees_his_jobs_and_those_of_his_accounts(
    store: Store, audience: Audience, expected: list[str]
) -> None:
    """By name in the batch system, by user id outside of it, and on his own cluster."""
    fill(store)

    with store.reading() as connection, limited(connection, 30.0):
        page = jobs_page(connection, audience, Wanted(), None, 10, NOW)
        called = [
            jobs_called(connection, audience, name, NOW) for name in ("7", "8", "9", "66", "run-1", "user:bob")
        ]

    assert expected == [job.scope.name for job in page.items]
    assert {*expected} == {job.scope.name for found in called for job in found}
    assert not page.more


def test_pages_of_any_size_are_the_list(store: Store) -> None:
    """Also with a filter that leaves most out, so that a page takes several looks at the ledger."""
    mine = [record(str(n), started=float(T0 + n // 5), partition="abc"[n % 3]) for n in range(500)]
    with store.writing() as connection:
        post_records(connection, mine)
    wanted = Wanted(partition="b", since=float(T0))
    expected = sorted((-(T0 + n // 5), str(n)) for n in range(500) if n % 3 == 1)

    for limit in (7, 166, 1000):
        found: list[tuple[int, str]] = []
        after: Position | None = None
        with store.reading() as connection:
            while True:
                page = jobs_page(connection, ADA, wanted, after, limit, NOW)
                found += [(-job.started, job.scope.name) for job in page.items]
                if not page.more:
                    break
                after = Position(page.items[-1].started, page.items[-1].scope.name)
        assert expected == found


def test_campaigns_come_by_name_as_far_as_they_are_seen(store: Store) -> None:
    """Names of campaigns of which a reader sees no job are skipped, and the pages go on behind them."""
    said = {str(n): Live(float(T0), f"gpuwatch: campaign=c{n:02}") for n in range(12)}
    with store.writing() as connection:
        post_records(
            connection, [record(n, live, user="ada" if int(n) % 4 == 0 else "bob") for n, live in said.items()]
        )
    found: list[str] = []
    after = ""
    with store.reading() as connection:
        while True:
            page = campaigns_page(connection, ADA, after, 1, NOW)
            found += [campaign.scope.name for campaign, complete in page.items if complete]
            if not page.more:
                break
            after = page.items[-1][0].scope.name
        hidden, own = (campaign_called(connection, ADA, name, NOW) for name in ("c01", "c04"))

    assert ["c00", "c04", "c08"] == found
    assert hidden is None
    assert own is not None and own[1]


def test_coordinators_have_the_accounts_below_too(store: Store) -> None:
    """By the batch system's word or the configuration's, on one cluster."""
    grants = [
        Grant("default", "science", "", "gres/gpu", None, None, NOW, coordinators=("grace",)),
        Grant("default", "ml", "", "gres/gpu", None, None, NOW, parent="science"),
        Grant("default", "nlp", "", "gres/gpu", None, None, NOW, parent="ml", coordinators=("linus",)),
        Grant("default", "nlp", "ada", "gres/gpu", HOUR, None, NOW),
        Grant("other", "secret", "", "gres/gpu", None, None, NOW, coordinators=("grace", "linus")),
    ]
    with store.writing() as connection:
        post_grants(connection, grants)

    with store.reading() as connection:
        told = {name: coordinated(connection, "default", name) for name in ("grace", "linus", "ada", "")}
        more = coordinated(connection, "default", "ada", ["ml", "new"])

    assert {"grace": {"science", "ml", "nlp"}, "linus": {"nlp"}, "ada": set(), "": set()} == told
    assert {"ml", "nlp", "new"} == more
