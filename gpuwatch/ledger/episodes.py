"""What became of alerts: one row from when each was raised to when it was over, right or wrong, and what was done.

It is kept of observed alerts as well: by it a site knows what it would be told before it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, func, or_, select, update

from gpuwatch.ledger import alert_tables as tables
from gpuwatch.ledger.alert_store import Mode, concern_columns, concern_in, identity
from gpuwatch.ledger.audience import EVERYTHING, Audience
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.ledger.sql import Insert, numbered, run_many
from gpuwatch.model import Alert, Concern, Scope

REOPENED_SECONDS = 6 * 3600.0
"""An alert that is raised again so soon after its end is the same one that goes on."""

Severity = Literal["info", "warning", "critical"]
How = Literal["", "ended", "cleared", "exceeded", "floor"]
Verdict = Literal["", "right", "wrong"]
Acted = Literal["", "cancelled", "declared", "acknowledged", "muted"]


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert from `raised` to `resolved` (None: it is active), Unix seconds; `id` is its number in the ledger.

    `how` it ended: with its scope, cleared by itself, exceeded (a projection that came true), below the floor. The
    `verdict` is empty where nobody can tell, `acted` where nothing is known that its owner did.
    """

    id: int
    cluster: str
    key: AlertKey
    raised: float
    resolved: float | None
    severity: Severity
    level: int
    mode: Mode
    concern: Concern
    value: float
    declared: float
    text: str
    last_text: str
    reopened: int = 0
    how: How = ""
    verdict: Verdict = ""
    acted: Acted = ""
    acked_by: str = ""
    acked: float | None = None


class Count(NamedTuple):
    """So many alerts that came to the same."""

    kind: str
    mode: Mode
    verdict: Verdict
    acted: Acted
    number: int


@dataclass(frozen=True, slots=True)
class End:
    """How an alert ended."""

    key: AlertKey
    how: How
    verdict: Verdict
    acted: Acted
    text: str


def begin(connection: Connection, cluster: str, raised: Collection[tuple[Alert, Mode]], now: float) -> None:
    """Alerts are raised: each goes on with the episode that ended a moment ago, or begins one."""
    if not raised:
        return
    there = tables.episodes.c
    lately = and_(there.cluster == cluster, there.resolved >= now - REOPENED_SECONDS)
    last = {
        _key(row): row.id for row in connection.execute(select(tables.episodes).where(lately).order_by(there.id))
    }
    again = [
        {"row": last[key_of(alert)], **_rising(alert, mode)} for alert, mode in raised if key_of(alert) in last
    ]
    new = [_begun(cluster, alert, mode, now) for alert, mode in raised if key_of(alert) not in last]
    if again:
        reopened = {"resolved": None, "how": "", "verdict": "", "reopened": there.reopened + 1}
        connection.execute(_update_row(**reopened), again)
    if new:
        run_many(connection, _insert, new)


def rise(connection: Connection, cluster: str, risen: Collection[tuple[Alert, Mode]]) -> None:
    """Active alerts became worse, or are told from now on, or no more."""
    if risen:
        rows = [{**_which(cluster, key_of(alert)), **_rising(alert, mode)} for alert, mode in risen]
        connection.execute(_update_open(), rows)


def end(connection: Connection, cluster: str, ended: Collection[End], now: float) -> None:
    """Alerts are over."""
    if not ended:
        return
    rows = [
        {
            **_which(cluster, each.key), "resolved": now, "how": each.how, "verdict": each.verdict,
            "new_acted": each.acted, "last_text": each.text,
        }
        for each in ended
    ]  # fmt: skip
    there = tables.episodes.c
    # What its owner did before it ended stays what he did.
    kept = func.coalesce(func.nullif(there.acted, ""), bindparam("new_acted"))
    connection.execute(_update_open(acted=kept), rows)


def act(
    connection: Connection, episode_ids: Collection[int], acted: Acted, who: str = "", at: float | None = None
) -> None:
    """The owner did something about some; the first thing counts. With `at` it is also acknowledged by `who`."""
    there = tables.episodes.c
    changed: dict[Any, Any] = {"acted": func.coalesce(func.nullif(there.acted, ""), acted)}
    if at is not None:
        changed |= {"acked_by": who, "acked": at}
    for some in episode_ids:
        connection.execute(update(tables.episodes).where(there.id == some).values(changed))


def opened(connection: Connection, cluster: str) -> dict[AlertKey, Episode]:
    """The episodes of the alerts that are active."""
    there = tables.episodes.c
    found = _where(connection, and_(there.resolved.is_(None), there.cluster == cluster))
    return {each.key: each for each in found}


def since(connection: Connection, time: float, cluster: str | None = None) -> list[Episode]:
    """The episodes that were raised since `time` or are not over, oldest first."""
    there = tables.episodes.c
    mine = [] if cluster is None else [there.cluster == cluster]
    return _where(connection, and_(or_(there.raised >= time, there.resolved.is_(None)), *mine))


