"""The web-config file of Prometheus' exporter-toolkit: TLS, users, headers, rate limit (docs/web.md).

What it says is honoured or refused, never ignored; every mistake is told at once, and no secret with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gpuwatch.errors import ConfigurationError
from gpuwatch.web.tls import CLIENT_AUTH, CURVES, SUITES, TLS13_SUITES, VERSIONS, TlsSettings, san

DEFAULT_PATH = Path("/etc/gpuwatch/web-config.yml")
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""The headers that may be set, with the values that are possible where not all are."""

MAX_COST = 16
"""A bcrypt check of this cost takes about five seconds; a costlier one would outlast a scrape."""

_TABLES = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_TLS = (
    "cert_file", "key_file", "client_ca_file", "client_auth_type", "client_allowed_sans", "min_version",
    "max_version", "cipher_suites", "curve_preferences", "prefer_server_cipher_suites",
)  # fmt: skip
_INLINE = ("cert", "key", "client_ca")
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One request each interval, and so many at once after a pause."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What a web-config file says; `users` maps a name to the bcrypt hash of its password."""

    tls: TlsSettings | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, bytes] = field(default_factory=dict)
    rate_limit: RateLimit | None = None


def path_of(setting: Path | None) -> Path | None:
    """The file to read: the one that is set, else the default one where it exists, else none."""
    if setting is not None:
        return setting
    try:
        return DEFAULT_PATH if DEFAULT_PATH.exists() else None
    except PermissionError:
        # There may be one: reading it will say so, where going on would serve without what it asks for.
        return DEFAULT_PATH


def read(path: Path) -> WebConfig:
    """Read and validate a file; `ConfigurationError` has every mistake."""
    from gpuwatch.web.yaml_text import parse

    try:
        document = parse(path.read_bytes())
    except OSError as exc:
        raise ConfigurationError([f"{path}: cannot be read; {exc.strerror or exc}"]) from exc
    except ValueError as exc:
        raise ConfigurationError([f"{path}: {exc}"]) from exc
    return validated(document, path)


def validated(document: object, path: Path) -> WebConfig:
    """What a parsed file says; relative paths in it are relative to the file."""
    mistakes: list[str] = []
    tables = _Table(str(path), document, _TABLES, mistakes, separator=": ")
    config = WebConfig(
        _tls(tables.table("tls_server_config", (*_TLS, *_INLINE)), path.parent),
        _headers(tables.table("http_server_config", ("http2", "headers"))),
        _users(tables.table("basic_auth_users", None)),
        _rate_limit(tables.table("rate_limit", ("interval", "burst"))),
    )
    if mistakes:
        raise ConfigurationError(mistakes)
    return config


class _Table:
    """A table of the file: gives values of the kind that is asked for, and notes what is not of it."""

    def __init__(
        self, where: str, values: object, names: Sequence[str] | None, mistakes: list[str], separator: str = "."
    ) -> None:
        self._where, self._separator, self._mistakes = where, separator, mistakes
        if values is not None and not isinstance(values, dict):
            mistakes.append(f"{where}: is no table; there is: {', '.join(names or ('NAME: HASH',))}")
        self.values: dict[Any, Any] = values if isinstance(values, dict) else {}
        for key in self.values:
            if names is not None and key not in names:
                near = get_close_matches(str(key)[:60], names, n=1)
                meant = f", did you mean {near[0]!r}" if near else ""
                self.wrong(str(key)[:60], f"unknown key{meant}; there is: {', '.join(names)}")

    def wrong(self, key: str, what: str) -> None:
        """Note a mistake."""
        self._mistakes.append(f"{self._where}{self._separator}{key}: {what}")

    def table(self, key: str, names: Sequence[str] | None) -> _Table:
        """The table under `key`, empty where there is none."""
        where = f"{self._where}{self._separator}{key}"
        return _Table(where, self.values.get(key), names, self._mistakes)

    def one_of(self, key: str, names: Sequence[str], default: str) -> str:
        """One of `names`."""
        value = self.values.get(key, default)
        if value in names:
            return str(value)
        self.wrong(key, f"{_shown(value)} is not possible; there is: {', '.join(names)}")
        return default

    def some_of(self, key: str, names: Sequence[str]) -> tuple[str, ...]:
        """A list of `names`."""
        values = self.strings(key)
        for value in values:
            if value not in names:
                self.wrong(key, f"{_shown(value)} is not possible; there is: {', '.join(names)}")
        return tuple(value for value in values if value in names)

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.values.get(key) or ()
        if isinstance(values, list | tuple) and all(isinstance(value, str) for value in values):
            return tuple(values)
        self.wrong(key, f"{_shown(values)} is not possible; it must be a list of strings")
        return ()

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            self.wrong(key, f"{_shown(value)} is not possible; it must be true or false")
        return value is True

    def path(self, key: str, folder: Path) -> Path | None:
        """A path, relative to `folder`; None where there is none."""
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.wrong(key, f"{_shown(value)} is not possible; it must be a path")
            return None
        return folder / value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _tls(table: _Table, folder: Path) -> TlsSettings | None:
    for inline in _INLINE:
        if inline in table.values:
            table.wrong(inline, f"certificates and keys are read from files; there is: {inline}_file")
    cert, key, ca = (table.path(name, folder) for name in ("cert_file", "key_file", "client_ca_file"))
    policy = _policy(table)
    sans = frozenset(map(san, table.strings("client_allowed_sans")))
    first = table.one_of("min_version", tuple(VERSIONS), "TLS12")
    last = table.one_of("max_version", tuple(VERSIONS), "TLS13")
    suites = table.some_of("cipher_suites", (*SUITES, *TLS13_SUITES))
    curves = table.some_of("curve_preferences", tuple(CURVES))
    preferred = table.flag("prefer_server_cipher_suites", True)
    _check_identity(table, cert, key)
    _check_clients(table, policy, ca, bool(sans))
    _check_choices(table, first, last, suites, curves)
    if cert is None or key is None:
        return None
    curve = curves[0] if curves else None
    return TlsSettings(cert, key, ca, policy, sans, first, last, suites, curve, preferred)


