"""What protects a web server now: its web-config file, certificate and users, read again when they change.

A file that cannot be used changes nothing: what was in force stays, is said once in the log, and is seen in
`gpuwatch_web_config_last_reload_successful`. Nor does a reload take protection away (TLS, client certificates,
users): a file that is half written looks just like that, so it takes a restart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gpuwatch import config_secrets, hygiene
from gpuwatch.errors import ConfigurationError
from gpuwatch.web import tls, web_config
from gpuwatch.web.certificates import Validity
from gpuwatch.web.counters import Counters
from gpuwatch.web.web_config import WebConfig

log = logging.getLogger("gpuwatch.web")

Signature = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True)
class Protection:
    """What a file says, and the TLS context that comes of it; without a file nothing."""

    config: WebConfig = field(default_factory=WebConfig)
    tls: tls.Loaded | None = None

    def signature(self, path: Path) -> Signature:
        """What the files look like from outside; another one means that one of them changed."""
        files = (path, *(self.config.tls.files if self.config.tls else ()))
        return tuple(_stat(each) for each in files)


class Security:
    """The protection in force, by the file at `path` (None: there is none). One thread at a time may `look`."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self.counters = Counters()
        self.now = Protection() if path is None else load(path)
        """What is in force; replaced as a whole."""
        self._seen = () if path is None else self.now.signature(path)
        self._successful = True
        self._invalid: Validity | None = None
        if path is not None:
            self.counters.config = self.state
            self._say_if_invalid()

    @property
    def watched(self) -> bool:
        """Whether there is a file that may change."""
        return self._path is not None

    def look(self) -> None:
        """Read the files again where they changed."""
        if self._path is None:
            return
        signature = self.now.signature(self._path)
        if signature != self._seen:
            self._seen = signature
            self._reload(self._path)
        self._say_if_invalid()

    def state(self) -> tuple[float | None, float | None]:
        """Whether what is on disk is in force, and when the certificate that is served expires."""
        loaded = self.now.tls
        return float(self._successful), loaded.validity.not_after if loaded else None

    def _reload(self, path: Path) -> None:
        try:
            new = load(path)
            self._refuse_worse(path, new)
        except ConfigurationError as exc:
            self._successful = False
            for mistake in exc.mistakes:
                log.error("web configuration not taken, the old one stays: %s", hygiene.log(mistake))
            return
        self.now, self._successful = new, True
        # The new file may name other files than those that were looked at.
        self._seen = new.signature(path)
        log.info("web configuration reloaded path=%s", path)

    def _refuse_worse(self, path: Path, new: Protection) -> None:
        now, old = self._clock(), self.now
        lost = [word for word, had, has in _protections(old, new) if had and not has]
        mistakes = [f"{path}: {word} would be switched off; restart to do that" for word in lost]
        if old.tls and new.tls and old.tls.validity.includes(now) and not new.tls.validity.includes(now):
            mistakes.append(f"{_certificate(new)}: {trouble(new.tls.validity, now)}")
        if mistakes:
            raise ConfigurationError(mistakes)

    def _say_if_invalid(self) -> None:
        loaded, now = self.now.tls, self._clock()
        if loaded is None or loaded.validity.includes(now):
            self._invalid = None
            return
        if loaded.validity == self._invalid:
            return
        self._invalid = loaded.validity
        why = trouble(loaded.validity, now)
        log.error("the certificate that is served is not valid: %s: %s", _certificate(self.now), why)


def load(path: Path) -> Protection:
    """The protection that a file asks for; `ConfigurationError` where it cannot be had."""
    config = web_config.read(path)
    if config.users:
        config_secrets.refuse_exposed(path)
    if config.tls is None:
        return Protection(config)
    try:
        return Protection(config, tls.load(config.tls))
    except ValueError as exc:
        raise ConfigurationError([f"{path}: tls_server_config: {exc}"]) from exc


def trouble(validity: Validity, now: float) -> str:
    """Why a certificate is not valid now; empty where it is."""
    if now > validity.not_after:
        return f"expired {_ago(now - validity.not_after)} ago"
    return f"is valid only in {_ago(validity.not_before - now)}" if now < validity.not_before else ""


def _protections(old: Protection, new: Protection) -> list[tuple[str, bool, bool]]:
    def required(protection: Protection) -> bool:
        settings = protection.config.tls
        return settings is not None and settings.client_auth_type == "RequireAndVerifyClientCert"

    return [
        ("tls_server_config", old.tls is not None, new.tls is not None),
        ("RequireAndVerifyClientCert", required(old), required(new)),
        ("basic_auth_users", bool(old.config.users), bool(new.config.users)),
    ]


def _certificate(protection: Protection) -> Path:
    assert protection.config.tls is not None
    return protection.config.tls.cert_file


def _ago(seconds: float) -> str:
    return f"{seconds / 86_400:.0f} days" if seconds >= 2 * 86_400 else f"{seconds / 3600:.1f} hours"


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
