"""Which nodes are measured, by what was charged on them."""

from __future__ import annotations

from gpuwatch.ledger.measured_nodes import measured_nodes
from tests.ledger import made


def test_what_no_agent_saw_is_its_nodes() -> None:
    """A job of two nodes, of which one was seen."""
    seen = made.line(made.used({"working": 1000.0}), node="gw0")
    job = made.job(made.run([seen], allocated_seconds=2000.0), nodes=("gw0", "gw9"))

    first, second = measured_nodes([job], {("default", "gw0"): 5.0})

    assert ("gw9", None, 1000.0, 0.0) == (first.node, first.heard, first.unmeasured_seconds, first.coverage)
    assert ("gw0", 5.0, 0.0, 1.0) == (second.node, second.heard, second.unmeasured_seconds, second.coverage)


def test_what_could_not_be_read_is_not_measured_either() -> None:
    """The agent saw the device, and nothing of it."""
    blind = made.line(made.used({"unknown": 600.0, "working": 400.0}))

    (found,) = measured_nodes([made.job(made.run([blind]))], {})

    assert (600.0, 0.0, 0.4) == (found.unread_seconds, found.unseen_seconds, found.coverage)


def test_nodes_that_ran_nothing_are_there_without_a_part() -> None:
    """Nobody can say what of nothing is measured."""
    (idle,) = measured_nodes([], {("default", "gw5"): 7.0})

    assert (7.0, None, 0) == (idle.heard, idle.coverage, len(idle.jobs))


def test_what_several_blind_nodes_held_is_dealt_out() -> None:
    """Nobody knows which of them had how much; together it is what is missing."""
    job = made.job(made.run((), allocated_seconds=900.0), nodes=("a", "b", "c"))

    found = measured_nodes([job], {})

    assert [300.0] * 3 == [each.unseen_seconds for each in found]
