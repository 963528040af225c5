"""Where letters arrive: a real mail server, and servers of chats behind a proxy that has certificates for them."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern
from pathlib import Path
from typing import Any, NamedTuple

import trustme
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class MailServer:
    """aiosmtpd; `refuse` are answers to recipients, `refuse_data` that to every message."""

    port: int = 0
    refuse: Mapping[str, str] = field(default_factory=dict)
    refuse_data: str = ""
    envelopes: list[Envelope] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[EmailMessage]:
        """What came, as a mail program reads it."""
        return [message_from_bytes(each.content, policy=modern) for each in self.envelopes]  # type: ignore[misc]

    @property
    def recipients(self) -> list[list[str]]:
        """To whom each message went, whatever its headers say."""
        return [each.rcpt_tos for each in self.envelopes]

    async def handle_EHLO(
        self, _server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.sessions.append(hostname)
        session.host_name = hostname
        return responses

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        if self.refuse_data:
            return self.refuse_data
        self.envelopes.append(envelope)
        return "250 taken"


@contextmanager
def mail_server(**said: Any) -> Iterator[MailServer]:
    """One that listens on loopback."""
    handler = MailServer(**said)
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(
        loop.create_server(lambda: SMTP(handler, enable_SMTPUTF8=True, loop=loop, timeout=10), "127.0.0.1", 0)
    )
    handler.port = listening.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield handler
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listening.close()
        loop.run_until_complete(listening.wait_closed())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class Posted(NamedTuple):
    """A request as it came to the host that it was meant for."""

    host: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = tuple[int, bytes]


@dataclass
class ChatServers:
    """Every https:// host there is, as far as its clients can tell."""

    answer: Callable[[Posted], Answer] = lambda _posted: (200, b"ok")
    posted: list[Posted] = field(default_factory=list)


@contextmanager
def chat_servers(monkeypatch: Any, folder: Path, answer: Callable[[Posted], Answer]) -> Iterator[ChatServers]:
    """A proxy in the environment that answers for every host, with a certificate that the environment trusts."""
    servers = ChatServers(answer)
    authority = trustme.CA()
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(bundle)

    class Proxy(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(10)
            asked = self.rfile.readline().decode().split()
            if not asked:
                return
            host = asked[1].rpartition(":")[0]
            while self.rfile.readline().strip():
                pass
            self.request.sendall(b"HTTP/1.1 200 connected\r\n\r\n")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host).configure_cert(context)
            with ExitStack() as stack:
                stack.enter_context(_closed_by_peer())
                tunnel = stack.enter_context(context.wrap_socket(self.request, server_side=True))
                file = stack.enter_context(tunnel.makefile("rb"))
                servers.posted.append(_read(host, file))
                status, body = servers.answer(servers.posted[-1])
                head = f"HTTP/1.1 {status} said\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                tunnel.sendall(head.encode() + body)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        for name in ("https_proxy", "NO_PROXY", "no_proxy", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        try:
            yield servers
        finally:
            proxy.shutdown()
            thread.join()


@contextmanager
def silent_server() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def _closed_by_peer() -> Iterator[None]:
    with suppress(OSError):
        yield


def _read(host: str, file: Any) -> Posted:
    _method, path, _version = file.readline().decode().split()
    headers = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Posted(host, path, headers, file.read(int(headers.get("content-length", 0))))
