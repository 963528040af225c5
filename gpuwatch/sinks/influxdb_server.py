"""An InfluxDB, or what speaks its write API, through the official client as the transport of ready lines.

The client's batching is not used: it gives points up after a few minutes and at exit. Of its synchronous call,
which tries once, `write` makes an `Answer`; what to do about it is the sender's.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpuwatch import __version__, hygiene
from gpuwatch.sinks.influxdb_answers import Answer, judge, short
from gpuwatch.sinks.influxdb_limits import limit
from gpuwatch.sinks.influxdb_settings import ServerSettings

NOTHING = b"\n"
"""No line at all: whoever may write gets a good answer, and nothing is stored."""

_SYSTEM = re.compile(r"^.*\[Errno -?\d+\] |^<.*?>: |^\w+\(host=.*?\): ", re.DOTALL)

_Seen = tuple[tuple[int, int, int] | None, ...]


class Server:
    """A server and the credentials for it, which are read at the first request and again when they change.

    For one thread. Neither `repr` nor any message shows a credential.
    """

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._service: Any = None
        self._client: Any = None
        self._seen: _Seen = ()
        self._secret = ""

    @property
    def url(self) -> str:
        """Its address; there is no secret in it."""
        return self._settings.url

    def write(self, lines: bytes) -> Answer:
        """Send lines, once; does not raise. With `NOTHING` only whether they would be taken is asked."""
        try:
            service = self._connected()
        except OSError as exc:
            return Answer("forbidden", "auth", short(_reason(exc)))
        except ValueError as exc:
            return Answer("later", "network", short(str(exc)))
        answer = _post(service, self._settings, lines, self._clock)
        if self._secret and self._secret in answer.detail:
            return Answer(answer.verdict, answer.reason, "(not shown)", answer.wait_seconds, answer.time)
        return answer

    def renew(self) -> None:
        """Read credentials and certificates anew before the next request."""
        self.close()

    def changed(self) -> bool:
        """Whether a file with a credential or certificate is another one than was read."""
        return self._seen != self._look()

    def close(self) -> None:
        """Forget the connection."""
        if self._client is not None:
            self._client.close()
        self._client = self._service = None

    def _connected(self) -> Any:
        seen = self._look()
        if self._service is None or seen != self._seen:
            self.close()
            self._seen = seen
            self._secret = self._credential()
            self._client, self._service = _open(self._settings, self._secret)
        return self._service

    def _look(self) -> _Seen:
        settings = self._settings
        files = (
            settings.token_file,
            settings.password_file,
            settings.ca_file,
            settings.cert_file,
            settings.key_file,
        )
        return tuple(_identity(path) for path in files if path is not None)

    def _credential(self) -> str:
        settings = self._settings
        if settings.token_file is not None:
            return _read(settings.token_file)
        if settings.username is not None and settings.password_file is not None:
            return f"{settings.username}:{_read(settings.password_file)}"
        return ""


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> str:
    """The file's one line; `OSError` where it has none that a header could carry."""
    text = path.read_bytes().decode("ascii", "replace").strip()
    if not text.isprintable() or not text.isascii() or not text:
        raise OSError(0, "is not one line of printable ASCII", str(path))
    return text


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror or error}" if error.filename else str(error)


def _open(settings: ServerSettings, secret: str) -> tuple[Any, Any]:
    import influxdb_client

    library: Any = influxdb_client
    client = library.InfluxDBClient(
        settings.url,
        secret,
        org=settings.org,
        enable_gzip=True,
        timeout=max(1, round(settings.timeout_seconds * 1000)),
        ssl_context=_context(settings) if settings.url.startswith("https:") else None,
        proxy=settings.proxy,
        retries=False,
    )
    limit(client.api_client.rest_client.pool_manager)
    client.api_client.user_agent = f"gpuwatch/{__version__}"
    return client, library.WriteService(client.api_client)


def _context(settings: ServerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as exc:
        raise ValueError(f"ca_file {settings.ca_file}: {exc.strerror or exc}") from exc
    if settings.cert_file is not None and settings.key_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_password)
        except OSError as exc:
            files = f"cert_file {settings.cert_file}, key_file {settings.key_file}"
            raise ValueError(f"{files}: {exc.strerror or exc}") from exc
    return context


def _no_password() -> str:
    raise ValueError("key_file is encrypted, and nobody is there to type its password")


def _post(service: Any, settings: ServerSettings, lines: bytes, clock: Callable[[], float]) -> Answer:
    from influxdb_client.rest import ApiException
    from urllib3 import exceptions

    try:
        # The client would make text of the answer, and lose the status where that cannot be done.
        response = service.post_write_with_http_info(
            settings.org, settings.bucket, lines, precision="ns", content_type="text/plain; charset=utf-8",
            _return_http_data_only=True, _preload_content=False, urlopen_kw={"decode_content": False},
        )  # fmt: skip
        return _answer(response, clock)
    except ApiException as exc:
        return _answer(exc.response, clock) if exc.status else _unreached("network", exc.reason)
    except exceptions.NewConnectionError as exc:
        return _unreached("network", exc)
    except exceptions.TimeoutError as exc:
        return _unreached("timeout", exc)
    except (exceptions.HTTPError, OSError, ValueError, OverflowError) as exc:
        return _unreached("network", exc)


def _answer(response: Any, clock: Callable[[], float]) -> Answer:
    body = response.data
    response.release_conn()
    return judge(response.status, response.headers, body, clock())


def _unreached(reason: str, error: object) -> Answer:
    # urllib3 begins with the connection that it is about, and ends with what the system says.
    text = _SYSTEM.split(str(error))[-1] or str(error)
    return Answer("later", reason, short(hygiene.log(text)))
