"""Certificates made for a test, web-config files that name them, and a server that serves them."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from gpuwatch.web.exposition import base_app
from gpuwatch.web.limits import Limits
from gpuwatch.web.security import Security
from gpuwatch.web.server import WebServer

PAGE = b"a 1\n"
ALICE = "$2b$04$hk/QoIe4E0ErqbyOsIDCZuvInaO2P0/4BOZol0cSP6D8gY0GnLDAi"
"""bcrypt of "wonderland", as cheap as it gets."""
YEAR = timedelta(days=365)


class Authority:
    """Issues certificates for this machine's loopback, and says whom to trust."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def issue(self, folder: Path, name: str = "127.0.0.1", lasts: timedelta = YEAR, stem: str = "") -> None:
        """`cert.pem` and `key.pem` in the folder, valid from a year ago for so much longer than now."""
        now = datetime.now(UTC)
        issued = self._ca.issue_cert(name, not_before=now - YEAR, not_after=now + lasts)
        (folder / f"{stem}cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
        (folder / f"{stem}key.pem").write_bytes(issued.private_key_pem.bytes())

    def write(self, path: Path) -> Path:
        """The authority's own certificate as a file."""
        path.write_bytes(self._ca.cert_pem.bytes())
        return path

    def context(self, folder: Path | None = None, stem: str = "client-") -> ssl.SSLContext:
        """A client that trusts the authority, with the certificate that is in the folder."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        if folder is not None:
            context.load_cert_chain(folder / f"{stem}cert.pem", folder / f"{stem}key.pem")
        return context


def config(folder: Path, text: str = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n") -> Path:
    """A web-config file with `text`."""
    path = folder / "web-config.yml"
    path.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def serving(
    security: Security, render: Callable[[], bytes] = lambda: PAGE, limits: Limits | None = None, **more: Any
) -> Iterator[WebServer]:
    """A server on a free loopback port for as long as the block lasts."""
    app = base_app("test", render, lambda: True, lambda: True, [], security=security, **more)
    server = WebServer(app, "127.0.0.1:0", security, limits)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def port_of(server: WebServer) -> int:
    """The port that was taken."""
    return int(server.url.rpartition(":")[2])
