"""Basic authentication and rate limit by the web-config file, before anything else sees a request.

Passwords are checked by bcrypt in one thread, one at a time, with a pause after each that was wrong, so that
guessing costs a node a tenth of a core at most. What was right is remembered as a keyed hash; what was wrong is
not, so that guesses cannot push the scraper's own entry out. An unknown user takes as long as a known one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response

from gpuwatch.web.connections import network_of
from gpuwatch.web.security import Security
from gpuwatch.web.threads import Busy
from gpuwatch.web.web_config import RateLimit, WebConfig

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CACHED = 100
MAX_WAITING = 8
MAX_WAITING_OF_ONE = 2
"""So many checks of one network may wait, so that a guesser leaves room for the others."""
PAUSE_RATIO = 9
"""After a wrong password nothing is checked for so many times as long as the check took."""
MAX_PAUSE_SECONDS = 1.0
# A hash that belongs to no password; its cost is that of the users' hashes, so that both take the same time.
_NOBODY = b"QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
_BCRYPT_BYTES = 72
_REFUSALS = {401: "authentication", 429: "rate_limit"}


class Passwords:
    """Checks names and passwords. Used in the server's loop only."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._turn = asyncio.Lock()

    async def hold(self, users: Mapping[str, bytes], name: str, password: bytes, network: str) -> bool:
        """Whether the password is that user's; `Busy` where too many wait to be checked."""
        hashed = users.get(name) or nobody(users)
        key = self._keyed(name, password, hashed)
        if key in self._right:
            self._right.move_to_end(key)
            return True
        if self._waiting.total() >= MAX_WAITING or self._waiting[network] >= MAX_WAITING_OF_ONE:
            raise Busy
        self._waiting[network] += 1
        try:
            async with self._turn:
                right = await self._checked(password, hashed)
        finally:
            self._waiting[network] -= 1
            self._waiting += Counter()  # forgets those that are at 0
        if not right or name not in users:
            return False
        self._right[key] = None
        if len(self._right) > CACHED:
            self._right.popitem(last=False)
        return True

    async def _checked(self, password: bytes, hashed: bytes) -> bool:
        began = time.monotonic()
        right = await run_in_threadpool(matches, password, hashed)
        if not right:
            await asyncio.sleep(min(MAX_PAUSE_SECONDS, PAUSE_RATIO * (time.monotonic() - began)))
        return right

    def _keyed(self, name: str, password: bytes, hashed: bytes) -> bytes:
        parts = (name.encode("utf-8", "surrogatepass"), hashed, password)
        return hmac.digest(self._key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256")


def nobody(users: Mapping[str, bytes]) -> bytes:
    """A hash for users that are not there, as costly as the costliest of those that are."""
    return b"$2b$%02d$" % max(int(hashed[4:6]) for hashed in users.values()) + _NOBODY


def matches(password: bytes, hashed: bytes) -> bool:
    """Whether bcrypt says so; what it does not take is wrong."""
    import bcrypt

    try:
        # As every bcrypt before did, and the tool that made the hash: the rest of a long password does not count.
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)
    except ValueError:
        return False


def credentials(authorization: str) -> tuple[str, bytes] | None:
    """Name and password of a Basic Authorization header; None where it is no such header."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (name.decode("utf-8"), password) if colon else None
    except (binascii.Error, ValueError):
        return None


class Bucket:
    """A token bucket: one request each interval, `burst` at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit: RateLimit | None = None
        self._tokens = 0.0
        self._filled_at = 0.0

    def allows(self, limit: RateLimit) -> bool:
        """Take a token where there is one; a new limit begins with a full bucket."""
        now = self._clock()
        if limit != self._limit:
            self._limit, self._tokens, self._filled_at = limit, float(limit.burst), now
        filled = self._tokens + (now - self._filled_at) / limit.interval_seconds
        self._tokens, self._filled_at = min(float(limit.burst), filled), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Admission:
    """Lets requests in as the web-config file says; `bearer_paths` have an authentication of their own.

    One of them that ends in `/` stands for all paths that begin so. `passwords` may be shared with others who
    check some, as these are checked one at a time.
    """

    def __init__(
        self,
        app: ASGIApp,
        security: Security,
        bearer_paths: Collection[str] = (),
        passwords: Passwords | None = None,
    ) -> None:
        self._app = app
        self._security = security
        self._bearer_paths = frozenset(bearer_paths)
        self._bearer_trees = tuple(path for path in bearer_paths if path.endswith("/"))
        self._passwords = passwords or Passwords()
        self._bucket = Bucket()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, 429 or 503."""
        config = self._security.now.config

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in config.headers.items():
                    headers[name] = value
                self._count(message["status"], headers)
            await send(message)

        refusal = await self._refusal(scope, config)
        await (refusal or self._app)(scope, receive, sending)

    async def _refusal(self, scope: Scope, config: WebConfig) -> Response | None:
        if config.rate_limit is not None and not self._bucket.allows(config.rate_limit):
            return PlainTextResponse("429 too many requests\n", 429, {"retry-after": "1"})
        path = scope["path"]
        if not config.users or path in self._bearer_paths or path.startswith(self._bearer_trees):
            return None
        given = credentials(Headers(scope=scope).get("authorization", ""))
        network = network_of(scope["client"][0] if scope.get("client") else "")
        try:
            if given is not None and await self._passwords.hold(config.users, *given, network):
                return None
        except Busy as exc:
            return PlainTextResponse("503 too many passwords to check\n", 503, exc.headers)
        # Closed, so that one who may not come in does not keep a connection that counts as served.
        headers = {"www-authenticate": 'Basic realm="gpuwatch", charset="UTF-8"', "connection": "close"}
        return PlainTextResponse("401 unauthorized\n", 401, headers)

    def _count(self, status: int, headers: MutableHeaders) -> None:
        if status in _REFUSALS:
            self._security.counters.refused(_REFUSALS[status])
        elif status == 503 and "retry-after" in headers:
            self._security.counters.refused("busy")
