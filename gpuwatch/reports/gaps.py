"""Why energy is missing, in words that name no node and no device: a statement is for people outside. Pure."""

from __future__ import annotations

from collections import defaultdict

from gpuwatch.ledger.quality import Gap, Quality

_REASONS = (
    ("no agent", "no agent on the node, or none that saw the job"),
    ("agents were away", "agents were away, or did not see all devices"),
    ("no measurement of", "the device could never be read"),
    ("the agent was away", "the agent was away, or could not read the device for a time"),
    ("no energy to be read", "the device has neither an energy counter nor a power reading"),
    ("the energy of", "energy could not be read all of the time"),
    ("the batch system does not say", "the batch system does not say how many devices a job had"),
)
_OTHER = "other reasons"


def gaps_of(quality: Quality | None) -> tuple[Gap, ...]:
    """The reasons with their device-seconds, the most first; None where nobody knows how many."""
    found: dict[str, list[float | None]] = defaultdict(list)
    for gap in quality.energy.gaps if quality is not None else ():
        found[_reason(gap.why)].append(gap.seconds)
    gaps = (Gap(why, _sum(seconds)) for why, seconds in found.items())
    return tuple(sorted(gaps, key=lambda gap: (-(gap.seconds or 0.0), gap.why)))


def _reason(why: str) -> str:
    # `node gw2 has no agent` begins with a name, which could be any word.
    if why.endswith(("has no agent", "have no agent")):
        return _REASONS[0][1]
    return next((general for begin, general in _REASONS if why.startswith(begin)), _OTHER)


def _sum(seconds: list[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return sum(known) if known else None
