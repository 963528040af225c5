"""What jobs say over HTTP with a token of their own, as docs/socket.md describes it."""

from __future__ import annotations

import hmac
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gpuwatch.agent.intake import Speaker
from gpuwatch.agent.messages import Message, Written, decode, parse, written
from gpuwatch.agent.socket import BURST, MESSAGES_PER_SECOND, Bucket
from gpuwatch.agent.tokens import job_token
from gpuwatch.errors import Forbidden, GpuwatchError, Rejected
from gpuwatch.web.threads import Bounded, Busy

PREFIX = "/api/v1/jobs/"
MOST_BYTES = 64 * 1024
MOST_SPEAKING = 4

_BUCKETS = 1024
_LONGEST_JOB = 256
_ERROR_CHARACTERS = 1000

Speak = Callable[[Speaker, Message | Written], Mapping[str, Any]]


class _Refusal(GpuwatchError):
    """An answer that is none of the agent's own refusals."""

    def __init__(self, status: int, outcome: str, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.outcome = outcome


class JobApi:
    """The two routes. `speak` is the agent's, called in threads; `secret` is read at every request."""

    def __init__(
        self, speak: Speak, secret: Callable[[], bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._speak = speak
        self._secret = secret
        self._clock = clock
        self._threads = Bounded(MOST_SPEAKING)
        self._buckets: dict[str, Bucket] = {}
        self._counted: Counter[tuple[str, str]] = Counter()

    def routes(self) -> list[Route]:
        """`progress` and `declare` of a job."""
        return [
            Route(
                PREFIX + "{job}/progress", self._answering(lambda body: written(decode(body))), methods=["POST"]
            ),
            Route(
                PREFIX + "{job}/declare",
                self._answering(lambda body: parse({**decode(body), "type": "declare"})),
                methods=["POST"],
            ),
        ]

    def counters(self) -> Mapping[tuple[str, str], float]:
        """How many requests there were so far, all of type `http`, by outcome."""
        return {key: float(count) for key, count in self._counted.copy().items()}

    def _answering(self, read: Callable[[bytes], Message | Written]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            status, outcome, document = await self._answered(request, read)
            self._counted["http", outcome] += 1
            headers = {"cache-control": "no-store"}
            if status == 401:
                headers["www-authenticate"] = 'Bearer realm="gpuwatch job"'
            if status in (429, 503):
                headers["retry-after"] = "1"
            body = json.dumps(document, separators=(",", ":"))
            return Response(body + "\n", status, headers, media_type="application/json")

        return answer

    async def _answered(
        self, request: Request, read: Callable[[bytes], Message | Written]
    ) -> tuple[int, str, Mapping[str, Any]]:
        """The status, the outcome and the reply."""
        try:
            job_id = await self._admit(request)
            message = read(await _body(request))
            reply = await self._threads.run(lambda: self._speak(Speaker(job_id), message))
        except _Refusal as exc:
            return exc.status, exc.outcome, _refused(exc.outcome, str(exc))
        except Busy:
            return 503, "unavailable", _refused("unavailable", "jobs: too many speak at once; try again")
        except Rejected as exc:
            return 400, "rejected", _refused("rejected", str(exc))
        except Forbidden as exc:
            return 403, "forbidden", _refused("forbidden", str(exc))
        except ClientDisconnect:
            return 400, "rejected", _refused("rejected", "message: it ended early")
        except GpuwatchError as exc:
            return 503, "unavailable", _refused("unavailable", str(exc))
        return 200, "ok", {**reply, "ok": True}

    async def _admit(self, request: Request) -> str:
        """The job whose token was sent."""
        if "origin" in request.headers:
            raise _Refusal(403, "forbidden", "jobs: not for browsers; a request with an Origin header is refused")
        job_id = request.path_params["job"]
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        secret = await self._threads.run(self._secret)
        matches = hmac.compare_digest(given.strip().encode("latin-1"), job_token(secret, job_id).encode())
        if not matches or scheme.lower() != "bearer" or len(job_id) > _LONGEST_JOB or not job_id.isprintable():
            raise _Refusal(401, "forbidden", "jobs: the token is missing, or not that of this job")
        if not self._bucket(job_id).take(self._clock()):
            limit = f"at most {MESSAGES_PER_SECOND:g} a second and job, {BURST:g} at once"
            raise _Refusal(429, "rate_limited", f"message: too many; {limit}")
        return str(job_id)

    def _bucket(self, job_id: str) -> Bucket:
        now = self._clock()
        bucket = self._buckets.get(job_id)
        if bucket is None:
            if len(self._buckets) >= _BUCKETS:
                self._buckets = {each: kept for each, kept in self._buckets.items() if not kept.full(now)}
            bucket = self._buckets[job_id] = Bucket(MESSAGES_PER_SECOND, BURST, BURST, now)
        return bucket


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise _Refusal(413, "oversize", f"message: longer than {MOST_BYTES} bytes; send less")
    return body


def _refused(outcome: str, error: str) -> Mapping[str, Any]:
    return {"ok": False, "outcome": outcome, "error": error[:_ERROR_CHARACTERS]}
