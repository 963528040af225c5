"""What trying out a place that gpuwatch talks to, or a source that it reads, came to."""

from __future__ import annotations

from typing import NamedTuple


class Probe(NamedTuple):
    """One thing that was tried: `what` in a few words, whether it works, what there is, what to do if not."""

    what: str
    ok: bool
    detail: str
    todo: str = ""
