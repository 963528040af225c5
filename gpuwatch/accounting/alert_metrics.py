"""What becomes of alerts, for /metrics: those observed, how often kinds were right, and what people did. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from gpuwatch import hygiene
from gpuwatch.accounting.alert_record import Record
from gpuwatch.accounting.shown import labels_of
from gpuwatch.ledger.letter_store import To
from gpuwatch.model import Alert, Metric, Scope
from gpuwatch.notifiers.kinds import kind_of

Series = tuple[Metric, tuple[str, ...], float]

LETTERS_SECONDS = 7 * 86_400.0
"""The time that letters are counted over."""

OBSERVED = Metric(
    "gpuwatch_alert_observed",
    "1 for each active alert that is told to nobody: no rule of the alert policy tells it.",
    ("kind", "scope_kind", "scope", "quantity", "severity"),
)
RIGHT = Metric(
    "gpuwatch_alert_right_ratio",
    "Part of the alerts of a kind that were right, of those of 90 days of which that is known; facts have none.",
    ("kind",),
)
JUDGED = Metric(
    "gpuwatch_alert_judged", "Alerts of a kind in 90 days of which it is known whether they were right.", ("kind",)
)
MUTED = Metric("gpuwatch_alert_muted_ratio", "Part of the alerts of 90 days that were muted.")
ACTED = Metric(
    "gpuwatch_alert_acted_ratio",
    "Part of the alerts told in 90 days upon which somebody acted: cancelled, declared anew, acknowledged.",
)
LETTERS = Metric(
    "gpuwatch_alert_letters_per_person_week",
    "Letters of the last 7 days, of people who got any: the mean and the most to one (statistic).",
    ("statistic",),
)
CATALOGUE = (OBSERVED, RIGHT, JUDGED, MUTED, ACTED, LETTERS)
"""What is exported of alerts beside those that are told; ratios of nothing are absent."""

_PERSON = "user:"


def series(
    observed: Collection[Alert], record: Record, letters: Mapping[To, int], shown: Collection[Scope]
) -> Iterator[Series]:
    """All of it; alerts of scopes that are exported, and of the cluster itself: never those of accounts."""
    for alert in observed:
        if alert.scope in shown or alert.scope.kind == "cluster":
            labels = (hygiene.label(alert.kind), *labels_of(alert.scope), alert.quantity, alert.severity)
            yield OBSERVED, labels, 1.0
    yield from _record(record)
    yield from _letters(letters)


def _record(record: Record) -> Iterator[Series]:
    for kind, tally in record.by_kind.items():
        if not kind_of(kind).fact:
            yield JUDGED, (hygiene.label(kind),), float(tally.judged)
            if tally.right_ratio is not None:
                yield RIGHT, (hygiene.label(kind),), tally.right_ratio
    raised = sum(tally.raised for tally in record.by_kind.values())
    told = sum(tally.told for tally in record.by_kind.values())
    if raised:
        yield MUTED, (), sum(tally.muted for tally in record.by_kind.values()) / raised
    if told:
        yield ACTED, (), sum(tally.acted for tally in record.by_kind.values()) / told


def _letters(letters: Mapping[To, int]) -> Iterator[Series]:
    by_person: Counter[str] = Counter()
    for to, number in letters.items():
        if to.recipient.startswith(_PERSON):
            by_person[to.recipient] += number
    if by_person:
        yield LETTERS, ("mean",), by_person.total() / len(by_person)
        yield LETTERS, ("most",), float(max(by_person.values()))
