"""What a letter says: alerts by kind, what is new, worse and over told apart, and how to have fewer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch.model import Alert
from gpuwatch.notifiers import letter_words as words
from gpuwatch.notifiers.base import Change, Letter
from gpuwatch.notifiers.kinds import KINDS, kind_of
from gpuwatch.notifiers.letter_dialects import PLAIN, Dialect, Document, Group, Item

MOST_BYTES = 64_000
MOST_LINES = 16
"""So many lines an alert has at most."""

MOST_ALERTS = 1000

LIST = "gpuwatch alerts list"

_SORTS = (("raised", "new"), ("changed", "worse"), ("resolved", "over"))


@dataclass(frozen=True, slots=True)
class Look:
    """What is the same in all letters of a site; addresses may be empty."""

    cluster: str = "default"
    prefix: str = "gpuwatch"
    page: str = ""
    runbooks: str = ""


class Told(NamedTuple):
    """A letter as it is sent; each is safe in the dialect for which it was written."""

    subject: str
    body: str


def write(letter: Letter, look: Look, dialect: Dialect = PLAIN, most_bytes: int = MOST_BYTES) -> Told:
    """The letter with as many alerts, the most urgent first, as there is room for."""
    subject = words.subject_of(letter, look.prefix)
    title = subject if dialect.render is PLAIN.render else dialect.escape(subject)
    # A letter without any alert is the shortest that there is, whatever the room.
    most = min(len(letter.changes), MOST_ALERTS)
    kept, too_many = 0, most + 1
    body = _body(letter, look, dialect, 0)
    while too_many - kept > 1:
        tried = most if too_many > most else (kept + too_many) // 2
        text = _body(letter, look, dialect, tried)
        if len(text.encode()) <= most_bytes:
            kept, body = tried, text
        else:
            too_many = tried
    return Told(title, body)


def _body(letter: Letter, look: Look, dialect: Dialect, kept: int) -> str:
    return dialect.render(_document(letter, look, kept))


def _document(letter: Letter, look: Look, kept: int) -> Document:
    left = len(letter.changes) - kept + letter.more
    return Document(
        opening=_opening(letter, look, kept),
        groups=tuple(_groups(letter.changes[:kept], look, letter.recipient)),
        more=f"and {words.number(left)} more: {LIST}" if left else "",
        closing=tuple(_closing(letter, look)),
        short=tuple(_short(letter)),
    )


def _opening(letter: Letter, look: Look, kept: int) -> str:
    """The only alert in a few words, or how many there are of what sort; where, and as of when."""
    total = len(letter.changes) + letter.more
    when = words.moment(letter.time)
    where = f"on {words.clean(look.cluster, 60)}{f', as of {when}' if when else ''}"
    if total == 1:
        return f"O{where[1:]}: {words.said_of_one(letter.changes[0])}."
    counts: Counter[str] = Counter(change.what for change in letter.changes[:kept])
    sorts = ", ".join(f"{words.number(counts[what])} {word}" for what, word in _SORTS if counts[what])
    alerts = f"{words.number(total)} alerts{words.whose(letter)} {where}"
    if not kept:
        return f"{alerts}."
    return f"{alerts}. The most urgent: {sorts}." if kept < total else f"{alerts}: {sorts}."


def _groups(changes: Sequence[Change], look: Look, recipient: str) -> Iterator[Group]:
    for kind in sorted({change.alert.kind for change in changes}, key=lambda kind: (words.place_of(kind), kind)):
        those = [change for change in changes if change.alert.kind == kind]
        those.sort(key=_is_over)
        heading = kind_of(kind).heading
        known = heading if len(those) == 1 else f"{words.plural(heading)} ({words.number(len(those))})"
        page = f"{look.runbooks.rstrip('/')}/{kind_of(kind).alertname}" if look.runbooks and kind in KINDS else ""
        items = tuple(_item(change, recipient) for change in those)
        yield Group(words.clean(known[:1].upper() + known[1:], 100), page, items)


def _is_over(change: Change) -> bool:
    return change.what == "resolved"


def _item(change: Change, recipient: str) -> Item:
    alert = change.alert
    user = alert.concern.user
    of = f" of {words.clean(user, 40)}" if user and recipient != f"user:{user}" else ""
    name = f"{words.name_of(alert)}{of}"
    if _is_over(change):
        return Item(f"over: {name}", tuple(_lines_of(alert, _before(alert))))
    since = words.moment(alert.since, "%d %b, %H:%M UTC")
    title = ", ".join(filter(None, (name, _severity(change), f"since {since}" if since else "")))
    said = alert.text.split("; ")
    lines = tuple(_lines_of(alert, [*said[:1], *alert.details] if alert.details else said))
    return Item(f"worse: {title}" if change.what == "changed" else title, lines)


def _severity(change: Change) -> str:
    """Only where it is news, or more than usual."""
    if change.what == "changed":
        return f"now {change.alert.severity}"
    return change.alert.severity if change.alert.severity == "critical" else ""


def _before(alert: Alert) -> list[str]:
    """What was told last of an alert that is over, and why it is, where its text begins with that."""
    why, named, last = alert.text.partition(f": {_named(alert)} ")
    if named:
        return [why, f"last known: {last.split('; ')[0]}"]
    said = _unnamed(alert, alert.text).split("; ")
    return [f"last known: {said[0]}", *said[1:2]]


def _named(alert: Alert) -> str:
    return f"{alert.scope.kind} {alert.scope.name}"


def _unnamed(alert: Alert, text: str) -> str:
    """Without the name that the title has said."""
    return text.removeprefix(f"{_named(alert)} ").removeprefix(f"{_named(alert)}: ")


def _lines_of(alert: Alert, lines: Sequence[str]) -> Iterator[str]:
    """The lines with names cut as they are in the title, and no command that one could not copy into a shell."""
    for index, line in enumerate(lines[:MOST_LINES]):
        if "gpuwatch " in line and alert.scope.name in line and not words.is_plain(alert.scope.name):
            continue
        said = _unnamed(alert, line) if index == 0 else line
        for name in (alert.scope.name, alert.concern.name):
            if len(name) > words.NAME_LENGTH:
                said = said.replace(name, words.clean(name, words.NAME_LENGTH))
        if text := words.clean(said.strip()):
            yield text


def _closing(letter: Letter, look: Look) -> Iterator[str]:
    yield _why(letter, look)
    yield "However many alerts there are, they come in a few letters a day at most."
    scope = words.safe_scope(letter.changes)
    if scope.startswith("job:") and not any(change.alert.details for change in letter.changes):
        yield f"To see the figures: gpuwatch show {scope.removeprefix('job:')}"
    yield from (f"To hear no more of it: {line}" for line in _mute(letter, scope))
    yield f"To see all that is open: {LIST}"
    if look.page:
        yield f"The same in a browser: {look.page}"


def _short(letter: Letter) -> Iterator[str]:
    muting = [f"To hear no more of it: {line}" for line in _mute(letter, words.safe_scope(letter.changes))]
    yield " · ".join([f"All that is open: {LIST}", *muting])


def _mute(letter: Letter, scope: str) -> Iterator[str]:
    if letter.more or not all(map(_is_over, letter.changes)):
        yield f"gpuwatch alerts mute {scope or 'job:ID'} --reason WHY"


def _why(letter: Letter, look: Look) -> str:
    kind, _, name = letter.recipient.partition(":")
    cluster, named = words.clean(look.cluster, 60), words.clean(name, 100)
    return {
        "user": f"You get this because it is about what {named} runs on {cluster}.",
        "account": f"You get this because you look after account {named} on {cluster}.",
        "operators": f"You get this because you look after {cluster}.",
    }.get(kind, f"You get this because alerts of {cluster} are told to the channel {named}.")
