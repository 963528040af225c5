"""Campaigns frozen for a paper: numbered, never changed, and compared with what the ledger says today."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, func, select

from gpuwatch.errors import Forbidden, Rejected, Unavailable
from gpuwatch.ledger.campaign_document import document
from gpuwatch.ledger.campaign_reading import CampaignView
from gpuwatch.ledger.campaign_store import storable
from gpuwatch.ledger.campaign_tables import snapshots
from gpuwatch.ledger.campaigns import Actor, name_of, standing_of
from gpuwatch.ledger.sql import inserting

MAX_LABEL_LENGTH = 128

_TRIES = 20

# What may differ by rounding alone, as sums are not always made in the same order.
_ROUNDING = 1e-9
# Chains follow from the members and from what they said of their progress.
_ABOUT_NOW = ("now", "patterns", "asked", "gpuwatch", "schema", "chains")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A campaign as it was frozen; `intact` is false where its text is no longer the one that was written."""

    campaign: str
    number: int
    time: float
    by: str
    label: str
    digest: str
    document: Mapping[str, Any]
    intact: bool = True

    @property
    def name(self) -> str:
        """What it is cited by."""
        return f"{self.campaign}#{self.number}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that is another today; None on the side on which there is none. `job` None: of the whole."""

    figure: str
    then: object
    now: object
    job: str | None = None


def freeze(connection: Connection, actor: Actor, seen: CampaignView, label: str = "") -> Snapshot:
    """Write down what a campaign comes to, under the next number; `Forbidden` for who has no part in it."""
    if not seen.members:
        raise Rejected(f"campaign {seen.name!r}: has no job yet, so that there is nothing to freeze")
    if actor.role == "self" and not any(standing_of(actor, member.job) for member in seen.members):
        raise Forbidden(f"campaign {seen.name!r}: none of its jobs is yours; who takes part in it may freeze it")
    if len(label) > MAX_LABEL_LENGTH:
        raise Rejected(f"label: {len(label)} characters long; at most {MAX_LABEL_LENGTH}")
    text = canonical(document(seen))
    number = 0
    for _ in range(_TRIES):
        # Another may take the number at the same time: then nothing is inserted, and the next one is tried.
        number = max(number, _last_number(connection, seen.name)) + 1
        row = {
            "campaign": seen.name, "number": number, "time": seen.now, "by": storable(name_of(actor.person)),
            "label": storable(label), "digest": digest_of(text), "document": text,
        }  # fmt: skip
        statement = inserting(connection, snapshots).values(row).on_conflict_do_nothing()
        if connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1:
            return Snapshot(**{**row, "document": json.loads(text)})
    raise Unavailable(f"campaign {seen.name!r}: others freeze it at the same time; try again")


def _last_number(connection: Connection, campaign: str) -> int:
    there = snapshots.c
    last = connection.scalar(select(func.max(there.number)).where(there.campaign == campaign))
    return int(last or 0)


def snapshot(connection: Connection, campaign: str, number: int) -> Snapshot:
    """One that was frozen; `Unavailable` where there is none of that number."""
    for found in snapshots_of(connection, campaign):
        if found.number == number:
            return found
    raise Unavailable(
        f"snapshot '{campaign}#{number}': not in the ledger; `gpuwatch campaign show {campaign}` lists"
    )


def snapshots_of(connection: Connection, campaign: str) -> tuple[Snapshot, ...]:
    """All that were frozen of a campaign, in order."""
    there = snapshots.c
    rows = connection.execute(select(snapshots).where(there.campaign == campaign).order_by(there.number))
    return tuple(
        Snapshot(
            row.campaign, row.number, row.time, row.by, row.label, row.digest, _read(row.document),
            digest_of(row.document) == row.digest,
        )
        for row in rows
    )  # fmt: skip


def _read(text: str) -> Mapping[str, Any]:
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def canonical(written: Mapping[str, Any]) -> str:
    """The one text of a document: keys in order, no blanks, ASCII."""
    return json.dumps(written, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(text: str) -> str:
    """The SHA-256 of a text, in hexadecimal."""
    return sha256(text.encode()).hexdigest()


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What is another in the second of two documents: of the whole, then members that came, went or changed."""
    whole = [
        Difference(figure, old, new)
        for figure, old, new in _changes(_whole(then), _whole(now))
        if figure.partition(".")[0] not in _ABOUT_NOW
    ]
    before, after = _members(then), _members(now)
    return (*whole, *_of_members(before, after))


def _whole(written: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in written.items() if key != "members"}


def _members(written: Mapping[str, Any]) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    return {(each["cluster"], each["job_id"], each["started"]): each for each in written.get("members", ())}


def _of_members(
    before: Mapping[tuple[str, str, int], Mapping[str, Any]],
    after: Mapping[tuple[str, str, int], Mapping[str, Any]],
) -> Iterator[Difference]:
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            there = old if old is not None else new
            yield Difference("member", old is not None, new is not None, there["job"] if there else key[1])
            continue
        for figure, was, is_ in _changes(old, new):
            yield Difference(figure, was, is_, new["job"])


def _changes(old: object, new: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Every leaf that is another, by its path."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _changes(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif not _is_same(old, new):
        yield path, old, new


def _is_same(old: object, new: object) -> bool:
    if isinstance(old, float) and isinstance(new, int | float):
        return abs(old - new) <= _ROUNDING * max(abs(old), abs(new))
    return old == new
