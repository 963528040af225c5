"""The API server, as far as it is read: JSON documents and lists of them, each answer limited in size and time.

The official client finds the server, its certificates and the token, renewed as they are; its models are left out,
since building them takes longer than the question.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.hygiene import log

EXTRA = "kubernetes"
MAX_BYTES = 128 * 2**20
MAX_PAGES = 2000
_CHUNK = 2**16
_GONE = 410


class Refused(Unavailable):
    """The server answered, with another status than 200; `document` is what it said, `wait_seconds` its wish."""

    def __init__(self, message: str, status: int, document: Mapping[str, Any], wait_seconds: float) -> None:
        super().__init__(message)
        self.status = status
        self.document = document
        self.wait_seconds = wait_seconds


class Reader(Protocol):
    """Whoever answers questions as an API server does."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """The document at a path; `Unavailable` where there is no answer, `Refused` where it is another."""
        ...


class Api:
    """One API server. The constructor raises `ConfigurationError` where nothing says how to reach it."""

    def __init__(self, kubeconfig: Path | None, context: str | None, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._errors, self._configuration, self._pool = _connection(kubeconfig, context)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """The document at a path."""
        try:
            status, headers, body = self._fetch(path, query or {})
        except self._errors as exc:
            raise Unavailable(f"{self._configuration.host}{path}: {log(str(exc)) or type(exc).__name__}") from exc
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            document = {}
            if status == 200:
                raise Unavailable(f"{self._configuration.host}{path}: what it answered is no JSON object")
        if status != 200:
            said = log(str(document.get("message", "")))[:300]
            message = f"{self._configuration.host}{path}: answered {status}; {said}"
            raise Refused(message, status, document, _seconds(headers.get("Retry-After")))
        return document

    def _fetch(self, path: str, query: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "gpuwatch-accounting"}
        bearer = self._configuration.auth_settings().get("BearerToken")
        if bearer is not None and bearer["value"]:
            headers["Authorization"] = bearer["value"]
        host = self._configuration.host.rstrip("/")
        url = f"{host}{path}?{urlencode(query)}" if query else f"{host}{path}"
        timeout = self._timeout_seconds
        deadline = time.monotonic() + timeout
        response = self._pool.request(
            "GET", url, headers=headers, preload_content=False, timeout=timeout, retries=False, redirect=False
        )
        try:
            body = _body(response, deadline)
            response.release_conn()
        finally:
            response.close()
        return response.status, response.headers, body


def _body(response: Any, deadline: float) -> bytes:
    """The body, unpacked; limited in size and in time as a whole, whatever the sender does."""
    packed = response.headers.get("Content-Encoding", "").lower() == "gzip"
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed else None
    body = bytearray()
    while chunk := response.read1(_CHUNK, decode_content=False):
        body += unpack.decompress(chunk, MAX_BYTES + 1 - len(body)) if unpack else chunk
        if len(body) > MAX_BYTES:
            raise OSError(f"answered more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("answered too slowly")
    if unpack and not unpack.eof:
        raise OSError("its answer ended early")
    return bytes(body)


def pages(api: Reader, path: str, page_size: int) -> Iterator[Mapping[str, Any]]:
    """Everything in a list, page by page. A list that the server forgot on the way goes on as it is by now.

    `Unavailable` also where that happens without end.
    """
    query = {"limit": str(page_size)}
    for _ in range(MAX_PAGES):
        try:
            document = api.get(path, query)
        except Refused as exc:
            token = _token(exc.document)
            if exc.status != _GONE or "continue" not in query or not token:
                raise
            query["continue"] = token
            continue
        items = document.get("items")
        yield from (each for each in items if isinstance(each, dict)) if isinstance(items, list) else ()
        token = _token(document)
        if not token:
            return
        query["continue"] = token
    raise Unavailable(f"{path}: more than {MAX_PAGES} pages; raise page_size")


def pods_path(namespace: str) -> str:
    """Where the pods of a namespace are listed; empty for those of all."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods" if namespace else "/api/v1/pods"


def _token(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    token = metadata.get("continue") if isinstance(metadata, Mapping) else None
    return token if isinstance(token, str) else ""


def _seconds(written: str | None) -> float:
    return float(written) if written is not None and written.isdecimal() and len(written) < 6 else 0.0


def _connection(kubeconfig: Path | None, context: str | None) -> tuple[tuple[type[Exception], ...], Any, Any]:
    """What can go wrong, how to reach the server, and the pool of connections to it."""
    try:
        import kubernetes.client
        import kubernetes.config
        import urllib3
        import yaml
        from kubernetes.client.rest import RESTClientObject
        from kubernetes.config.config_exception import ConfigException
    except ImportError as exc:
        raise ConfigurationError(
            [f"schedulers.kubernetes: cannot be used, {exc}; install gpuwatch[{EXTRA}]"]
        ) from exc
    configuration = kubernetes.client.Configuration()
    config: Any = kubernetes.config
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(
                str(kubeconfig), context, client_configuration=configuration, persist_config=False
            )
    except (ConfigException, OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as exc:
        where = "kubeconfig" if kubeconfig else "kubeconfig: unset, and this is no pod"
        raise ConfigurationError([f"schedulers.kubernetes.{where}: {log(str(exc))}"]) from exc
    pool = RESTClientObject(configuration).pool_manager
    return (urllib3.exceptions.HTTPError, ConfigException, OSError, zlib.error), configuration, pool
