"""The order in which tests are handed out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import pytest

from tests.running_order import LONGEST, spread


@dataclass(frozen=True)
class Item:
    """A test, as far as its place is concerned."""

    nodeid: str
    group: str = ""
    waits: bool = False

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        marks = [pytest.mark.xdist_group(self.group)] if self.group else []
        marks += [pytest.mark.integration] if self.waits else []
        return next((each.mark for each in marks if each.name == name), None)

    @property
    def unit(self) -> str:
        return self.group or self.nodeid.partition("::")[0]


ITEMS = [
    *(Item(f"tests/test_{module}.py::test_{number}") for module in range(20) for number in range(3)),
    *(Item(f"tests/test_server_{module}.py::test_it", waits=True) for module in range(5)),
    *(
        Item(f"tests/test_shared_{number % 3}.py::test_{number}", group="shared", waits=True)
        for number in range(6)
    ),
    *(Item("tests/test_longest.py::test_it", group=group, waits=True) for group in LONGEST[:2]),
]


def test_no_test_is_left_out_or_run_twice() -> None:
    """What is ordered is what was found."""
    assert sorted(item.nodeid for item in ITEMS) == sorted(item.nodeid for item in spread(ITEMS))


def test_what_is_handed_out_together_stays_together() -> None:
    """Groups over modules, and modules without a group, in the order that they had."""
    units = [unit for unit, _ in groupby(spread(ITEMS), key=lambda item: item.unit)]

    assert len(set(units)) == len(units)
    assert [item for item in ITEMS if item.group == "shared"] == [
        item for item in spread(ITEMS) if item.group == "shared"
    ]


def test_the_longest_are_first_and_what_waits_is_not_at_the_end() -> None:
    """Between two that wait there is something to compute."""
    order = spread(ITEMS)
    waiting = [number for number, item in enumerate(order) if item.waits]

    assert list(LONGEST[:2]) == list(dict.fromkeys(item.group for item in order if item.group in LONGEST))
    assert LONGEST[0] == order[waiting[0]].group
    assert not order[-1].waits
    assert waiting[-1] < 0.8 * len(order)
    assert not all(order[number].waits for number in range(waiting[0], waiting[-1] + 1))
