"""Asking servers over HTTP; what they answer is limited in size and in time.

No proxy of the environment, no redirect: a secret goes where the configuration says and nowhere else.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import zlib
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPErrorProcessor, OpenerDirector, ProxyHandler, Request, build_opener

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.http.deadline import PlainInTime, SecureInTime
from gpuwatch.http.times import date_of, retry_after
from gpuwatch.model import EMPTY

MAX_BYTES = 64 * 2**20
"""The longest answer that is read, unpacked."""

MOST_VALUES = 3_000_000
"""So many values of JSON an answer may have, as two bytes become a hundred in memory: 600 MB at the very most."""

_BEFORE_VALUES = (b",", b"[", b"{")
_MAX_ERROR_BYTES = 2**16
_SHOWN = 300
_CHUNK = 2**16
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_OUR_HEADERS = frozenset(
    {
        "authorization", "proxy-authorization", "cookie", "host", "connection", "transfer-encoding", "user-agent",
        "content-length", "content-type", "content-encoding", "accept-encoding",
    }
)  # fmt: skip


def server_url(url: str) -> str:
    """An address as it is asked: without a slash at its end; `ValueError` where it is none, or has a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be http://HOST:PORT or https://HOST:PORT")
    if parts.username or parts.password:
        raise ValueError("must not carry a password; name a token_file")
    return url.rstrip("/")


ServerUrl = Annotated[str, AfterValidator(server_url)]


def _user(name: str) -> str:
    if not name or ":" in name:
        raise ValueError("must be a name without a colon")
    return name


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isascii() or not value.isprintable():
            raise ValueError(f"must have names and values of printable ASCII; {name!r} has not")
        if name.lower() in _OUR_HEADERS:
            raise ValueError(f"must not set {name}; a secret is named by token_file or password_file")
    return headers


UserName = Annotated[str, AfterValidator(_user)]


class Access(BaseModel):
    """How servers are trusted and how they are shown who asks; part of a source's table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_seconds: float = Field(default=30.0, gt=0, le=600, description="wait for an answer this long")
    token_file: Path | None = Field(default=None, description="file with the token to show")
    ca_file: Path | None = Field(
        default=None, description="trust an https:// server by the authorities in this file; unset: the system's"
    )
    cert_file: Path | None = Field(default=None, description="client certificate to show to an https:// server")
    key_file: Path | None = Field(default=None, description="key of the client certificate")
    username: UserName | None = Field(default=None, description="user of basic authentication, instead of a token")
    password_file: Path | None = Field(default=None, description="file with that user's password")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("must name cert_file and key_file, or neither")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("must name username and password_file, or neither")
        if self.token_file is not None and self.username is not None:
            raise ValueError("must name token_file or username, not both; a server takes one")
        return self


class ServerSettings(Access):
    """How a server is reached that may stand behind a gateway."""

    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict, description='further headers, as that of a tenant: {X-Scope-OrgID = "gpu"}'
    )


class Answer(NamedTuple):
    """What a server answered: the body, unpacked, and its clock (`Date`, Unix seconds) where it said it."""

    body: bytes
    date: float | None = None


class TooMuch(Unavailable):
    """It took too long or became too large; less may well be had."""


class Refused(Unavailable):
    """The server answered, and not with what was asked for; `status` is that of HTTP.

    `wait_seconds` is how long it asked to be left alone, `date` its clock, each where it said so.
    """

    def __init__(
        self, message: str, status: int, wait_seconds: float | None = None, date: float | None = None
    ) -> None:
        self.status = status
        self.wait_seconds = wait_seconds
        self.date = date
        super().__init__(message)


class Client:
    """Asks servers as the settings say; any number of threads may use it at once.

    Whatever goes wrong raises `errors.Unavailable` with the reason alone: the caller knows whom it asked. A status
    other than 2xx is `Refused`, and its message has what the server said about it.
    """

    def __init__(self, settings: Access, scheme: str = "Bearer", most_values: int = MOST_VALUES) -> None:
        self._settings = settings
        self._most_values = most_values
        self._scheme = scheme
        self._headers = {"Accept-Encoding": "gzip", "User-Agent": "gpuwatch-accounting"}
        if isinstance(settings, ServerSettings):
            self._headers |= settings.headers
        self._opener: OpenerDirector | None = None
        self._opening = Lock()

    def renew(self) -> None:
        """Read the certificates anew at the next request: they are renewed while accounting runs."""
        self._opener = None

    def get(self, url: str, parameters: Mapping[str, str] = EMPTY) -> Answer:
        """The answer to a GET."""
        return self._ask(Request(f"{url}?{urlencode(parameters)}" if parameters else url, None, self._headers))

    def post(self, url: str, parameters: Mapping[str, str]) -> Answer:
        """The answer to a form that is posted: queries may be longer than an address."""
        return self._post(url, urlencode(parameters).encode(), "application/x-www-form-urlencoded")

    def post_json(self, url: str, document: object) -> Answer:
        """The answer to a JSON document that is posted."""
        return self._post(url, json.dumps(document).encode(), "application/json")

    def _post(self, url: str, body: bytes, content_type: str) -> Answer:
        return self._ask(Request(url, body, {**self._headers, "Content-Type": content_type}))

    def _ask(self, request: Request) -> Answer:
        try:
            if (authorization := _authorization(self._settings, self._scheme)) is not None:
                request.add_header("Authorization", authorization)
            with self._opened().open(request, timeout=self._settings.timeout_seconds) as response:
                if not 200 <= response.status < 300:
                    raise _refused(response)
                body = _body(response)
                if sum(map(body.count, _BEFORE_VALUES)) > self._most_values:
                    raise TooMuch(f"answered more than {self._most_values} values")
                return Answer(body, date_of(response.headers["Date"]))
        except (OSError, HTTPException, ValueError, zlib.error) as exc:
            cause = getattr(exc, "reason", None) or exc
            failure = TooMuch if isinstance(cause, TimeoutError) else Unavailable
            raise failure(_words(cause) or type(exc).__name__) from exc

    def _opened(self) -> OpenerDirector:
        opener = self._opener
        if opener is None:
            with self._opening:
                opener = self._opener = self._opener or _opener(self._settings)
        return opener


def json_of(body: bytes) -> Any:
    """The JSON of an answer; raises `Unavailable` where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Unavailable("what it answered is not JSON") from exc


