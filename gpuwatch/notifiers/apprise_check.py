"""Whether letters would get somewhere, found out without sending any: by a connection and a greeting."""

from __future__ import annotations

import smtplib
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from gpuwatch import hygiene
from gpuwatch.model import Probe
from gpuwatch.notifiers.apprise_addresses import Address, schema_of
from gpuwatch.notifiers.apprise_places import PLACES
from gpuwatch.notifiers.apprise_services import Services, where

_PLAIN = ("json", "mmost", "matrix")


def probe(address: Address, services: Services, timeout_seconds: float) -> Probe:
    """Try out one address."""
    what = f"{address.key} ({schema_of(address.url)}:// to {hygiene.log(where(address.url))})"
    try:
        return Probe(what, True, _tried(address.url, services, timeout_seconds))
    except (OSError, smtplib.SMTPException, ValueError) as exc:
        return Probe(what, False, _reason(exc))


def _tried(url: str, services: Services, timeout_seconds: float) -> str:
    if schema_of(url).startswith("mailto"):
        return _mail(services.of(url), timeout_seconds)
    secure = schema_of(url) not in _PLAIN
    parts = urlsplit(url)
    fixed = PLACES[schema_of(url)].host
    host = fixed or parts.hostname or ""
    if proxy := _proxy("https" if secure else "http", host):
        return _through(proxy, timeout_seconds)
    port = (None if fixed else parts.port) or (443 if secure else 80)
    return _connected(host, port, secure, timeout_seconds)


def _mail(service: Any, timeout_seconds: float) -> str:
    host, port, mode = service.smtp_host, service.port, str(service.secure_mode)
    context = ssl.create_default_context()
    if mode == "ssl":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=timeout_seconds, context=context)
    else:
        server = smtplib.SMTP(host, port, timeout=timeout_seconds)
    with server:
        server.ehlo()
        if mode == "starttls":
            server.starttls(context=context)
            server.ehlo()
        status, told = server.noop()
    if status != 250:
        raise ValueError(f"answered NOOP with {status} {told.decode('ascii', 'replace')}")
    login = "; not logged in" if service.user and service.password else ""
    return f"EHLO and NOOP on port {port} ({mode}); no letter sent{login}"


def _connected(host: str, port: int, secure: bool, timeout_seconds: float) -> str:
    with socket.create_connection((host, port), timeout_seconds) as plain:
        if not secure:
            return f"connected to port {port}; nothing sent"
        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as tunnel:
            return f"connected to port {port}, {tunnel.version()}; nothing sent"


def _proxy(scheme: str, host: str) -> str:
    """The proxy of the environment, which Apprise uses; empty for none."""
    proxies = getproxies()
    return "" if proxy_bypass(host) else proxies.get(scheme) or proxies.get("all") or ""


def _through(proxy: str, timeout_seconds: float) -> str:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    host, port = parts.hostname or "", parts.port or 80
    with socket.create_connection((host, port), timeout_seconds):
        return f"connected to the proxy {hygiene.log(host)}:{port}; what is behind it was not tried"


def _reason(error: Exception) -> str:
    found = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return hygiene.log(str(found)[:200]) or type(error).__name__
