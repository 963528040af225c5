"""Usage from the agents themselves, over their usage API (docs/usage-api.md)."""

from __future__ import annotations

import base64
import json
import ssl
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Self
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.model import Site
from gpuwatch.usage.base import Delivery, Failure

SCHEMA = 1
AT_ONCE = 16
MAX_BYTES = 64 * 2**20
MAX_ANSWERS = 1000
"""How many answers one agent may give in a pass (`more`); what is left comes with the next pass."""
_CHUNK = 2**16
_MOST_SEQ = 2**63 - 1

Answer = Delivery | Failure


def _agent_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be http://HOST:PORT or https://HOST:PORT")
    if parts.username or parts.password:
        raise ValueError("must not carry a password; name a token_file")
    return url.rstrip("/")


def _user(name: str) -> str:
    if not name or ":" in name:
        raise ValueError("must be a name without a colon")
    return name


class AgentsUsage:
    """Reads every agent in `urls`, at most 16 at once. An agent that does not answer stays alone."""

    class Settings(BaseModel):
        """The table `[usage.agents]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        urls: tuple[Annotated[str, AfterValidator(_agent_url)], ...] = Field(
            default=("http://127.0.0.1:9838",), description="addresses of the agents"
        )
        timeout_seconds: float = Field(default=10.0, gt=0, le=600, description="wait for an agent this long")
        token_file: Path | None = Field(
            default=None, description="file with the shared token of the agents' usage API"
        )
        ca_file: Path | None = Field(
            default=None, description="trust https:// agents by the authorities in this file; unset: the system's"
        )
        cert_file: Path | None = Field(default=None, description="client certificate to show to https:// agents")
        key_file: Path | None = Field(default=None, description="key of the client certificate")
        username: Annotated[str, AfterValidator(_user)] | None = Field(
            default=None, description="user of the agents' basic authentication, where they have no token"
        )
        password_file: Path | None = Field(default=None, description="file with that user's password")

        @model_validator(mode="after")
        def _complete(self) -> Self:
            if (self.cert_file is None) != (self.key_file is None):
                raise ValueError("must name cert_file and key_file, or neither")
            if (self.username is None) != (self.password_file is None):
                raise ValueError("must name username and password_file, or neither")
            if self.token_file is not None and self.username is not None:
                raise ValueError(
                    "must name token_file or username, not both; agents with a token take no password"
                )
            return self

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._opener: OpenerDirector | None = None
        self._opening = Lock()
        self._acknowledged: dict[str, tuple[str, int]] = {}

    def collect(self, watermarks: Mapping[str, tuple[str, int]]) -> Iterator[Answer]:
        """Everything newer than the watermarks, agent by agent as they answer."""
        # Each pass anew: certificates are renewed while accounting runs.
        self._opener = None
        asks = deque(_Ask(url, watermarks.get(url)) for url in dict.fromkeys(self._settings.urls))
        running: dict[Future[tuple[Answer, _Ask | None]], _Ask] = {}
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="usage") as pool:
            while asks or running:
                # No more is begun than is waited for, so that few answers are in memory at once.
                while asks and len(running) < AT_ONCE:
                    ask = asks.popleft()
                    running[pool.submit(self._read, ask)] = ask
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    answer, more = future.result()
                    if more is not None:
                        asks.appendleft(more)
                    yield answer

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the agent that the ledger has the delivery; once, also where it is repeated."""
        mark = delivery.epoch, delivery.seq
        if self._acknowledged.get(delivery.origin) == mark:
            return
        body = json.dumps({"seq": delivery.seq}).encode()
        try:
            self._fetch(f"{delivery.origin}/api/v1/ack", body)
        except _Unreadable as exc:
            raise Unavailable(f"{delivery.origin}: cannot be acknowledged; {exc}") from exc
        self._acknowledged[delivery.origin] = mark

    def _read(self, ask: _Ask) -> tuple[Answer, _Ask | None]:
        try:
            document = self._document(ask.url, ask.mark[1] if ask.mark else 0)
            if ask.mark is not None and (document["epoch"] != ask.mark[0] or document["seq"] < ask.mark[1]):
                # Another life of the agent: what it has from before our number counts as well.
                document = self._document(ask.url, 0)
            delivery = _delivery(document, ask.url)
        except _Unreadable as exc:
            return Failure(ask.url, str(exc)), None
        more = bool(document.get("more")) and ask.answers < MAX_ANSWERS
        following = _Ask(ask.url, (delivery.epoch, delivery.seq), ask.answers + 1)
        return delivery, following if more else None

    def _document(self, url: str, since: int) -> Mapping[str, Any]:
        body = self._fetch(f"{url}/api/v1/usage?since={since}")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise _Unreadable("what it answered is not JSON") from exc
        return _checked(document)

    def _fetch(self, url: str, body: bytes | None = None) -> bytes:
        request = Request(url, body, {"Accept-Encoding": "gzip", "User-Agent": "gpuwatch-accounting"})
        if body is not None:
            request.add_header("Content-Type", "application/json")
        try:
            if (authorization := _authorization(self._settings)) is not None:
                request.add_header("Authorization", authorization)
            timeout = self._settings.timeout_seconds
            deadline = time.monotonic() + timeout
            with self._opened().open(request, timeout=timeout) as response:
                return _body(response, deadline)
        except HTTPError as exc:
            exc.close()
            raise _Unreadable(f"answered {exc.code} {hygiene.log(str(exc.reason))}") from exc
        except (OSError, HTTPException, ValueError, zlib.error) as exc:
            raise _Unreadable(hygiene.log(str(getattr(exc, "reason", None) or exc) or type(exc).__name__)) from exc

    def _opened(self) -> OpenerDirector:
        if self._opener is None:
            with self._opening:
                self._opener = self._opener or _opener(self._settings)
        return self._opener


