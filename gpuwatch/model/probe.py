"""What trying out a place that gpuwatch talks to came to."""

from __future__ import annotations

from typing import NamedTuple


class Probe(NamedTuple):
    """One thing that was tried: `what` in a few words, whether it works, and what there is or what to do."""

    what: str
    ok: bool
    detail: str
