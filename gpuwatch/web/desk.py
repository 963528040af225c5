"""Where questions about the ledger are read: who asks, with which rights, with whose turn, and for how long.

API and page ask here, so that nobody sees on one what the other would not give him.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from starlette.requests import Request

from gpuwatch.accounting.alert_policy import Policy
from gpuwatch.errors import Forbidden
from gpuwatch.ledger.coordinators import coordinated
from gpuwatch.ledger.deadline import limited
from gpuwatch.ledger.groups import Groups
from gpuwatch.ledger.store import Store
from gpuwatch.model import EMPTY
from gpuwatch.web.identity import Identity, caller_of
from gpuwatch.web.names import Names
from gpuwatch.web.operations import Question
from gpuwatch.web.roles import Access, Person, viewer_of
from gpuwatch.web.threads import Busy, Patient

READERS = 4
READ_SECONDS = 20.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Gate:
    """Who comes in, and with which rights; `groups` are the site's, with the accounts of each.

    `policy` says which alerts are told now.
    """

    identity: Identity
    names: Names
    access: Access
    groups: Groups = EMPTY
    policy: Callable[[], Policy] = Policy


@dataclass(frozen=True, slots=True)
class Desk:
    """Reads the ledger for whoever asks; `store` gives it, None until it is open."""

    store: Callable[[], Store | None]
    gate: Gate
    clock: Callable[[], float]
    threads: Patient

    async def person(self, request: Request) -> Person:
        """Who asks; `Forbidden` where that is not proven, with how to prove it."""
        person = await self.gate.identity.person(caller_of(request))
        if person is None:
            raise Forbidden(f"who asks is not known; {self.gate.identity.hints}")
        return person

    async def read(self, person: Person, answer: Callable[[Question], Answer]) -> Answer:
        """What `answer` makes, in a thread, of a question without values: one view of the ledger, some seconds."""
        return await self.threads.run(lambda: self._read(person, answer))

    def _read(self, person: Person, answer: Callable[[Question], Answer]) -> Answer:
        named, groups = known(person, self.gate.names)
        store = self.store()
        if store is None:
            raise Busy
        with store.reading() as connection, limited(connection, READ_SECONDS):
            viewer = viewer_of(named, groups, self.gate.access)
            if not viewer.staff:
                told = coordinated(connection, viewer.cluster, named.name, viewer.accounts)
                viewer = replace(viewer, accounts=told)
            gate = self.gate
            return answer(Question(viewer, connection, {}, self.clock(), "", gate.groups, gate.policy()))


def known(person: Person, names: Names) -> tuple[Person, frozenset[str]]:
    """A person with both name and user id, as far as this machine knows them, and his groups."""
    if person.uid is not None and not person.name:
        name = names.name_of(person.uid)
        if name is None:
            return replace(person, name=f"uid:{person.uid}"), frozenset()
        person = replace(person, name=name)
    elif person.uid is None:
        person = replace(person, uid=names.uid_of(person.name))
    return person, names.groups_of(person.name)
