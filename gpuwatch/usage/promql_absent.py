"""Nodes that are not heard: their samples may come late, all at once, from a server that could not write. Pure.

A window that is taken is not read again. So the mark remembers which nodes were missing and since when (Unix
seconds), and once one is heard again, everything since then is read once more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

MOST = 20_000
KEPT_SECONDS = 7 * 86_400.0
"""Which is not heard for longer is gone."""

Absent = Mapping[str, int]


def read(state: str | None) -> Absent:
    """What a mark's state says; nothing where it says something else."""
    try:
        told = json.loads(state or "{}")
    except ValueError:
        return {}
    return {str(node): at for node, at in told.items() if type(at) is int} if isinstance(told, dict) else {}


def written(absent: Absent) -> str | None:
    """The state of a mark."""
    return json.dumps(absent, separators=(",", ":")) if absent else None


def returned(absent: Absent, heard: Mapping[str, float], begin: float) -> int | None:
    """Since when to read again, as somebody is heard after `begin` who was absent; None where nobody is."""
    return min((at for node, at in absent.items() if heard.get(node, 0.0) > begin), default=None)


def absent_after(absent: Absent, heard: Mapping[str, float], begin: float, end: float) -> Absent:
    """Who is missing at `end`: those who were and were not heard after `begin`, and those who fell silent."""
    found = {node: at for node, at in absent.items() if heard.get(node, 0.0) <= begin}
    found |= {node: int(at) for node, at in heard.items() if at <= begin and node not in found}
    latest = sorted((at, node) for node, at in found.items() if at > end - KEPT_SECONDS)[-MOST:]
    return {node: at for at, node in latest}
