"""The routes of the page. Who asks is asked as the API asks it; a stranger is told how to prove who he is."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gpuwatch.errors import Forbidden, GpuwatchError, Rejected
from gpuwatch.web.desk import Desk
from gpuwatch.web.exposition import GZIP_LEVEL, accepts_gzip
from gpuwatch.web.operations import Question
from gpuwatch.web.page import campaigns, estimate, frame, job, jobs, outcomes, overview
from gpuwatch.web.page.asking import Asker, View
from gpuwatch.web.page.assets import Assets
from gpuwatch.web.page.events import Events
from gpuwatch.web.page.frame import Passed
from gpuwatch.web.page.html import Child, joined, prose, tag
from gpuwatch.web.page.words import BASE
from gpuwatch.web.parameters import name_of
from gpuwatch.web.roles import Viewer
from gpuwatch.web.threads import Busy

__all__ = ["BASE", "TREE", "page_routes"]

TREE = f"{BASE}/"
LONGEST_QUERY = 4096
HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""Beside those of every answer: nothing runs or is drawn that is not a file of the page, whatever a name says."""

_VIEWS: Mapping[str, Callable[[Asker], View | None]] = {
    "": overview.view, "jobs": jobs.view, "campaigns": campaigns.view, "outcomes": outcomes.view,
    "estimate": estimate.view,
}  # fmt: skip
_NAMED: Mapping[str, Callable[[Asker], View | None]] = {
    "jobs": job.view, "campaigns": campaigns.campaign, "budgets": campaigns.budget,
}  # fmt: skip

_Made = tuple[View | None, Viewer]


def page_routes(desk: Desk, passed: Callable[[], Passed]) -> list[Route]:
    """The routes at /ui/; `passed` says in the server's loop what passes there were, and must return at once."""
    page = _Page(desk, passed, Assets(), Events(passed, desk.clock))
    routes = [Route(TREE + room, page.of(room, view)) for room, view in _VIEWS.items()]
    routes += [Route(f"{TREE}{room}/{{name:text}}", page.of(room, view)) for room, view in _NAMED.items()]
    return [
        Route(BASE, _to_tree),
        Route(f"{TREE}events", page.events),
        Route(f"{TREE}static/{{version}}/{{name:path}}", page.assets.answer),
        *routes,
        Route(f"{TREE}{{rest:text}}", page.nothing),
    ]


async def _to_tree(_request: Request) -> Response:
    return RedirectResponse(TREE, 308)


@dataclass(frozen=True, slots=True)
class _Page:
    desk: Desk
    passed: Callable[[], Passed]
    assets: Assets
    open: Events

    def of(self, room: str, view: Callable[[Asker], View | None]) -> Callable[[Request], Awaitable[Response]]:
        """What answers requests for a view."""

        async def answer(request: Request) -> Response:
            return await self._answer(request, room, view)

        return answer

    async def _answer(self, request: Request, room: str, view: Callable[[Asker], View | None]) -> Response:
        try:
            person = await self.desk.person(request)
            given = _given(request)
            name = name_of("name", request.path_params["name"]) if "name" in request.path_params else ""

            def make(question: Question) -> _Made:
                return view(Asker(question, given, name)), question.viewer

            found, viewer = await self.desk.read(person, make)
        except (Forbidden, Rejected, Busy, GpuwatchError, OSError) as exc:
            return self._refused(request, room, exc)
        if found is None:
            return self._said(request, room, 404, "There is none", _MISSING, viewer)
        return self._written(request, room, found, viewer)

    def _refused(self, request: Request, room: str, exc: Exception) -> Response:
        if isinstance(exc, Forbidden):
            challenge = self.desk.gate.identity.challenge
            asked = {"connection": "close", **({"www-authenticate": challenge} if challenge else {})}
            return self._said(request, room, 401, "Who are you?", self._how(exc), headers=asked)
        if isinstance(exc, Rejected):
            return self._said(request, room, 400, "That cannot be asked", str(exc))
        headers = exc.headers if isinstance(exc, Busy) and exc.headers else {"retry-after": "5"}
        busy = "Too many ask at once; ask again in a moment."
        why = busy if isinstance(exc, Busy) else f"The ledger cannot be read now: {exc}"
        return self._said(request, room, 503, "Not now", why, headers=headers)

    def _how(self, exc: Forbidden) -> Child:
        return joined([
            tag("p", prose(str(exc)), "."),
            tag("p", "This page shows everybody his own jobs, coordinators those of their accounts, and staff all,"
                " as the API does. A browser can prove who you are in three ways:"),
            tag(
                "ul",
                tag("li", "with a name and password of the web-config file, where it has users;"),
                tag("li", "behind a proxy that signs you in, where the site has one;"),
                tag("li", "by the socket of the accounting host, through a login there: ",
                    tag("code", f"ssh -L 9840:{self._socket()} HOST"), ", and then ",
                    tag("code", f"http://localhost:9840{TREE}"), "."),
            ),
        ])  # fmt: skip

    def _socket(self) -> str:
        hints = self.desk.gate.identity.hints
        _, found, rest = hints.partition("ask at the socket ")
        return rest.split(" ")[0] if found else "/run/gpuwatch-accounting/api.sock"

    def _said(
        self, request: Request, room: str, status: int, title: str, words: Child, viewer: Viewer | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:  # fmt: skip
        body = tag("p", prose(words), class_="none") if type(words) is str else words
        main = joined([tag("h1", title), body])
        return self._written(request, room, View(title, main), viewer, status, headers)

    def _written(
        self, request: Request, room: str, view: View, viewer: Viewer | None, status: int = 200,
        more: Mapping[str, str] | None = None,
    ) -> Response:  # fmt: skip
        cluster = self.desk.gate.access.cluster
        text = frame.whole(view, self.assets, cluster, room, viewer, self.passed())
        body = text.encode("utf-8", "replace")
        compress = accepts_gzip(request.headers.get("accept-encoding", ""))
        mark = f'"{hashlib.sha256(body).hexdigest()[:32]}{"-gzip" if compress else ""}"'
        headers = {
            **HEADERS,
            "vary": "accept-encoding, authorization",
            "cache-control": "no-store",
            **(more or {}),
        }
        if status == 200:
            headers |= {"etag": mark, "cache-control": "private, no-cache"}
            if request.headers.get("if-none-match", "") == mark:
                return Response(status_code=304, headers=headers)
        if compress:
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        return Response(body, status, headers, "text/html; charset=utf-8")

    async def events(self, request: Request) -> Response:
        """The stream of events, for whoever proves who he is."""
        try:
            return self.open.answer(await self.desk.person(request))
        except (Forbidden, GpuwatchError, Busy) as exc:
            return self._refused(request, "", exc)

    async def nothing(self, request: Request) -> Response:
        """Whatever is not there."""
        return self._said(request, "", 404, "There is none", "There is no such view.")


_MISSING = "There is none of that name, or it is not yours to read."


def _given(request: Request) -> Mapping[str, str]:
    """What the address asks for; `Rejected` where something is there twice."""
    if len(request.url.query) > LONGEST_QUERY:
        raise Rejected("the address is too long")
    given: dict[str, str] = {}
    for key, value in request.query_params.multi_items():
        if key in given:
            raise Rejected(f"{key}: is there twice")
        given[key] = value
    return given
