"""What there is to know of the alerts of a scope: what changed, who was told, and who is yet to be told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from gpuwatch.ledger import alert_store, letter_store, queries
from gpuwatch.ledger import alert_tables as tables
from gpuwatch.ledger.alert_store import PastChange, Standing
from gpuwatch.ledger.letter_store import To, Told
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Scope


@dataclass(frozen=True, slots=True)
class Known:
    """Of a scope, by alert: what stands, what changed (oldest first), whom letters told what last, and which
    notifiers have yet to take something."""

    standing: Mapping[AlertKey, Standing]
    history: Mapping[AlertKey, list[PastChange]]
    told: Mapping[AlertKey, list[tuple[To, Told]]]
    waiting: Mapping[AlertKey, list[str]]


def known_of(connection: Connection, cluster: str, scope: Scope) -> Known:
    """What there is to know of the alerts of a scope of a cluster."""
    history: dict[AlertKey, list[PastChange]] = defaultdict(list)
    for past in alert_store.history(connection, cluster, scope):
        history[key_of(past.change.alert)].append(past)
    standing = alert_store.standing(connection, cluster)
    return Known(
        {key: each for key, each in standing.items() if key.scope == scope},
        history,
        _told(connection, cluster, scope),
        _waiting(connection, cluster, scope),
    )


def _told(connection: Connection, cluster: str, scope: Scope) -> dict[AlertKey, list[tuple[To, Told]]]:
    found: dict[AlertKey, list[tuple[To, Told]]] = defaultdict(list)
    for to, its in sorted(letter_store.told(connection, cluster).items()):
        for key, told in its.items():
            if key.scope == scope:
                found[key].append((to, told))
    return found


def _waiting(connection: Connection, cluster: str, scope: Scope) -> dict[AlertKey, list[str]]:
    changes, outbox = tables.alert_changes.c, tables.outbox
    query = (
        select(changes.kind, changes.quantity, outbox.c.notifier)
        .join(outbox, outbox.c.change_id == changes.id)
        .where(changes.cluster == cluster, changes.scope_kind == scope.kind, changes.scope == scope.name)
        .distinct()
    )
    found: dict[AlertKey, list[str]] = defaultdict(list)
    for kind, quantity, notifier in connection.execute(query):
        found[AlertKey(kind, scope, quantity)].append(notifier)
    return found


def scopes_called(connection: Connection, cluster: str, scope: Scope, now: float) -> list[Scope]:
    """What a scope may mean, as alerts call it: a job is named by its id, what is displayed, or its name."""
    if scope.kind == "array":
        return [scope, *(Scope("job", task) for task in queries.tasks_of(connection, scope.name, cluster))]
    if scope.kind != "job":
        return [scope]
    here = [job for job in queries.jobs_named(connection, scope.name, now) if job.cluster == cluster]
    return list(dict.fromkeys([scope, *(job.scope for job in here)]))
