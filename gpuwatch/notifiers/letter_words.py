"""Single words and sentences of letters: what an alert is called, how many there are, what is worst. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from gpuwatch import hygiene
from gpuwatch.model import Alert
from gpuwatch.notifiers.base import Change, Letter
from gpuwatch.notifiers.kinds import KINDS, kind_of

SUBJECT_LENGTH = 120
NAME_LENGTH = 40
LINE_LENGTH = 600

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_JOBS = ("job", "array")
_QUANTITIES = {"wall": "wall time", "facility-energy": "facility energy"}
_MORE = "more than declared"
_MANY = 3.0
"""From so many times what was declared on, times are easier to grasp than percents."""

_PLURAL = {
    "holds": "hold", "does": "do", "has": "have", "makes": "make", "is": "are", "uses": "use", "runs": "run",
    "spins": "spin", "its": "their",
}  # fmt: skip
_BEGINS = frozenset({*_PLURAL, "will", "used"})


def clean(text: str, limit: int = LINE_LENGTH) -> str:
    """What others wrote, on one line and not too long; addresses in it cannot be clicked on."""
    return re.sub(r"(?i)\b(www)\.", r"\1[.]", hygiene.text(text, limit).replace("://", "[:]//"))


def moment(time: float, form: str = "%a %d %b %Y, %H:%M UTC") -> str:
    """A time as people read it, in UTC; empty where it is none."""
    if not math.isfinite(time) or not 0.0 < time < 32_503_680_000.0:
        return ""
    return datetime.fromtimestamp(time, UTC).strftime(form)


def number(count: int) -> str:
    """A count, in groups of three digits."""
    return f"{count:,}"


def name_of(alert: Alert, length: int = NAME_LENGTH) -> str:
    """What it is about: kind and name, and what its owner calls it."""
    scope = f"{clean(alert.scope.kind, 20)} {clean(alert.scope.name, length)}"
    called = clean(alert.concern.name, length)
    return f"{scope} ({called})" if called and alert.concern.name != alert.scope.name else scope


def said_of(alert: Alert) -> str:
    """What there is to say of it, with the number where the kind has one."""
    heading = kind_of(alert.kind).heading
    if _MORE in heading:
        how_much = _ratio(alert.value, alert.declared)
        of = _QUANTITIES.get(alert.quantity, clean(alert.quantity, 20))
        return heading.replace(_MORE, " ".join(filter(None, (*how_much[:1], of, *how_much[1:]))))
    if alert.kind == "limit" and 0.0 < alert.value <= 1.0:
        return f"{heading} ({100 * alert.value:.0f} % likely)"
    return heading


def said_of_one(change: Change, room: int = LINE_LENGTH) -> str:
    """What there is to say of an alert in a few words, with its name."""
    if change.what == "resolved":
        # No number: it is the one that was, and no longer so.
        begin, end = "over for ", f": {kind_of(change.alert.kind).heading}"
    else:
        begin, end = "worse: " if change.what == "changed" else "", f" {said_of(change.alert)}"
    # The numbers stay; what is too long is the name.
    for length in (NAME_LENGTH, 20, 10):
        text = f"{begin}{name_of(change.alert, length)}{end}"
        if len(text) <= room:
            return text
    return clean(text, room)


def plural(heading: str) -> str:
    """A heading as it is said of several."""
    return " ".join(_PLURAL.get(word, word) for word in heading.split())


def counted(kind: str, count: int) -> str:
    """How many alerts of a kind there are, and what they are about."""
    heading = kind_of(kind).heading
    if heading.split()[0] not in _BEGINS:
        return heading if count == 1 else f"{heading} ({number(count)})"
    return f"{number(count)} {heading if count == 1 else plural(heading)}"


def place_of(kind: str) -> int:
    """Where alerts of a kind stand in a letter."""
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


def subject_of(letter: Letter, prefix: str) -> str:
    """The most important thing in one line of at most `SUBJECT_LENGTH` characters."""
    room = SUBJECT_LENGTH - len(prefix) - 2
    alone = len(letter.changes) == 1 and not letter.more
    text = said_of_one(letter.changes[0], room) if alone else _of_several(letter, room)
    return f"{prefix}: {text}" if prefix else text


def whose(letter: Letter) -> str:
    """Whose alerts they are, as in "3 alerts about your jobs"."""
    kind, _, name = letter.recipient.partition(":")
    if kind == "user":
        only_jobs = all(change.alert.scope.kind in _JOBS for change in letter.changes)
        return " about your jobs" if only_jobs else " about your work"
    return f" about account {clean(name, 30)}" if kind == "account" else ""


def safe_scope(changes: Sequence[Change]) -> str:
    """The scope of the first alert that may be copied into a shell as it is; empty where there is none."""
    scopes = (change.alert.scope for change in changes if change.what != "resolved")
    return next((str(scope) for scope in scopes if is_plain(scope.name)), "")


def is_plain(name: str) -> bool:
    """Whether a name is one word to a shell, and no option."""
    return _SAFE_NAME.fullmatch(name) is not None


def _of_several(letter: Letter, room: int) -> str:
    news = [change for change in letter.changes if change.what != "resolved"]
    over = len(letter.changes) - len(news)
    total = len(news) + letter.more
    about = whose(letter)
    if not total:
        return f"{number(over)} alerts{about} are over"
    begin = f"{number(total)} alert{'s' if total > 1 else ''}{about}"
    if letter.more:
        # The kinds of those left out are not known.
        first = said_of_one(letter.changes[0], room - len(begin) - 18)
        return clean(f"{begin}, first of all: {first}", room)
    end = f"; {number(over)} {'are' if over > 1 else 'is'} over" if over else ""
    if total == 1:
        return said_of_one(news[0], room - len(end)) + end
    return _joined(begin, list(_counts(change.alert for change in news)), end, room)


def _counts(active: Iterable[Alert]) -> Iterator[str]:
    counts = Counter(alert.kind for alert in active)
    for kind in sorted(counts, key=lambda kind: (place_of(kind), kind)):
        yield counted(kind, counts[kind])


def _joined(begin: str, parts: Sequence[str], end: str, room: int) -> str:
    """As many of the parts as there is room for."""
    for count in range(len(parts), 0, -1):
        rest = ", and others" if count < len(parts) else ""
        text = f"{begin}: {', '.join(parts[:count])}{rest}{end}"
        if len(text) <= room:
            return text
    return clean(begin + end, room)


def _ratio(value: float, declared: float) -> tuple[str, ...]:
    """By how much it is more, before and behind the name of the quantity."""
    ratio = value / declared if declared > 0 and math.isfinite(value) else 0.0
    if ratio >= _MANY:
        return f"{ratio:.3g} times the" if ratio < 1000 else f"{ratio:,.0f} times the", "declared"
    percent = round(100 * (ratio - 1))
    return (f"{percent} % more", "than declared") if percent >= 1 else ("more", "than declared")