def _policy(table: _Table) -> str:
    policy = table.values.get("client_auth_type")
    if policy in _UNVERIFIED:
        ours = ", ".join(CLIENT_AUTH)
        table.wrong("client_auth_type", f"{policy!r} takes certificates without verifying them; there is: {ours}")
        return "NoClientCert"
    return table.one_of("client_auth_type", tuple(CLIENT_AUTH), "NoClientCert") if policy else "NoClientCert"


def _check_identity(table: _Table, cert: Path | None, key: Path | None) -> None:
    if table.values and cert is None:
        table.wrong("cert_file", "missing; TLS needs a certificate and its key")
    if table.values and key is None:
        table.wrong("key_file", "missing; TLS needs a certificate and its key")


def _check_clients(table: _Table, policy: str, ca: Path | None, sans: bool) -> None:
    verifies = CLIENT_AUTH[policy]
    stated = table.values.get("client_auth_type")
    if ca is not None and stated in (None, "", "NoClientCert"):
        table.wrong(
            "client_auth_type", "missing, and there is a client_ca_file; RequireAndVerifyClientCert uses it"
        )
    if verifies and ca is None:
        table.wrong("client_ca_file", f"missing; {policy} verifies clients by it")
    if sans and stated not in (*_UNVERIFIED, "RequireAndVerifyClientCert"):
        table.wrong("client_allowed_sans", "needs the client_auth_type RequireAndVerifyClientCert")


def _check_choices(table: _Table, first: str, last: str, suites: Sequence[str], curves: Sequence[str]) -> None:
    if VERSIONS[first] > VERSIONS[last]:
        table.wrong("min_version", f"{first} is above the max_version {last}")
    if suites and first == "TLS12" and not any(name in SUITES for name in suites):
        table.wrong("cipher_suites", "has none for TLS 1.2; with min_version: TLS13 none is needed")
    if len(curves) > 1:
        table.wrong("curve_preferences", "Python's ssl takes one curve, not several; name one, or none for all")


def _headers(table: _Table) -> Mapping[str, str]:
    if table.flag("http2", False):
        table.wrong("http2", "true cannot be honoured, HTTP/1.1 is served; there is: false")
    headers = table.table("headers", tuple(HEADERS)).values
    found = {}
    for name, value in headers.items():
        possible = HEADERS.get(name, ())
        if not isinstance(value, str) or not re.fullmatch(r"[\x20-\x7e]*", value):
            table.wrong(f"headers.{name}", f"{_shown(value)} is not possible; it must be printable ASCII")
        elif possible and value not in possible:
            table.wrong(f"headers.{name}", f"{_shown(value)} is not possible; there is: {', '.join(possible)}")
        else:
            found[str(name)] = value
    return found


def _users(table: _Table) -> Mapping[str, bytes]:
    found = {}
    for name, value in table.values.items():
        shown = str(name)[:60]
        match = _BCRYPT.fullmatch(value) if isinstance(value, str) else None
        if not isinstance(name, str) or not name or ":" in name:
            table.wrong(shown, "is no name of a user; it must be a string without a colon")
        elif match is None:
            table.wrong(shown, "its value (not shown) is no bcrypt hash; htpasswd -nBC 10 NAME makes one")
        elif not 4 <= int(match[1]) <= MAX_COST:
            table.wrong(shown, f"its hash has the cost {int(match[1])}; there is: 4 to {MAX_COST}")
        else:
            found[name] = value.encode("ascii")
    return found


def _rate_limit(table: _Table) -> RateLimit | None:
    interval, burst = table.values.get("interval", 0), table.values.get("burst", 0)
    seconds = duration(interval) if isinstance(interval, str) else 0.0 if interval == 0 else None
    if seconds is None:
        table.wrong(
            "interval", f"{_shown(interval)} is no duration; there is: 1s, 500ms, 1m30s, or 0 for no limit"
        )
    if type(burst) is not int or burst < 0 or (seconds and burst < 1):
        table.wrong("burst", f"{_shown(burst)} is not possible; it must be a whole number above 0")
        return None
    return RateLimit(seconds, burst) if seconds else None


def duration(text: str) -> float | None:
    """Seconds of a duration as Go writes it, None where it is none."""
    parts = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
