"""Asks accounting's API, at its unix socket or over TCP, with the credential that the user's session has."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from gpuwatch.cli.options import own_directory
from gpuwatch.errors import ConfigurationError, Forbidden, GpuwatchError, Rejected, Unavailable

if TYPE_CHECKING:
    from gpuwatch.settings import Settings

BASE = "/api/v1"
TIMEOUT_SECONDS = 30.0
MAX_BYTES = 256 * 2**20
_TOKEN = "SLURM_JWT"

Document = dict[str, Any]


class ApiClient:
    """A client of the API at `where`: the path of a unix socket, or http://HOST:PORT.

    Over TCP it shows the token in SLURM_JWT, as `scontrol token` sets it, else a credential of `munge`, if there
    is that program.
    """

    def __init__(self, where: str, environment: Mapping[str, str] = os.environ) -> None:
        self._where = where
        self._environment = environment

    def get(self, path: str, **parameters: object) -> Document:
        """The document at a path; `Unavailable` where it cannot be had, `Forbidden` to those who are not known."""
        given = {name: str(value) for name, value in parameters.items() if value is not None}
        return self._asked("GET", BASE + quote(path) + (f"?{urlencode(given)}" if given else ""))

    def post(self, path: str, **members: str) -> Document:
        """Have something changed; raises as `get` does, `Forbidden` also for what the caller may not."""
        return self._asked("POST", BASE + quote(path), json.dumps(members).encode())

    def _asked(self, method: str, target: str, body: bytes | None = None) -> Document:
        sent = self._headers(method, target, body)
        try:
            connection = _connection(self._where)
            try:
                connection.request(method, target, body, sent)
                answer = connection.getresponse()
                body = answer.read(MAX_BYTES)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as exc:
            raise Unavailable(f"API at {self._where}: {exc.__class__.__name__}: {exc}") from exc
        document = _document(body)
        if answer.status == 200 and document is not None:
            return document
        raise _refusal(answer.status, f"API at {self._where}: {(document or {}).get('error', answer.reason)}")

    def pages(self, path: str, room: str, **parameters: object) -> Iterator[Document]:
        """Every entry of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.get(path, limit=1000, cursor=cursor, **parameters)
            yield from page[room]
            cursor = page["next"]
            if cursor is None:
                return

    def _headers(self, method: str, target: str, body: bytes | None) -> dict[str, str]:
        content = {} if body is None else {"Content-Type": "application/json"}
        if _is_socket(self._where):
            return content
        token = self._environment.get(_TOKEN)
        if token:
            return {"X-SLURM-USER-TOKEN": token, **content}
        munge = shutil.which("munge")
        if munge is None:
            return content
        said = ["gpuwatch/1", method, target] + ([hashlib.sha256(body).hexdigest()] if body else [])
        return {"Authorization": f"Munge {_credential(munge, ' '.join(said))}", **content}


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self._path)


def _is_socket(where: str) -> bool:
    return "://" not in where


def _connection(where: str) -> http.client.HTTPConnection:
    if _is_socket(where):
        return _UnixConnection(where)
    url = urlsplit(where)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
        raise ConfigurationError([f"--api: {where!r} is not possible; write http://HOST:PORT or a socket's path"])
    if url.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=TIMEOUT_SECONDS, context=context)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=TIMEOUT_SECONDS)


def _credential(munge: str, payload: str) -> str:
    try:
        made = subprocess.run([munge, "-s", payload], capture_output=True, text=True, timeout=10, check=True)
    except (subprocess.SubprocessError, OSError) as exc:
        raise Unavailable(f"munge: no credential can be made; {exc}") from exc
    return made.stdout.strip()


def _document(body: bytes) -> Document | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _refusal(status: int, message: str) -> GpuwatchError:
    if status in (401, 403):
        return Forbidden(message)
    return Rejected(message) if status in (400, 413, 415) else Unavailable(message)


def usual_socket(settings: Settings) -> str | None:
    """The socket of the API on this host; where nothing is configured, that of this user's `gpuwatch up`."""
    own = own_directory() / "api.sock"
    chosen = str(own) if not settings.files and own.is_socket() else settings.accounting.socket
    return chosen if chosen and usable_socket(chosen) else None


def usable_socket(path: str) -> bool:
    """Whether there is a unix socket."""
    return bool(path) and Path(path).is_socket()
