"""What jobs came to that ended: what there is to know of their like, while one runs. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """One ended job: `final` is in device-seconds, `wall` in seconds from its first start to its end.

    `name` has `#` for each number in it, `batch` names what was submitted together. `declared` is what was
    declared for it, in device-seconds, before a tenth of its run; None: nothing. `cut` says that its time limit
    or somebody ended it, or that nobody heard how it ended: it would have come to `final` or more. `joules` is
    None where not nearly all was measured. `projected` is what its burn-up said, in device-seconds, as it first
    came into each bucket of progress (`forecast.burnup`).
    """

    user: str
    account: str
    name: str
    batch: str
    declared: float | None
    final: float
    ended: float
    cut: bool
    joules: float | None = None
    wall: float = 0.0
    projected: tuple[tuple[int, float], ...] = ()