class _Unreadable(Exception):
    """Why an agent's answer cannot be had or used."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request to an agent: everything after `mark`, the `answers`th of this pass."""

    url: str
    mark: tuple[str, int] | None
    answers: int = 1


class _NoRedirect(HTTPRedirectHandler):
    """An agent does not move; following would carry the token to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(settings: AgentsUsage.Settings) -> OpenerDirector:
    # Agents are on this network: a proxy that the environment names is for other traffic.
    https = HTTPSHandler(context=_context(settings))
    return build_opener(ProxyHandler({}), _NoRedirect(), https)


def _context(settings: AgentsUsage.Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as exc:
        raise _Unreadable(f"ca_file {settings.ca_file}: {_reason(exc)}") from exc
    if settings.cert_file is None or settings.key_file is None:
        return context
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_password)
    except (OSError, ValueError) as exc:
        raise _Unreadable(f"cert_file {settings.cert_file}, key_file {settings.key_file}: {_reason(exc)}") from exc
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is there to type its password")


def _reason(error: Exception) -> str:
    found = getattr(error, "strerror", None) or str(error)
    return hygiene.log(str(getattr(error, "reason", None) or found))


def _authorization(settings: AgentsUsage.Settings) -> str | None:
    """The header that the agents ask for, by what is in the files now."""
    if settings.token_file is not None:
        return f"Bearer {settings.token_file.read_text(encoding='utf-8').strip()}"
    if settings.username is None or settings.password_file is None:
        return None
    password = settings.password_file.read_text(encoding="utf-8").strip()
    return "Basic " + base64.b64encode(f"{settings.username}:{password}".encode()).decode("ascii")


def _body(response: HTTPResponse, deadline: float) -> bytes:
    """The body, unpacked; limited in size and in time as a whole, whatever the sender does."""
    packed = response.headers.get("Content-Encoding", "").lower() == "gzip"
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed else None
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += unpack.decompress(chunk, MAX_BYTES + 1 - len(body)) if unpack else chunk
        if len(body) > MAX_BYTES:
            raise _Unreadable(f"answered more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise _Unreadable("answered too slowly")
    if response.length or (unpack and not unpack.eof):
        raise _Unreadable("its answer ended early")
    return bytes(body)


_SHAPE: Mapping[str, type] = {
    "cluster": str, "node": str, "epoch": str, "seq": int, "rows": list, "declarations": list, "events": list,
}  # fmt: skip


def _checked(document: object) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise _Unreadable("what it answered is no JSON object")
    if document.get("schema") != SCHEMA:
        raise _Unreadable(f"answered schema {_shown(document.get('schema'))}; this gpuwatch reads {SCHEMA}")
    for name, kind in _SHAPE.items():
        if type(document.get(name)) is not kind:
            raise _Unreadable(f"{name} is {_shown(document.get(name))}, not {kind.__name__}")
    if not 0 <= document["seq"] <= _MOST_SEQ:
        raise _Unreadable(f"seq is {_shown(document['seq'])}, not a sequence number")
    now = document.get("now")
    if isinstance(now, bool) or not isinstance(now, int | float) or not 0 <= now < 2**53:
        raise _Unreadable(f"now is {_shown(now)}, not a time")
    return document


def _shown(value: object) -> str:
    return hygiene.log(repr(value)[:60])


def _delivery(document: Mapping[str, Any], origin: str) -> Delivery:
    return Delivery(
        document["cluster"], document["node"], document["epoch"], document["seq"], float(document["now"]),
        document["rows"], document["declarations"], document["events"], origin,
    )  # fmt: skip
