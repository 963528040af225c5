"""What may be asked of the ledger's figures: which time, in which groups, for whose eyes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, tzinfo

from gpuwatch.ledger.groups import Groups
from gpuwatch.ledger.periods import By
from gpuwatch.model import EMPTY

Visible = Callable[[str, str, str], bool]
"""Whether somebody may see what belongs, in a cluster, to a user and an account."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: groups of the time [begins, ends), Unix seconds, with days as they are in `zone`.

    `groups` is the site's identity map, for `by="group"`. `edition` asks for figures as they were before later
    restatements.
    """

    by: By
    begins: float = 0.0
    ends: float = float("inf")
    zone: tzinfo = UTC
    now: float = 0.0
    groups: Groups = EMPTY
    visible: Visible | None = None
    edition: int | None = None
