"""A day of 300 jobs of 60 people, pass by pass on a made-up clock: who was told what, and how often."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.notifiers.base import Letter
from tests import goldens
from tests.accounting import day
from tests.accounting.fakes import FakePeople, FakeSource, everything_told
from tests.ledger.batch import HOUR, T0

STEP = 1 / 6
"""A pass in ten minutes."""

GOLDEN = Path(__file__).parents[1] / "golden" / "scripted_day.txt"
JOBS = day.planned()
BY_ID = {job.job_id: job for job in JOBS}


def lived(store: Store) -> list[Letter]:
    """The letters of the day, and of what was left of it on the next."""
    people, source = FakePeople(), FakeSource()
    accountant = Accountant(
        store, {"fake": source}, {"people": people}, Bounds(0.1, 1.0), policy=everything_told()
    )
    before = 0.0
    for hour in (*(number * STEP for number in range(1, round(24 / STEP) + 1)), *range(25, 41)):
        with store.writing() as connection:
            post_records(connection, day.records(JOBS, hour))
        source.answers = [day.told(JOBS, hour, before)]
        accountant.run_pass(T0 + hour * HOUR)
        before = hour
    return people.letters


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Letter]]:
    path = tmp_path_factory.mktemp("day") / "ledger.db"
    with closing(open_store(str(path), cluster="default")) as store:
        yield lived(store)


def changes_of(letters: list[Letter]) -> dict[str, list[tuple[str, str]]]:
    """What was said of each job, as (what, kind), to its owner."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for letter in letters:
        if letter.recipient.startswith("user:"):
            for change in letter.changes:
                found[change.alert.scope.name].append((change.what, change.alert.kind))
    return found


def test_what_each_letter_said(letters: list[Letter], request: pytest.FixtureRequest) -> None:
    """To the word; whoever changes what is told reviews it here."""
    text = "".join(
        f"{(letter.time - T0) / HOUR:05.2f} h  {letter.recipient}  more={letter.more}\n"
        + "".join(f"    {each.what}: {each.alert.kind}: {each.alert.text}\n" for each in letter.changes)
        for letter in letters
    )

    goldens.compare(GOLDEN, text, update=request.config.getoption("--update-golden"))


def test_no_owner_gets_more_than_three_on_any_day(letters: list[Letter]) -> None:
    """Whatever his jobs do, in any 24 hours."""
    times: dict[str, list[float]] = defaultdict(list)
    for letter in letters:
        if letter.recipient.startswith("user:"):
            times[letter.recipient].append(letter.time)

    most = max(sum(t <= each < t + 24 * HOUR for each in those) for those in times.values() for t in those)
    assert 3 == most


def test_whose_jobs_do_well_hears_nothing(letters: list[Letter]) -> None:
    """Of 200 jobs not a word."""
    said = changes_of(letters)

    assert {} == {name: said[name] for name in said if BY_ID[name].does == "well"}


@pytest.mark.parametrize(
    ("does", "kinds"),
    [
        ("overruns", {"projected", "exceeded"}), ("idles", {"idle"}), ("hangs", {"hung"}),
        ("never starts", {"no_start"}), ("hits its limit", {"limit", "projected", "exceeded"}),
        ("stalls", {"stalled_progress"}),
    ],
)  # fmt: skip
def test_whose_jobs_do_not_hears_of_each_of_them(letters: list[Letter], does: str, kinds: set[str]) -> None:
    """Of every job, by one of the kinds that are meant for it, once each."""
    said = changes_of(letters)
    wrong = [job.job_id for job in JOBS if job.does == does]

    assert [] == [name for name in wrong if not kinds & {kind for _, kind in said[name]}]
    assert [] == [name for name in wrong if max(Counter(said[name]).values()) > 1]


def test_an_overrun_is_told_before_it_happens(letters: list[Letter]) -> None:
    """Of most of them: those whose owner may be written to."""
    early = {
        change.alert.scope.name
        for letter in letters
        for change in letter.changes
        if (change.what, change.alert.kind) == ("raised", "projected")
    }
    overran = {job.job_id for job in JOBS if job.does == "overruns"}

    assert 0.6 <= len(early & overran) / len(overran)
