"""The API of accounting over HTTP, as docs/api.md describes it: identity first, then bounded reading and writing.

Four requests read the ledger at once, each for some seconds at most; others wait for their turn, and are answered
503 where it does not come. Whatever was asked, the answer is JSON.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gpuwatch.errors import Forbidden, GpuwatchError, Rejected
from gpuwatch.ledger.coordinators import coordinated
from gpuwatch.ledger.deadline import limited
from gpuwatch.ledger.store import Store
from gpuwatch.web import operations as ops
from gpuwatch.web.api_operations import ACTIONS, OPERATIONS
from gpuwatch.web.desk import READ_SECONDS, READERS, Desk, Gate, known
from gpuwatch.web.exposition import GZIP_LEVEL, accepts_gzip
from gpuwatch.web.identity import caller_of
from gpuwatch.web.openapi import PATH, openapi
from gpuwatch.web.operations import Action, Operation
from gpuwatch.web.pace import Pace
from gpuwatch.web.parameters import name_of, values_of
from gpuwatch.web.roles import Person, viewer_of
from gpuwatch.web.threads import Busy, Patient

MAX_BODY_BYTES = 65_536
TREE = "/api/v1/"
"""Where all paths of the API begin."""


class _Text(Convertor[str]):
    """Any text in a path, line ends too, which Starlette's own `path` takes for the end of it."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("text", _Text())

__all__ = ["Gate", "api_routes"]

Answer = Callable[[Request], Awaitable[Response]]
_MISSING = "there is none of that name, or it is not yours to read"


def api_routes(
    store: Callable[[], Store | None],
    gate: Gate,
    clock: Callable[[], float] = time.time,
    operations: Sequence[Operation] = OPERATIONS,
    readers: Patient | None = None,
    pace: Pace | None = None,
) -> list[Route]:
    """The routes of the API; `store` gives the ledger, None until it is open."""
    threads = readers or Patient(READERS)
    described = openapi(operations, f"gpuwatch accounting of cluster {gate.access.cluster}", ACTIONS)
    paced = pace or Pace()
    desk = Desk(store, gate, clock, threads)

    async def describe(request: Request) -> Response:
        return answered(request, described)

    answers: dict[str, dict[str, Answer]] = {}
    for each in operations:
        answers[each.route] = {"GET": _guarded(_Endpoint(each, desk).answer, gate)}
    for action in ACTIONS:
        changing = _Changing(action, store, gate, clock, threads, paced)
        answers.setdefault(action.route, {})["POST"] = _guarded(changing.answer, gate)
    routes = [_route(path, by_method) for path, by_method in answers.items()]
    routes += [Route(path, _not_asked) for path, by_method in answers.items() if "GET" not in by_method]
    return [Route(PATH, describe), *routes, Route(f"{TREE}{{rest:text}}", _nothing)]


