"""The statement of the job that was reckoned by hand (`tests/ledger/test_by_hand.py`), in all formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gpuwatch.ledger.charges import date_of
from gpuwatch.ledger.store import Store
from gpuwatch.reports.document import document
from gpuwatch.reports.html import html
from gpuwatch.reports.markdown import markdown
from gpuwatch.reports.statement import Group, Statement
from tests.ledger import test_by_hand as by_hand
from tests.ledger.test_by_hand import LATER, at, charged  # noqa: F401
from tests.reports.made import made

HOUR, KWH = 3600.0, 3.6e6
SAID: dict[str, Any] = {"author": "Ada", "licence": "CC-BY-4.0", "purpose": "a test", "flop": 2e19}


@pytest.fixture
def statement(charged: Store) -> Statement:  # noqa: F811
    """Of the whole job."""
    return made(charged, LATER, **SAID)


def figures(group: Group) -> tuple[float, ...]:
    """Hours, kWh of devices and of the facility, euros and grams, to the ninth digit."""
    amounts = (
        group.device_seconds / HOUR, (group.device_energy.value or 0) / KWH,
        (group.facility_energy.value or 0) / KWH, group.cost.get("EUR", 0.0), group.carbon.value or 0.0,
    )  # fmt: skip
    return tuple(round(each, 9) for each in amounts)


def test_the_whole_is_what_was_reckoned_by_hand(statement: Statement) -> None:
    """The table in `tests/ledger/test_by_hand.py`, its PUE being 1.25."""
    assert (20.0, 9.34, 11.675, 41.4, 3755.0) == figures(statement.total)
    assert {
        "completed": (4.0, 2.4, 3.0, 10.0, 600.0), "requeued": (16.0, 6.94, 8.675, 31.4, 3155.0),
    } == {group.name: figures(group) for group in statement.outcomes}  # fmt: skip
    assert [2, 1] == [group.count for group in reversed(statement.outcomes)]
    assert (15 * HOUR, 76 * HOUR, 2.0) == (
        statement.run_wall_seconds, statement.wall_seconds, statement.devices_at_once,
    )  # fmt: skip


def test_months_are_what_was_reckoned_by_hand(charged: Store) -> None:  # noqa: F811
    """January and February add up to the whole; the job's declared figures are not held against a part."""
    january = made(charged, LATER, begins=at(1, 0), ends=at(1, 0, month=2))
    february = made(charged, LATER, begins=at(1, 0, month=2), ends=at(1, 0, month=3))

    assert (round(12 + 4 / 7, 9), 5.68, 7.1, 24.8, 2840.0) == figures(january.total)
    assert (round(7 + 3 / 7, 9), 3.66, 4.575, 16.6, 915.0) == figures(february.total)
    days = [[str(date_of(day.number)) for day in each.days] for each in (january, february)]
    assert [["2026-01-30", "2026-01-31"], ["2026-02-01", "2026-02-02", "2026-02-03"]] == days
    assert january.id != february.id


def test_bounds_are_those_of_the_sensor(statement: Statement) -> None:
    """All was measured: 5 % either way, and money is counted."""
    energy = statement.total.device_energy
    bounds = [energy.low, energy.value, energy.high]
    assert [pytest.approx(each * 9.34 * KWH) for each in (0.95, 1.0, 1.05)] == bounds
    assert "sensor ±5 %" == energy.why
    assert statement.cost["EUR"].low == statement.cost["EUR"].high == pytest.approx(41.4)
    assert 1.0 == statement.total.covered_ratio


def test_utilization_is_flop_over_what_devices_could_have_done(statement: Statement) -> None:
    """Nineteen hours of an H100 at 989 TFLOP/s and one of an A100 at 312, of which a seventh is held for seven."""
    could = (19 * 989e12 + 1 * 312e12) * HOUR

    assert pytest.approx(2e19 / could) == statement.computed.utilization
    assert statement.computed.assumed


def test_every_identity_is_checked_and_the_impossible_slice_is_found(statement: Statement) -> None:
    """A seventh of an A100 drew 70 W by hand, which is 490 W for a board of 400 W: no board does."""
    (found,) = statement.lint.findings

    assert ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "mean power within the board's") == (found.row, found.identity)
    assert pytest.approx(490 / 400) == found.factor
    assert 13 == sum(each.verdict == "holds" for each in statement.lint.checks)


def test_the_statement_in_every_format(statement: Statement, golden: Callable[[str, str], None]) -> None:
    """Review the difference when it changes: others compare their papers with it."""
    golden("statement.md", markdown(statement))
    golden("statement.html", html(statement))
    golden("statement.json", json.dumps(document(statement), indent=1, ensure_ascii=False) + "\n")


def test_it_is_the_same_again(charged: Store) -> None:  # noqa: F811
    """Made later of the same rows: id and digest stay."""
    first, again = made(charged, LATER, **SAID), made(charged, LATER + 86_400, **SAID)

    assert (first.id, first.digest) == (again.id, again.digest)
    assert by_hand.LATER == first.made
