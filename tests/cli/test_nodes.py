"""`gpuwatch nodes` as people read it."""

from __future__ import annotations

import pytest

from gpuwatch.cli.nodes import _lines
from gpuwatch.ledger.measured_nodes import NodeMeasured


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (NodeMeasured("c", "gw1", None, 0.0, 3600.0), "no agent"),
        (NodeMeasured("c", "gw1", 90.0, 3600.0, 3600.0), "its agent was away, or did not see these jobs"),
        (NodeMeasured("c", "gw1", 90.0, 3600.0, 0.0, 3600.0), "its devices could not be read"),
    ],
)
def test_why_it_is_not_measured_is_said(node: NodeMeasured, why: str) -> None:
    """Once for each node."""
    assert _lines((node,), 100.0, 7.0)[1].endswith(why)


def test_clusters_are_told_apart_where_there_are_several() -> None:
    """By name, behind the node's."""
    found = _lines((NodeMeasured("a", "gw1", 40.0), NodeMeasured("b", "gw1", 40.0)), 100.0, 7.0)

    assert ["gw1 (a)", "gw1 (b)"] == [line[:7] for line in found[1:3]]
    assert ["No such node: all that ran is measured, or nothing ran."] == _lines((), 100.0, 7.0)