def _route(path: str, by_method: Mapping[str, Answer]) -> Route:
    """One for all methods of a path, so that a method that it has not is told which it has."""

    async def answer(request: Request) -> Response:
        return await by_method["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, answer, methods=[*by_method])


async def _not_asked(_request: Request) -> Response:
    """Of what may be changed and not read, before the route for whatever is not there."""
    return error(405, "only POST is possible here", {"allow": "POST"})


async def _nothing(_request: Request) -> Response:
    return error(404, f"there is no such question; {PATH} has those that there are")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Answers one operation."""

    operation: Operation
    desk: Desk

    async def answer(self, request: Request) -> Response:
        """Who asks, what is asked, and the answer, in this order: a stranger learns nothing of what there is."""
        person = await self.desk.person(request)
        operation = self.operation
        values = values_of(operation.parameters, request.query_params.multi_items())
        name = name_of("name", request.path_params["name"]) if operation.named else ""
        document = await self.desk.read(
            person, lambda question: operation.answer(replace(question, values=values, name=name))
        )
        return error(404, _MISSING) if document is None else answered(request, document)


@dataclass(frozen=True, slots=True)
class _Changing:
    """Does one action."""

    action: Action
    store: Callable[[], Store | None]
    gate: Gate
    clock: Callable[[], float]
    threads: Patient
    pace: Pace

    async def answer(self, request: Request) -> Response:
        """Who asks comes first, as for reading; the body is read before it, as a proof may be for it alone."""
        body = await _body(request)
        if body is None:
            return error(413, f"the body is longer than {MAX_BODY_BYTES} bytes", {"connection": "close"})
        person = await self.gate.identity.person(caller_of(request, body))
        if person is None:
            raise Forbidden(f"who asks is not known; {self.gate.identity.hints}")
        # What a page of another site can make a browser send is neither.
        if "origin" in request.headers:
            return error(403, "not for browsers; a request with an Origin header is refused")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return error(415, "the body must be application/json")
        if not self.pace.takes((person.name, person.uid)):
            return error(429, "you say too much at once; ask again", {"retry-after": "10"})
        values_of((), request.query_params.multi_items())
        said = texts_of(self.action.body, body)
        try:
            document = await self.threads.run(lambda: self._perform(person, said))
        except Forbidden as exc:
            return error(403, str(exc))
        return error(404, _MISSING) if document is None else written(document)

    def _perform(self, person: Person, said: Mapping[str, str]) -> Mapping[str, Any] | None:
        """In a thread."""
        named, groups = known(person, self.gate.names)
        store = self.store()
        if store is None:
            raise Busy
        viewer = viewer_of(named, groups, self.gate.access)
        with store.reading() as connection, limited(connection, READ_SECONDS):
            accounts = coordinated(connection, viewer.cluster, named.name, viewer.accounts)
        return self.action.perform(ops.Request(replace(viewer, accounts=accounts), store, said, self.clock()))


async def _body(request: Request) -> bytes | None:
    """The body of a request; None where it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def texts_of(schema: Mapping[str, Any], body: bytes) -> dict[str, str]:
    """The members of a JSON object of texts; `Rejected` for what is none, lacks one or has one too many."""
    members = ", ".join(schema["properties"])
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Rejected(f"the body is not JSON; it must be an object with {members}") from exc
    if not isinstance(found, dict) or {*found} != {*schema["properties"]}:
        raise Rejected(f"the body must be an object with {members}, and nothing else")
    wrong = [name for name, each in found.items() if not isinstance(each, str)]
    if wrong:
        raise Rejected(f"{', '.join(wrong)}: is no text")
    return found


def _guarded(answer: Answer, gate: Gate) -> Answer:
    async def guarded(request: Request) -> Response:
        try:
            return await answer(request)
        except Busy as exc:
            return error(503, "too many ask at once; ask again", exc.headers)
        except Forbidden as exc:
            challenge = gate.identity.challenge
            headers = {"www-authenticate": challenge} if challenge else {}
            return error(401, str(exc), headers | {"connection": "close"})
        except Rejected as exc:
            return error(400, str(exc))
        except ClientDisconnect:
            return error(400, "the body ended early")
        except (GpuwatchError, OSError) as exc:
            return error(503, f"the ledger cannot be read now: {exc}", {"retry-after": "5"})

    return guarded


def answered(request: Request, document: Mapping[str, Any]) -> Response:
    """A document, or 304 where the client has it already. The ETag is that of the bytes that are sent."""
    body = _encoded(document)
    compress = accepts_gzip(request.headers.get("accept-encoding", ""))
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}{"-gzip" if compress else ""}"'
    headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "accept-encoding, authorization"}
    if _matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    if compress:
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json")


def written(document: Mapping[str, Any]) -> Response:
    """What was stored."""
    return Response(_encoded(document), headers={"cache-control": "no-store"}, media_type="application/json")


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal, with why."""
    sent = {"cache-control": "no-store", **(headers or {})}
    return Response(_encoded({"error": message}), status, sent, media_type="application/json")


def _matches(if_none_match: str, tag: str) -> bool:
    offered = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in offered or tag in offered


def _encoded(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=dict)
    # A lone surrogate (a name that was not UTF-8) becomes "?", so that what is sent is always UTF-8.
    return text.encode("utf-8", "replace")
