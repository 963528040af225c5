"""Telling: what changed until it is taken, and to those who ask for it all that is active."""

from __future__ import annotations

import pytest

from gpuwatch.accounting.alert_policy import load_policy
from gpuwatch.accounting.outbox import Outbox
from gpuwatch.errors import Unavailable
from gpuwatch.ledger import alert_store
from gpuwatch.ledger.alert_store import Noted, Standing
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert, Scope
from gpuwatch.notifiers.base import Change
from tests.accounting.fakes import FakeNotifier, FakeRenewing

NOW = 1_764_000_000.0
ALL = load_policy(None, ["*"])
ALERT = Alert("projected", Scope("job", "1"), "energy", "warning", NOW, 7.2e6, 3.6e6, "job 1 needs more")


def raised(store: Store, *notifiers: str) -> None:
    with store.writing() as connection:
        noted = Noted(Change("raised", ALERT), "told", notifiers)
        alert_store.save(connection, "default", [Standing(ALERT)], [noted], NOW)


def test_what_is_active_is_told_before_what_changed(store: Store) -> None:
    """Whoever has it already need not be told again; it holds for four passes."""
    fake = FakeRenewing()
    raised(store, "fake")

    told = Outbox(store, "default", {"fake": fake}, 60.0).tell([ALERT], ALL, NOW)

    assert [((ALERT,), NOW, NOW + 240.0), ["raised"]] == fake.calls
    assert ({"fake": 0}, {("fake", "sent"): 1}, True) == (told.waiting, told.outcomes, told.everybody)


def test_what_is_active_is_told_in_every_pass(store: Store) -> None:
    """Also where nothing changed and where nothing is: then it is over."""
    fake = FakeRenewing()
    outbox = Outbox(store, "default", {"fake": fake}, 60.0)

    outbox.tell([ALERT], ALL, NOW)
    outbox.tell([], ALL, NOW + 60.0)

    assert [((ALERT,), NOW, NOW + 240.0), ((), NOW + 60.0, NOW + 300.0)] == fake.calls


def test_passes_that_follow_each_other_closely_hold_for_a_minute(store: Store) -> None:
    """One of them may take longer than the interval."""
    fake = FakeRenewing()

    Outbox(store, "default", {"fake": fake}, 5.0).tell([], ALL, NOW)

    assert [((), NOW, NOW + 60.0)] == fake.calls


def test_what_went_wrong_with_renewing_is_counted(store: Store) -> None:
    """And the pass was not all well."""
    told = Outbox(store, "default", {"fake": FakeRenewing(wrong={"refused": 2})}, 60.0).tell([ALERT], ALL, NOW)

    assert ({("fake", "refused"): 2}, False) == (told.outcomes, told.everybody)


@pytest.mark.parametrize("answer", [False, Unavailable("no answer")])
def test_one_that_does_not_answer_leaves_the_others_alone(store: Store, answer: bool | Unavailable) -> None:
    """Its own waits in the ledger."""
    deaf, hearing = FakeNotifier(answer), FakeNotifier()
    raised(store, "deaf", "hearing")

    told = Outbox(store, "default", {"deaf": deaf, "hearing": hearing}, 60.0).tell([ALERT], ALL, NOW)

    assert ({"deaf": 1, "hearing": 0}, False) == (told.waiting, told.everybody)
    assert ["raised"] == [change.what for change in hearing.told]
