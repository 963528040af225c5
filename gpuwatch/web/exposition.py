"""What both daemons answer over HTTP: /metrics, /-/healthy, /-/ready and a landing page."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from gpuwatch import hygiene
from gpuwatch.web.authentication import Admission, Passwords
from gpuwatch.web.pages import landing
from gpuwatch.web.security import Security
from gpuwatch.web.threads import Bounded, Busy

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_RENDERING = 4
MAX_LANDING = 2
GZIP_LEVEL = 4
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "referrer-policy": "no-referrer",
}

_log = logging.getLogger(__name__)


def base_app(
    title: str,
    render: Callable[[], bytes],
    healthy: Callable[[], bool],
    ready: Callable[[], bool],
    links: Sequence[tuple[str, str]],
    routes: Sequence[Route] = (),
    body: Callable[[], str] | None = None,
    security: Security | None = None,
    bearer_paths: Collection[str] = (),
    passwords: Passwords | None = None,
) -> Starlette:
    """The application of a daemon; `render` gives the text of /metrics, `body` HTML for the landing page.

    `render` and `body` are called in threads, several at once; `body` makes what it shows safe (hygiene.html).
    `healthy` and `ready` are called in the server's loop and must return at once. With `security`, requests are
    let in as it says (those to `bearer_paths` by their own token), and /metrics ends with the web server's own.
    """
    landing_threads = Bounded(MAX_LANDING)

    async def first(request: Request) -> Response:
        shown = "" if body is None else await landing_threads.run(body)
        return HTMLResponse(landing(title, links, shown))

    own = security.counters.render if security is not None else bytes
    admission = [Middleware(Admission, security, bearer_paths, passwords)] if security is not None else []

    app = Starlette(
        routes=[
            Route("/", first),
            Route("/metrics", Exposition(render, own).answer),
            Route("/-/healthy", _state("healthy", healthy)),
            Route("/-/ready", _state("ready", ready)),
            *routes,
        ],
        middleware=[Middleware(SecurityHeaders), *admission],
        exception_handlers={HTTPException: _refusal},
    )
    app.router.redirect_slashes = False
    return app


class Exposition:
    """Answers /metrics: few renderings at once, each body compressed once, a failure told once.

    The page is what `render` gives and what `own` gives after it; both give the same object until it is another.
    """

    def __init__(self, render: Callable[[], bytes], own: Callable[[], bytes] = bytes) -> None:
        self._render = render
        self._own = own
        self._threads = Bounded(MAX_RENDERING)
        self._failing = False
        self._lock = Lock()
        self._joined = (b"", b"", b"")
        self._compressed = (b"", b"")

    async def answer(self, request: Request) -> Response:
        """The metrics; 503 where too many are being rendered, 500 where rendering failed."""
        compress = accepts_gzip(request.headers.get("accept-encoding", ""))
        try:
            text = await self._threads.run(lambda: self.body(compress))
        except Busy as exc:
            return PlainTextResponse("too many scrapes at once\n", 503, exc.headers)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the daemon goes on
            self._failed(exc)
            return PlainTextResponse("metrics cannot be rendered; see the log\n", 500)
        self._failing = False
        headers = {"content-type": CONTENT_TYPE, "vary": "accept-encoding", "cache-control": "no-store"}
        return Response(text, headers=headers | ({"content-encoding": "gzip"} if compress else {}))

    def body(self, compress: bool) -> bytes:
        """The text, compressed at most once for each object that is rendered; in any thread."""
        rendered, own = self._render(), self._own()
        with self._lock:
            if self._joined[0] is not rendered or self._joined[1] is not own:
                self._joined = rendered, own, rendered + own if own else rendered
            text = self._joined[2]
            if not compress:
                return text
            if self._compressed[0] is not text:
                self._compressed = text, gzip.compress(text, GZIP_LEVEL, mtime=0)
            return self._compressed[1]

    def _failed(self, exc: Exception) -> None:
        if not self._failing:
            _log.error("metrics cannot be rendered error=%s", hygiene.log(repr(exc)), exc_info=exc)
        self._failing = True


class SecurityHeaders:
    """Adds headers that keep a browser from doing more with an answer than show it; a route may set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the answer back with the headers."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header takes gzip (named, and not with q=0)."""
    for offer in accept_encoding.lower().split(","):
        coding, _, quality = offer.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "").rstrip("0.") not in ("q=", "q")
    return False


def _state(word: str, holds: Callable[[], bool]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if holds():
            return PlainTextResponse(f"gpuwatch is {word}.\n")
        return PlainTextResponse(f"gpuwatch is not {word}.\n", 503)

    return answer


async def _refusal(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = exc.headers if isinstance(exc, HTTPException) else None
    return PlainTextResponse(f"{status} {HTTPStatus(status).phrase.lower()}\n", status, headers)
