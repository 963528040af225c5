"""What `gpuwatch check` finds out about what the daemons serve: web-config files, certificates, who is let in."""

from __future__ import annotations

import stat
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path

from gpuwatch.cli.findings import Finding
from gpuwatch.errors import ConfigurationError
from gpuwatch.settings import Settings
from gpuwatch.web import security, web_config
from gpuwatch.web.security import Protection

SOON_SECONDS = 14 * 86_400.0
_LOOPBACK = ("127.", "localhost:", "[::1]:")


def web(settings: Settings, now: float) -> Iterator[Finding]:
    """The agent's web configuration, and accounting's, which another node may have."""
    protection = yield from _of("agent", settings.agent.web_config_file, settings.agent.listen, now, 78)
    if protection is not None:
        yield from acknowledgements(settings, protection)
    yield from _of("accounting", settings.accounting.web_config_file, settings.accounting.listen, now, 0)


def acknowledgements(settings: Settings, protection: Protection) -> Iterator[Finding]:
    """Whether anybody on the network may tell the agent to forget what accounting has not read."""
    tls = protection.config.tls
    verified = tls is not None and tls.client_auth_type == "RequireAndVerifyClientCert"
    if settings.agent.usage_token_file or protection.config.users or verified or _is_local(settings.agent.listen):
        return
    yield Finding(
        "usage API", "warning",
        f"whoever reaches {settings.agent.listen} may acknowledge usage that accounting has not read; "
        "set agent.usage_token_file, or users or client certificates in a web-config file",
    )  # fmt: skip


def _of(
    daemon: str, setting: Path | None, listen: str, now: float, exit_code: int
) -> Generator[Finding, None, Protection | None]:
    what, path = f"{daemon} web", web_config.path_of(setting)
    if path is None:
        yield Finding(what, "ok", f"no {web_config.DEFAULT_PATH}: HTTP without authentication")
        return Protection()
    try:
        protection = security.load(path)
    except ConfigurationError as exc:
        yield Finding(what, "failed" if exit_code else "warning", "; ".join(exc.mistakes), exit_code)
        return None
    yield Finding(what, "ok", f"{path}: {_summary(protection)}")
    yield from _certificate(daemon, protection, now)
    if protection.config.users and not protection.tls and not _is_local(listen):
        yield Finding(what, "warning", f"{path}: has users and no TLS: passwords can be read on the network")
    return protection


def _summary(protection: Protection) -> str:
    config = protection.config
    parts = ["HTTPS" if config.tls else "HTTP"]
    if config.tls is not None and config.tls.client_auth_type != "NoClientCert":
        parts.append(config.tls.client_auth_type)
    parts.append(f"{len(config.users)} users" if config.users else "no users")
    return ", ".join(parts)


def _certificate(daemon: str, protection: Protection, now: float) -> Iterator[Finding]:
    settings, loaded = protection.config.tls, protection.tls
    if settings is None or loaded is None:
        return
    what, until = f"{daemon} TLS", loaded.validity.not_after
    shown = f"{settings.cert_file}: valid until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
    if not loaded.validity.includes(now):
        yield Finding(what, "warning", f"{settings.cert_file}: {security.trouble(loaded.validity, now)}")
    elif until - now < SOON_SECONDS:
        yield Finding(what, "warning", f"{shown}, in {(until - now) / 86_400:.1f} days")
    else:
        yield Finding(what, "ok", shown)
    if settings.key_file.stat().st_mode & stat.S_IROTH:
        yield Finding(f"{daemon} key", "warning", f"{settings.key_file}: everybody may read it")


def _is_local(listen: str) -> bool:
    return listen.startswith(_LOOPBACK)