class _EveryAnswer(HTTPErrorProcessor):
    """An error's body has the reason. A redirect is an error: it would carry the token to wherever it points."""

    def http_response(self, request: Request, response: Any) -> Any:
        return response

    https_response = http_response


def _opener(settings: Access) -> OpenerDirector:
    # The servers are on this network: a proxy that the environment names is for other traffic.
    secure = SecureInTime(_context(settings))
    return build_opener(ProxyHandler({}), _EveryAnswer(), PlainInTime(), secure)


def _context(settings: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as exc:
        raise Unavailable(f"ca_file {settings.ca_file}: {_reason(exc)}") from exc
    if settings.cert_file is None or settings.key_file is None:
        return context
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_password)
    except (OSError, ValueError) as exc:
        raise Unavailable(f"cert_file {settings.cert_file}, key_file {settings.key_file}: {_reason(exc)}") from exc
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is there to type its password")


def _words(cause: object) -> str:
    """What went wrong, without the number that the system has for it."""
    return hygiene.log(str(getattr(cause, "strerror", None) or cause))


def _reason(error: Exception) -> str:
    found = getattr(error, "strerror", None) or str(error)
    return hygiene.log(str(getattr(error, "reason", None) or found))


def _authorization(settings: Access, scheme: str) -> str | None:
    """The header that says who asks, by what is in the files now."""
    if settings.token_file is not None:
        token = _secret("token_file", settings.token_file)
        if not token.isascii():
            raise Unavailable(f"token_file {settings.token_file}: has more than ASCII in it")
        return f"{scheme} {token}"
    if settings.username is None or settings.password_file is None:
        return None
    password = _secret("password_file", settings.password_file)
    return "Basic " + base64.b64encode(f"{settings.username}:{password}".encode()).decode("ascii")


def _secret(setting: str, path: Path) -> str:
    """What a file has; never shown, so that whatever could be refused with its words in it is refused here."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise Unavailable(f"{setting} {path}: {_reason(exc)}") from exc
    except UnicodeDecodeError:
        raise Unavailable(f"{setting} {path}: is not UTF-8") from None
    if not text or not text.isprintable():
        raise Unavailable(f"{setting} {path}: {'is empty' if not text else 'has more than one line in it'}")
    return text


def _refused(response: HTTPResponse) -> Refused:
    try:
        told = _told(_body(response, _MAX_ERROR_BYTES))
    except (Unavailable, OSError, HTTPException, zlib.error):
        told = ""
    answered = f"answered {response.status} {hygiene.log(str(response.reason))}"
    date = date_of(response.headers["Date"])
    wait = retry_after(response.headers["Retry-After"], date)
    return Refused(f"{answered}: {told}" if told else answered, response.status, wait, date)


def _told(body: bytes) -> str:
    """Why a server refuses: its JSON string, `error` or `message`, or its words; nothing of a page of HTML."""
    text = body.decode("utf-8", "replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.startswith("<") else hygiene.log(text[:_SHOWN])
    told = document
    if isinstance(document, dict):
        told = document.get("error") or document.get("message")
    return hygiene.log(told[:_SHOWN]) if isinstance(told, str) else ""


def _body(response: HTTPResponse, most: int = MAX_BYTES) -> bytes:
    """The body, unpacked; limited in size, whatever the sender does."""
    packed = response.headers.get("Content-Encoding", "").lower() == "gzip"
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed else None
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += unpack.decompress(chunk, most + 1 - len(body)) if unpack else chunk
        if len(body) > most:
            raise TooMuch(f"answered more than {most} bytes")
        if unpack and unpack.unused_data:
            raise Unavailable("its answer goes on after its end")
    if response.length or (unpack and not unpack.eof):
        raise Unavailable("its answer ended early")
    return bytes(body)
