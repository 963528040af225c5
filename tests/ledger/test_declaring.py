"""Declarations and refusals that accounting itself keeps, in each of the databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, func, select

from gpuwatch.errors import DeclarationError, Forbidden, Unavailable
from gpuwatch.ledger import refusals, tables
from gpuwatch.ledger.audience import EVERYTHING, Audience
from gpuwatch.ledger.declaring import Declarer, admitted, declared_for, keep, stored
from gpuwatch.ledger.ledger import NOT_STARTED, JournalEntry
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.refusals import Refusal
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.writing import post_declaration
from gpuwatch.model import Scope
from gpuwatch.schedulers.base import Record
from tests.ledger.batch import T0, pending, running

NOW = 1_764_000_000.0


def entry(text: str = "device-hours=1 for=campaign:llama") -> JournalEntry:
    """A declaration by API."""
    return JournalEntry(NOW, None, NOT_STARTED, "api", 1000, None, text, "ada")


def refusal(text: str = "device-hours=1 for=job:7", cluster: str = "default", who: str = "eve") -> Refusal:
    return Refusal(cluster, NOW, who, 1004, "socket", text, "is not yours")


def somebody(name: str = "eve", uid: int = 1004, *, staff: bool = False) -> Declarer:
    """A user of no account."""
    own = Audience(False, "default", name, uid)
    return Declarer(name, uid, "socket", own, EVERYTHING if staff else own, staff)


def test_each_declaration_has_a_number_of_its_own(store: Store) -> None:
    """However many accountings take one at once, and whatever an agent is called."""

    def keep(_: int) -> int:
        with store.writing() as connection:
            return post_declaration(connection, "default", entry()).seq

    with ThreadPoolExecutor(4) as several:
        numbers = sorted(several.map(keep, range(12)))

    assert [*range(1, 13)] == numbers
    with store.reading() as connection:
        assert 12 == connection.scalar(select(func.count()).select_from(tables.journal))
        found = declared_for(connection, somebody(staff=True), Scope("campaign", "llama"), NOW)
    assert found is not None and 12 == len(found.revisions)


def test_every_accounting_keeps_declarations(store: Store) -> None:
    """One that does not lead too: what it is told, no other is told."""

    def closed(_: Connection) -> None:
        raise Unavailable("another leads")

    store.fence(closed)
    try:
        with pytest.raises(Unavailable), store.writing() as connection:
            post_declaration(connection, "default", entry())
        with store.writing(fenced=False) as connection:
            assert 1 == post_declaration(connection, "default", entry()).seq
    finally:
        store.fence(None)


def test_the_newest_refusals_are_kept(store: Store) -> None:
    """A cluster's own number of them; what is long is cut, what cannot be shown is replaced."""
    with store.writing() as connection:
        for number in range(5):
            refusals.keep(connection, refusal(f"{number}\0\u202e" + "x" * 5000), 3)
        refusals.keep(connection, refusal("elsewhere", cluster="other"), 3)

    with store.reading() as connection:
        found = refusals.refusals(connection, "default", 10)
        assert ["elsewhere"] == [each.text for each in refusals.refusals(connection, "other", 10)]
        assert [] == [*refusals.refusals(connection, "default", 10, "ada")]
        assert 2 == len(refusals.refusals(connection, "default", 2, "eve"))
    assert ["4", "3", "2"] == [each.text[0] for each in found]
    assert all(len(each.text) <= 1000 and each.text.isprintable() for each in found)


def test_who_is_refused_often_pushes_out_his_own_refusals(store: Store) -> None:
    """Those of others stay."""
    with store.writing() as connection:
        for number, who in enumerate(("ada", "eve", "eve", "eve", "bob", "eve")):
            refusals.keep(connection, refusal(str(number), who=who), of_one=2)

    with store.reading() as connection:
        found = refusals.refusals(connection, "default", 10)
    assert [("5", "eve"), ("4", "bob"), ("3", "eve"), ("0", "ada")] == [(each.text, each.who) for each in found]


def test_what_is_declared_from_outside_says_for_what(store: Store) -> None:
    """Membership and tags are the job's own word."""
    with store.reading() as connection:
        for text in ("wall=1h", "wall=1h campaign=x for=job:7", "wall=1h tag=a:b for=job:7", "wall=1h for=x"):
            with pytest.raises(DeclarationError):
                admitted(connection, somebody(staff=True), text, NOW)


def test_what_there_is_not_only_staff_is_told(store: Store) -> None:
    """A campaign begins with who declares for it first."""
    with store.reading() as connection:
        assert None is admitted(connection, somebody(staff=True), "wall=1h for=job:7", NOW)
        with pytest.raises(Forbidden, match="there is none of that name, or it is not yours"):
            admitted(connection, somebody(), "wall=1h for=job:7", NOW)
        with pytest.raises(Forbidden, match="its coordinators and admins may"):
            admitted(connection, somebody(), "wall=1h for=account:ml", NOW)
        new = admitted(connection, somebody(), "wall=1h for=campaign:new", NOW)
        assert None is declared_for(connection, somebody(), Scope("campaign", "new"), NOW)
    assert new is not None and "wall=1h for=campaign:new" == new.entry.text


@pytest.mark.parametrize(
    ("meanwhile", "in_force"),
    [
        (running("12", submitted=T0 - 5, started=NOW + 1, seen=NOW + 2), True),
        (pending("12", submitted=T0 - 5, state="CANCELLED", ended=NOW + 1, seen=NOW + 2), False),
    ],
)
def test_a_job_may_leave_the_queue_while_somebody_declares_for_it(
    store: Store, meanwhile: Record, in_force: bool
) -> None:
    """A pass may have the ledger between the reading and the writing."""
    with store.writing() as connection:
        post_records(connection, [pending("12", submitted=T0 - 5)])
    with store.reading() as connection:
        may = admitted(connection, somebody("ada"), "device-hours=1 for=job:12", NOW)
    assert may is not None
    with store.writing() as connection:
        post_records(connection, [meanwhile])
        post_declaration(connection, "default", may.entry)

    with store.reading() as connection:
        (revision,) = stored(connection, may, NOW + 3).revisions

    assert (3600.0, "user:ada", in_force) == (
        revision.estimate.likely, revision.estimate.declared_by, revision.in_force,
    )  # fmt: skip


def test_a_name_is_one_person_on_one_cluster_only(store: Store) -> None:
    """What another cluster's user of that name declared for a campaign is not read."""
    with store.writing() as connection:
        post_declaration(connection, "other", entry())

    with store.reading() as connection:
        assert None is declared_for(connection, somebody("ada"), Scope("campaign", "llama"), NOW)
        with pytest.raises(Forbidden):
            admitted(connection, somebody("ada"), "wall=1h for=campaign:llama", NOW)
        assert None is not declared_for(connection, somebody(staff=True), Scope("campaign", "llama"), NOW)


def test_of_two_who_begin_a_campaign_at_once_one_is_first(store: Store) -> None:
    """The other is refused, and nothing of his is kept."""
    both = (somebody("ada", 1000), somebody("eve"))
    with store.reading() as connection:
        may = [admitted(connection, who, "wall=1h for=campaign:new", NOW) for who in both]

    def begin(number: int) -> bool:
        found = may[number]
        assert found is not None
        try:
            with store.writing() as connection:
                keep(connection, both[number], found)
        except Forbidden:
            return False
        return True

    with ThreadPoolExecutor(2) as several:
        kept = list(several.map(begin, range(2)))

    assert 1 == kept.count(True)
    with store.reading() as connection:
        (first,) = connection.scalars(select(tables.journal.c.who))
    assert both[kept.index(True)].name == first
