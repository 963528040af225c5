"""Declarations over the API: making them, every revision of them, and those that were refused."""

from __future__ import annotations

import logging

from gpuwatch import hygiene
from gpuwatch.errors import Forbidden
from gpuwatch.ledger import declaring, refusals
from gpuwatch.ledger.audience import Audience
from gpuwatch.ledger.deadline import limited
from gpuwatch.ledger.declarable import Found
from gpuwatch.ledger.declaring import Declarer
from gpuwatch.ledger.refusals import Refusal
from gpuwatch.web.api_documents import Document, revision_document
from gpuwatch.web.operations import Question, Request
from gpuwatch.web.roles import Viewer

READ_SECONDS = 20.0
WRITE_SECONDS = 5.0

log = logging.getLogger("gpuwatch.web")


def declarer_of(viewer: Viewer) -> Declarer:
    """What a viewer may declare for; support reads everything, and declares for what is its own."""
    name = "" if viewer.name.startswith("uid:") else viewer.name
    own = Audience(False, viewer.cluster, name, viewer.uid, viewer.accounts)
    return Declarer(name, viewer.uid, viewer.how, own, viewer.audience, viewer.staff == "admin")


def declarations(question: Question) -> Document | None:
    """Everything declared for a scope, the latest first, as far as the viewer may read it."""
    who, scope = declarer_of(question.viewer), question.values["scope"]
    seen = declaring.declared_for(question.connection, who, scope, question.now)
    return None if seen is None else scope_document(seen)


def scope_document(seen: Found) -> Document:
    """A scope with its revisions."""
    return {
        "scope": str(seen.scope),
        "cluster": seen.cluster,
        "declarations": [revision_document(each) for each in seen.revisions],
    }


def refused(question: Question) -> Document:
    """The declarations that were refused: the viewer's own, everybody's for staff."""
    viewer = question.viewer
    who = None if viewer.staff else viewer.name
    found = refusals.refusals(question.connection, viewer.cluster, question.values["limit"], who)
    return {"refusals": [refusal_document(each) for each in found]}


def refusal_document(refusal: Refusal) -> Document:
    """A declaration that was refused, and the reason that was given."""
    return {
        "time": refusal.time, "who": refusal.who, "uid": refusal.uid, "identified_by": refusal.how,
        "text": refusal.text, "reason": refusal.reason,
    }  # fmt: skip


def declare(request: Request) -> Document | None:
    """Keep a declaration; who may not make it is told who may, and that he tried is kept."""
    who, text = declarer_of(request.viewer), request.body["text"]
    store, now = request.store, request.now
    try:
        with store.reading() as connection, limited(connection, READ_SECONDS):
            admitted = declaring.admitted(connection, who, text, now)
        if admitted is None:
            return None
        # Apart from the reading before it, so that whoever else writes waits for next to nothing.
        with store.writing(fenced=False) as connection, limited(connection, WRITE_SECONDS):
            declaring.keep(connection, who, admitted)
    except Forbidden as exc:
        _keep(request, text, str(exc))
        raise
    with store.reading() as connection, limited(connection, READ_SECONDS):
        return scope_document(declaring.stored(connection, admitted, now))


def _keep(request: Request, text: str, reason: str) -> None:
    viewer = request.viewer
    log.warning("declaration refused who=%s reason=%s", hygiene.log(viewer.name), hygiene.log(reason))
    refusal = Refusal(viewer.cluster, request.now, viewer.name, viewer.uid, viewer.how, text, reason)
    with request.store.writing(fenced=False) as connection, limited(connection, WRITE_SECONDS):
        refusals.keep(connection, refusal)