def ended_since(connection: Connection, cluster: str, time: float, kinds: Iterable[str]) -> list[Episode]:
    """The episodes of some kinds that ended since `time`, oldest first."""
    there = tables.episodes.c
    return _where(connection, and_(there.resolved >= time, there.cluster == cluster, there.kind.in_([*kinds])))


def lately(connection: Connection, cluster: str, time: float, reader: Audience = EVERYTHING) -> list[Episode]:
    """The episodes that are not over, or ended since `time`, oldest first; no others than may be a reader's."""
    there = tables.episodes.c
    own = [] if reader.everything else [_may_be(reader)]
    lately = or_(there.resolved >= time, there.resolved.is_(None))
    return _where(connection, and_(lately, there.cluster == cluster, *own))


def _may_be(reader: Audience) -> ColumnElement[bool]:
    """Leaves out most of what is not a reader's; who asks looks at each of the rest."""
    there = tables.episodes.c
    accounts = sorted(reader.accounts)
    of_account = and_(there.scope_kind == "account", there.scope.in_(accounts))
    return or_(there.user == reader.user, there.account.in_(accounts), of_account)


def raised_since(connection: Connection, cluster: str, time: float) -> list[Episode]:
    """The episodes that were raised since `time`, oldest first, without texts: there may be a hundred thousand."""
    there = tables.episodes.c
    what = (
        there.id, there.kind, there.scope_kind, there.scope, there.quantity, there.raised, there.resolved,
        there.severity, there.mode, there.user, there.account, there.partition, there.how, there.verdict,
        there.acted,
    )  # fmt: skip
    query = select(*what).where(there.raised >= time, there.cluster == cluster).order_by(there.raised, there.id)
    concerns: dict[tuple[str, str, str], Concern] = {}
    return [
        Episode(
            row, cluster, AlertKey(kind, Scope(scope_kind, scope), quantity), raised, resolved, severity, 0, mode,
            concerns.get(whose) or concerns.setdefault(whose, Concern(*whose)), 0.0, 0.0, "", "", 0, how, verdict,
            acted,
        )
        for row, kind, scope_kind, scope, quantity, raised, resolved, severity, mode, *names, how, verdict, acted
        in connection.execute(query)
        for whose in [(names[0], names[1], names[2])]
    ]  # fmt: skip


def of_scope(connection: Connection, scope: Scope, cluster: str | None = None) -> list[Episode]:
    """Those of a scope, oldest first."""
    there = tables.episodes.c
    mine = [] if cluster is None else [there.cluster == cluster]
    return _where(connection, and_(there.scope_kind == scope.kind, there.scope == scope.name, *mine))


def counts(connection: Connection, cluster: str, time: float) -> list[Count]:
    """What the alerts came to that were raised since `time`, as numbers."""
    there = tables.episodes.c
    what = (there.kind, there.mode, there.verdict, there.acted)
    query = select(*what, func.count()).where(there.cluster == cluster, there.raised >= time).group_by(*what)
    return [Count(*row) for row in connection.execute(query)]


def _where(connection: Connection, condition: ColumnElement[bool]) -> list[Episode]:
    there = tables.episodes.c
    query = select(tables.episodes).where(condition).order_by(there.raised, there.id)
    return [_episode(row) for row in connection.execute(query)]


def _key(row: Row[Any]) -> AlertKey:
    return AlertKey(row.kind, Scope(row.scope_kind, row.scope), row.quantity)


def _episode(row: Row[Any]) -> Episode:
    return Episode(
        row.id, row.cluster, _key(row), row.raised, row.resolved, row.severity, row.level, row.mode,
        concern_in(row), row.value, row.declared, row.text, row.last_text, row.reopened, row.how, row.verdict,
        row.acted, row.acked_by, row.acked,
    )  # fmt: skip


def _begun(cluster: str, alert: Alert, mode: Mode, now: float) -> dict[str, object]:
    return {
        "cluster": cluster, **identity(key_of(alert)), "raised": now, "resolved": None,
        "severity": alert.severity, "level": alert.level, "mode": mode, **concern_columns(alert.concern),
        "value": alert.value, "declared": alert.declared, "text": alert.text, "last_text": alert.text,
        "reopened": 0, "how": "", "verdict": "", "acted": "", "acked_by": "", "acked": None,
    }  # fmt: skip


def _rising(alert: Alert, mode: Mode) -> dict[str, object]:
    return {"severity": alert.severity, "level": alert.level, "mode": mode, "last_text": alert.text}


def _insert(insert: Insert) -> Any:
    return numbered(tables.episodes, insert)


def _which(cluster: str, key: AlertKey) -> dict[str, str]:
    return {"its_cluster": cluster, **{f"its_{name}": value for name, value in identity(key).items()}}


def _update_open(**changed: Any) -> Any:
    """Changes rows that are not over, by `its_…`; other parameters are columns."""
    there = tables.episodes.c
    wanted = [there[name] == bindparam(f"its_{name}") for name in ("cluster", *tables.IDENTITY)]
    return update(tables.episodes).where(there.resolved.is_(None), *wanted).values(**changed)


def _update_row(**changed: Any) -> Any:
    return update(tables.episodes).where(tables.episodes.c.id == bindparam("row")).values(**changed)
