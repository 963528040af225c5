"""The agent's usage API, as docs/usage-api.md describes it."""

from __future__ import annotations

import gzip
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gpuwatch.errors import GpuwatchError, Rejected
from gpuwatch.web.exposition import GZIP_LEVEL, accepts_gzip
from gpuwatch.web.threads import Bounded, Busy

MAX_SEQ = 2**63 - 1
MAX_ACK_BYTES = 1024
MAX_READING = 4
PATHS = ("/api/v1/usage", "/api/v1/ack")

Token = Callable[[], str | None]
Answer = Callable[[Request], Awaitable[Response]]


class UsageJournal(Protocol):
    """What the agent keeps for accounting; called in threads of the web server, several at once."""

    def since(self, seq: int) -> Mapping[str, Any]:
        """The document of docs/usage-api.md with everything that changed after `seq`."""
        ...

    def acknowledge(self, seq: int) -> None:
        """The reader has everything up to `seq` for good."""
        ...


def usage_routes(usage: UsageJournal, token: Token = lambda: None) -> list[Route]:
    """The routes of the usage API; `token` gives the shared secret, read at every request, or None for none.

    At most four calls are in threads at once; the next request is answered 503.
    """
    threads = Bounded(MAX_READING)

    async def read(request: Request) -> Response:
        seq = parse_seq(request.query_params.get("since", "0"))
        compress = accepts_gzip(request.headers.get("accept-encoding", ""))
        return await threads.run(lambda: _json(usage.since(seq), compress=compress))

    async def acknowledge(request: Request) -> Response:
        if "origin" in request.headers:
            return _error(403, "ack: not for browsers; a request with an Origin header is refused")
        seq = parse_ack(await _bounded_body(request))
        await threads.run(lambda: usage.acknowledge(seq))
        return _json({"seq": seq})

    return [
        Route(PATHS[0], _guarded(read, token, threads)),
        Route(PATHS[1], _guarded(acknowledge, token, threads), methods=["POST"]),
    ]


def parse_seq(text: str) -> int:
    """A sequence number as it is typed: digits only, up to 2^63 - 1; raises `Rejected`."""
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_SEQ:
        return int(text)
    raise Rejected(f"since: {text[:40]!r} is no sequence number; there is: 0 to {MAX_SEQ}")


def parse_ack(body: bytes) -> int:
    """The number in `{"seq": 1042}`; raises `Rejected`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Rejected('ack: the body is not JSON; there is: {"seq": 1042}') from exc
    seq = document.get("seq") if isinstance(document, dict) else None
    if type(seq) is int and 0 <= seq <= MAX_SEQ:
        return seq
    raise Rejected(f'ack: no sequence number from 0 to {MAX_SEQ}; there is: {{"seq": 1042}}')


def _guarded(answer: Answer, token: Token, threads: Bounded) -> Answer:
    async def guarded(request: Request) -> Response:
        authorization = request.headers.get("authorization", "")
        try:
            if not await threads.run(lambda: _admits(token, authorization)):
                headers = {"www-authenticate": 'Bearer realm="gpuwatch"'}
                return _error(401, "usage: the shared token is missing or wrong", headers)
            return await answer(request)
        except Busy as exc:
            return _error(503, "usage: too many requests at once", exc.headers)
        except Rejected as exc:
            return _error(400, str(exc))
        except ClientDisconnect:
            return _error(400, "ack: the body ended early")
        except (GpuwatchError, OSError) as exc:
            return _error(503, f"usage: {exc}")

    return guarded


def _admits(token: Token, authorization: str) -> bool:
    expected = token()
    if expected is None:
        return True
    scheme, _, given = authorization.partition(" ")
    matches = hmac.compare_digest(given.strip().encode("latin-1"), expected.strip().encode())
    return matches and scheme.lower() == "bearer" and bool(expected.strip())


async def _bounded_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_ACK_BYTES:
            raise Rejected(f"ack: the body is longer than {MAX_ACK_BYTES} bytes")
    return body


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json({"error": message}, status, headers)


def _json(
    document: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    compress: bool = False,
) -> Response:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=dict)
    # A lone surrogate (a name that was not UTF-8) becomes "?", so that what is sent is always UTF-8.
    body = text.encode("utf-8", "replace")
    sent = {"cache-control": "no-store", "vary": "accept-encoding", **(headers or {})}
    if compress:
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        sent["content-encoding"] = "gzip"
    return Response(body, status, sent, media_type="application/json")
