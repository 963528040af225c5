"""Whatever comes in whatever order, and whenever it is charged: the ledger ends the same, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.ledger import tables, writing
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Record, RecordId
from gpuwatch.usage.base import Delivery
from tests.faults.ledgers import check_days, priced, rows, totals
from tests.ledger.batch import facts, record
from tests.ledger.deliveries import T0
from tests.ledger.lives import streams

# In this zone a day ends ten seconds after `T0`, so that nearly every job has two.
ZONE = timezone(timedelta(seconds=8 * 3600 - 10))
LATE = T0 + 86_400.0
RATES = priced()
FACTS = (tables.usage, tables.records, tables.journal, tables.progress, tables.runs)

Told = Delivery | Record

_examples = count()
_facts = st.builds(
    facts,
    seen=st.integers(1, 60).map(lambda second: float(T0 + second)),
    state=st.sampled_from(("PENDING", "RUNNING", "COMPLETED", "REQUEUED")),
    started=st.one_of(st.none(), st.sampled_from((T0 - 5.0, T0 + 5.0))),
    ended=st.one_of(st.none(), st.sampled_from((T0 + 12.0, T0 + 30.0))),
    devices=st.sampled_from((None, 1.0, 2.0)),
    user=st.sampled_from(("ada", "bob")),
    whole=st.sampled_from(("", "run-1")),
)
_keys = st.tuples(st.sampled_from(("run-1", "run-2")), st.sampled_from((T0 - 60, T0 - 30)))
_moments = st.sampled_from((None, None, T0 - 3600.0, T0 + 20.0, LATE, LATE + 4e7))


def tell(store: Store, told: Told) -> None:
    """Post one telling, as a pass does."""
    with store.writing() as connection:
        if isinstance(told, Delivery):
            writing.post(connection, read(told), told.origin)
        else:
            post_records(connection, [told])


def of_cluster(told: Told, cluster: str) -> Told:
    """The same, told of another cluster."""
    if isinstance(told, Delivery):
        return replace(told, cluster=cluster)
    return replace(told, key=told.key._replace(cluster=cluster))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_any_interleaving_of_telling_and_charging_is_the_same_ledger(store: Store, data: st.DataObject) -> None:
    """Duplicates, late data, two origins of the same rows, and passes of a new process at any moment between."""
    number = next(_examples)
    plain, mixed = f"plain-{number}", f"mixed-{number}"
    seen = [each for stream in data.draw(streams(plain)) for each in stream]
    told: list[Told] = [*seen, *(replace(each, origin="http://another") for each in seen[::2])]
    records = data.draw(st.lists(st.tuples(_keys, _facts), max_size=6))
    told += [Record(RecordId(plain, *key), its) for key, its in records]
    for each in told:
        tell(store, each)
    catch_up(store, plain, Tariffs(RATES, ZONE), LATE)
    again = data.draw(st.lists(st.sampled_from(told), max_size=4))

    for each in data.draw(st.permutations(told + again)):
        tell(store, of_cluster(each, mixed))
        now = data.draw(_moments)
        if now is not None:
            catch_up(store, mixed, Tariffs(RATES, ZONE), now)
            check_days(store, mixed)
    catch_up(store, mixed, Tariffs(RATES, ZONE), LATE)

    check_days(store, mixed)
    assert [rows(store, table, plain) for table in FACTS] == [rows(store, table, mixed) for table in FACTS]
    assert totals(store, plain) == totals(store, mixed)


def test_an_id_that_was_a_part_of_one_job_and_another_job_keeps_both_charges(store: Store) -> None:
    """Charging the one whole finds the id by it, and must not take what the id came to by itself for gone."""
    part = record("9", whole="8", started=float(T0), ended=T0 + 60.0, submitted=T0 - 60)
    alone = record("9", started=T0 + 3600.0, ended=T0 + 3660.0, submitted=T0 + 3000)
    whole = record("8", started=float(T0), ended=T0 + 60.0, submitted=T0 - 60)
    for each in (part, alone, whole, whole):
        tell(store, each)
        catch_up(store, "default", Tariffs(RATES, ZONE), LATE)

    assert [("8", T0), ("9", T0), ("9", T0 + 3600)] == sorted(key[:2] for key in totals(store))
    check_days(store)


def test_submissions_that_began_in_one_second_are_charged_both(store: Store) -> None:
    """In whichever order they are told."""
    told = [record("9", started=float(T0), ended=T0 + 60.0, submitted=T0 - before) for before in (60, 30)]
    for each in (*told, told[0]):
        tell(store, each)
        catch_up(store, "default", Tariffs(RATES, ZONE), LATE)

    assert [("9", T0), ("9", T0 + 1)] == sorted(key[:2] for key in totals(store))
    assert {120.0} == {sums["charged_seconds"].expected for sums in totals(store).values()}
    check_days(store)
