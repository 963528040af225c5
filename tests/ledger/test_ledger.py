"""The rule of the ledger, on the pure model."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.ledger.ledger import Book, RowId
from gpuwatch.ledger.measures import merged
from gpuwatch.ledger.posting import read
from gpuwatch.usage.base import Delivery
from tests.ledger.deliveries import EPOCH, T0, delivery, row
from tests.ledger.lives import streams


def book_of(deliveries: Iterable[Delivery]) -> Book:
    book = Book()
    for each in deliveries:
        book.post(read(each))
    return book


def held(book: Book) -> float:
    return book.total("default", "run-1").held_seconds


@settings(max_examples=2000)
@given(streams(), st.data())
def test_order_and_repetition_do_not_matter(by_node: list[list[Delivery]], data: st.DataObject) -> None:
    """Any interleaving and duplication of deliveries, over crashes and lost state, ends in the same ledger."""
    sent = [each for stream in by_node for each in stream]
    again = data.draw(st.lists(st.sampled_from(sent), max_size=6))

    arrived = data.draw(st.permutations(sent + again))

    assert book_of(sent) == book_of(arrived)


@settings(max_examples=2000)
@given(streams(crashes=False), st.data())
def test_lost_deliveries_are_made_good_by_the_next(by_node: list[list[Delivery]], data: st.DataObject) -> None:
    """Losing any deliveries changes nothing once each epoch's last one has come."""
    sent = [each for stream in by_node for each in stream]
    last = {each.epoch: number for number, each in enumerate(sent)}
    lost = data.draw(st.sets(st.sampled_from(range(len(sent)))))

    arrived = [each for number, each in enumerate(sent) if number not in lost or last[each.epoch] == number]

    assert book_of(sent) == book_of(arrived)


@settings(max_examples=500)
@given(streams(), st.integers(1, 5))
def test_posting_is_associative(by_node: list[list[Delivery]], cut: int) -> None:
    """Two ledgers of parts of the deliveries merge into the ledger of all: backups and merges lose nothing."""
    sent = [each for stream in by_node for each in stream]
    first, second = book_of(sent[:cut]), book_of(sent[cut:])

    both = {
        key: merged(first.measures[key], measures) if key in first.measures else measures
        for key, measures in second.measures.items()
    }

    assert book_of(sent).measures == {**first.measures, **both}


def test_the_maximum_within_an_epoch_counts() -> None:
    """A restored agent that counts from lower neither adds nor takes away."""
    sent = [delivery([row(held_seconds=seconds)]) for seconds in (100.0, 60.0, 80.0)]

    assert 100.0 == held(book_of(sent))


def test_epochs_add_up() -> None:
    """After lost state an agent counts from zero, and both lives count."""
    sent = [delivery([row(held_seconds=100.0)]), delivery([row(held_seconds=60.0)], epoch="fedcba987654")]

    assert 160.0 == held(book_of(sent))


def test_a_row_names_the_epoch_it_was_counted_in() -> None:
    """What an agent still has from before it lost its state is posted to that epoch."""
    before = RowId("default", "gw0", "fedcba987654", "run-1", T0, "GPU-0")

    book = book_of([delivery([row(epoch="fedcba987654"), row(held_seconds=7.0)])])

    assert {100.0, 7.0} == {measures[0] for measures in book.measures.values()}
    assert before in book.held


def test_a_closed_row_stays_closed() -> None:
    """A late delivery from before the end does not bring a job back to life."""
    sent = [delivery([row(open=False, last_seen=T0 + 90.0)]), delivery([row(open=True, last_seen=T0 + 80.0)])]

    (facts,) = book_of(sent).held.values()

    assert (False, T0 + 90.0) == (facts.open, facts.last_seen)


def test_totals_are_over_epochs_devices_and_nodes() -> None:
    """Counters add up, first use is the first and last use the last; what was never told stays unknown."""
    told = {"held_seconds": 1.0, "busy_seconds": None, "energy_joules": {}, "energy_gap_seconds": 3.0}
    one = row(first_working=T0 + 5.0, last_in_state={"working": T0 + 9.0}, **told)
    other = row(
        uuid="GPU-1", first_working=T0 + 2.0, last_in_state={"working": T0 + 7.0, "idle": T0 + 8.0}, **told
    )

    total = book_of([delivery([one, other]), delivery([one], epoch="fedcba987654")]).total("default", "run-1")

    assert (3.0, None, {}) == (total.held_seconds, total.busy_seconds, total.energy_joules)
    assert (T0 + 2.0, 3.0) == (total.first_working, total.energy_gap_seconds)
    assert {"working": T0 + 9.0, "idle": T0 + 8.0} == total.last_in_state


def test_an_epoch_is_part_of_every_row() -> None:
    """The delivery's epoch is the row's where the row names none."""
    book = book_of([delivery([row()])])

    assert {EPOCH} == {key.epoch for key in book.measures}
