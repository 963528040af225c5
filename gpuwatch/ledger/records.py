"""What a batch system allocated: which of its records can be right, how two of them merge, what was held.

Pure; `record_store.py` does the same in SQL. A record's facts, its comments and the indices of its devices are
three registers, and each keeps the greatest it ever saw, so that order and repetition of postings do not matter.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

from gpuwatch import declaration, hygiene
from gpuwatch.errors import DeclarationError, Rejected
from gpuwatch.ledger.ledger import LOWEST
from gpuwatch.model import EMPTY
from gpuwatch.schedulers.base import RUNNING, WAITING, Facts, Grant, Live, Record, RecordId
from gpuwatch.usage.base import Allocated

REASONS = ("key", "not_finite", "range", "type", "unreadable")
"""Why a record or a grant is not taken; `unreadable` is what was no record at all."""

_NUMBERS = (float, int)
_LATEST = 2.0**32
_LONGEST = 3.2e9
_MANY = 1e9
_LARGEST = 2.0**53
_KEY_LENGTH = 256
_NODES = 100_000
_WORDS = ("state", "rule", "doubt", "whole", "display", "name", "user", "account", "partition", "qos")
_words_of = attrgetter(*_WORDS)
_LABEL = hygiene.LABEL_LENGTH

Order = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The records that can be right, with their words made safe; `refused` counts the others by reason."""

    records: tuple[Record, ...]
    refused: Mapping[str, int] = EMPTY


class _Refused(Rejected):
    """Why a record is not taken: one of `REASONS`."""


def accepted(records: Iterable[Record]) -> Accepted:
    """Refuse what cannot be right: what cannot be a key, negative or absurd numbers, an end before the start."""
    taken: list[Record] = []
    refused: Counter[str] = Counter()
    for record in records:
        try:
            taken.append(_checked(record))
        except _Refused as exc:
            refused[str(exc)] += 1
    return Accepted(tuple(taken), dict(refused))


def accepted_grant(grant: Grant) -> Grant:
    """A grant whose words are safe; `Rejected` with one of `REASONS` where it cannot be right."""
    for key in (grant.cluster, grant.account, grant.resource):
        _key(key)
    for amount in (grant.limit_seconds, grant.used_seconds):
        _number(amount, _LARGEST)
    for time in (grant.seen, grant.starts, grant.ends):
        _number(time, _LATEST)
    if grant.starts is not None and grant.ends is not None and grant.ends <= grant.starts:
        raise _Refused("range")
    names = ("account", "user", "resource", "parent", "source")
    words: dict[str, Any] = {name: hygiene.label(getattr(grant, name)) for name in names}
    return replace(
        grant,
        **words,
        coordinators=tuple(sorted({hygiene.label(each) for each in grant.coordinators})),
    )


def merge_record(left: Record, right: Record) -> Record:
    """Two tellings of one attempt. One that has ended stays ended; else what was seen last counts."""
    return Record(left.key, max(left.facts, right.facts, key=_facts_order), _merge_live(left.live, right.live))


def _merge_live(left: Live | None, right: Live | None) -> Live | None:
    """The last comments that were not empty, as batch systems drop them, and the most devices ever told of.

    A job keeps its devices, and answers that do not ask for the indices have none.
    """
    if left is None or right is None:
        return left or right
    said = max(left, right, key=_comment_order)
    devices = max(left, right, key=_devices_order)
    return Live(said.seen, said.comment, said.admin_comment, devices.devices, devices.indices)


def _facts_order(facts: Facts) -> Order:
    return (facts.ended is not None, *(_comparable(each) for each in facts_values(facts)))


def _comment_order(live: Live) -> Order:
    return bool(live.comment or live.admin_comment), live.seen, live.comment, live.admin_comment


def _devices_order(live: Live) -> Order:
    return _comparable(live.devices), indices_text(live.indices)


def _comparable(value: object) -> object:
    return LOWEST if value is None else value


def facts_values(facts: Facts) -> tuple[float | str | None, ...]:
    """The facts in the order of their columns, which is also the order in which they are compared."""
    return (
        facts.seen, facts.state, facts.started, facts.ended, facts.devices, facts.rule, facts.doubt, facts.cpus,
        nodes_text(facts.nodes), facts.whole, facts.display, facts.name, facts.user, facts.account,
        facts.partition, facts.qos, facts.limit_seconds, facts.billing, facts.restarts, facts.exit_code,
        facts.tasks,
    )  # fmt: skip


def nodes_text(nodes: Iterable[str]) -> str:
    """Nodes as the ledger stores them: a JSON list."""
    named = list(nodes)
    return _json(named) if named else "[]"


def indices_text(indices: Mapping[str, tuple[int, ...]]) -> str:
    """Indices by node as the ledger stores them: a JSON object."""
    return _json({node: list(indices[node]) for node in sorted(indices)}) if indices else "{}"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def devices_of(record: Record) -> float | None:
    """How many devices it was given: by the facts, else by the indices seen while it ran; None: not known."""
    if record.facts.devices is not None:
        return record.facts.devices
    return record.live.devices if record.live else None


def held_until(record: Record, now: float) -> float | None:
    """The end of what it is known to have held, at most `now`; None where it held nothing that is known.

    While it runs that is when the batch system last said so, not now: the batch system may be down.
    """
    facts = record.facts
    if facts.started is None or facts.state in WAITING:
        return None
    end = facts.ended if facts.ended is not None else facts.seen if facts.state in RUNNING else None
    return None if end is None else max(facts.started, min(end, now))


def allocated_on(record: Record, now: float) -> list[Allocated]:
    """What an attempt had of each of its nodes, as far as is known at `now`."""
    until = held_until(record, now)
    if until is None or record.facts.started is None:
        return []
    indices = record.live.indices if record.live else EMPTY
    started, nodes, still = record.facts.started, record.facts.nodes, record.facts.ended is None
    return [
        Allocated(
            record.key.job_id, node, started, until, indices.get(node), devices_of(record), len(nodes), still
        )
        for node in nodes
    ]


def held_seconds(record: Record, now: float) -> float:
    """The time from its start to its end, or as far as is known; 0 where it never started."""
    end = held_until(record, now)
    return 0.0 if end is None or record.facts.started is None else end - record.facts.started


def allocated_seconds(record: Record, now: float) -> float | None:
    """Device-seconds it was given, used or not: 0 where it never started, None where the devices are unknown."""
    return _times(devices_of(record), held_seconds(record, now))


def cpu_seconds(record: Record, now: float) -> float | None:
    """CPU-seconds it was given: 0 where it never started, None where the CPUs are unknown."""
    return _times(record.facts.cpus, held_seconds(record, now))


def _times(count: float | None, seconds: float) -> float | None:
    if seconds <= 0:
        return 0.0
    return None if count is None else count * seconds


def comments_of(record: Record) -> tuple[tuple[str, str], ...]:
    """What the job's comment and an administrator's declare after `gpuwatch:`, as pairs of channel and text.

    It is the canonical text of the declaration. A comment against the grammar declares nothing.
    """
    return said_in(record.live.comment, record.live.admin_comment) if record.live else ()


@lru_cache(maxsize=4096)
def said_in(comment: str, admin_comment: str) -> tuple[tuple[str, str], ...]:
    """The same of the comments themselves."""
    read = (("comment", declared(comment, "")), ("admin-comment", declared("", admin_comment)))
    return tuple((channel, declaration.format(each)) for channel, each in read if each is not None)


@lru_cache(maxsize=4096)
def declared(comment: str, admin_comment: str) -> declaration.Declaration | None:
    """The declaration in a job's comment, else in an administrator's; the tasks of an array share one."""
    for text in (comment, admin_comment):
        try:
            read = declaration.from_comment(text) if text else None
        except DeclarationError:
            read = None
        if read is not None:
            return read
    return None


def _checked(record: Record) -> Record:
    key = record.key
    _key(key.cluster)
    _key(key.job_id)
    _whole(key.submitted, 0, _LATEST)
    _check_numbers(record.facts)
    live = _checked_live(record.live) if record.live else None
    facts = record.facts if record.facts.whole else replace(record.facts, whole=key.job_id)
    return Record(RecordId(*key), _cleaned(facts), live)


def _check_numbers(facts: Facts) -> None:
    if facts.seen is None:
        raise _Refused("type")
    for time in (facts.seen, facts.started, facts.ended):
        _number(time, _LATEST)
    for count in (facts.devices, facts.cpus):
        _number(count, _MANY)
    _number(facts.limit_seconds, _LONGEST)
    _number(facts.billing, _LARGEST)
    for whole, low in ((facts.restarts, 0), (facts.exit_code, -_MANY), (facts.tasks, 1)):
        if whole is not None:
            _whole(whole, low, _MANY)
    if facts.started is not None and facts.ended is not None and facts.ended < facts.started:
        raise _Refused("range")
    if len(facts.nodes) > _NODES:
        raise _Refused("range")


def _cleaned(facts: Facts) -> Facts:
    words = _words_of(facts)
    if _plain(words) and _plain(facts.nodes):
        return facts
    changed: dict[str, Any] = {name: hygiene.label(word) for name, word in zip(_WORDS, words, strict=True)}
    return replace(facts, **changed, nodes=tuple(map(hygiene.label, facts.nodes)))


def _plain(words: tuple[str, ...]) -> bool:
    """Whether all are safe as they are, as nearly all words are; it is quicker to ask for them together."""
    together = "".join(words)
    return together.isascii() and together.isprintable() and len(max(words, key=len, default="")) <= _LABEL


def _checked_live(live: Live) -> Live:
    if live.seen is None:
        raise _Refused("type")
    _number(live.seen, _LATEST)
    _number(live.devices, _MANY)
    if len(live.indices) > _NODES:
        raise _Refused("range")
    for index in (each for indices in live.indices.values() for each in indices):
        _whole(index, 0, _MANY)
    indices = {hygiene.label(node): tuple(each) for node, each in live.indices.items()} if live.indices else EMPTY
    return Live(live.seen, _comment(live.comment), _comment(live.admin_comment), live.devices, indices)


def _comment(text: str) -> str:
    """A comment that can be stored. Part of a declaration may say what the whole does not, so none is cut."""
    if len(text) > declaration.MAX_TEXT_BYTES:
        return ""
    text = text.replace("\0", hygiene.REPLACEMENT)  # which PostgreSQL has no place for
    return text if text.isascii() else text.encode(errors="replace").decode()


def _key(value: object) -> None:
    if not isinstance(value, str) or not value or len(value) > _KEY_LENGTH or not value.isprintable():
        raise _Refused("key")


def _number(value: float | None, high: float) -> None:
    if value is None or (type(value) in _NUMBERS and 0 <= value <= high):
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused("type")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Refused("not_finite")
    if not 0 <= value <= high:
        raise _Refused("range")


def _whole(value: object, low: float, high: float) -> None:
    if type(value) is int and low <= value <= high:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Refused("type")
    if not low <= value <= high:
        raise _Refused("range")
