"""TLS as a web-config file says it, in Go's names, and the context of Python's ssl that does the same."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from gpuwatch.web.certificates import Validity, validity_of

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Always on where TLS 1.3 is; neither Go nor Python lets one choose among them."""
SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The table `tls_server_config`."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    client_auth_type: str = "NoClientCert"
    client_allowed_sans: frozenset[str] = frozenset()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    curve: str | None = None
    prefer_server_cipher_suites: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names."""
        return tuple(path for path in (self.cert_file, self.key_file, self.client_ca_file) if path is not None)


class Loaded(NamedTuple):
    """A context with its certificate, and from when to when that is valid."""

    context: ssl.SSLContext
    validity: Validity


def load(settings: TlsSettings) -> Loaded:
    """The context of a server; `ValueError` names the file that is missing, broken or does not fit the other."""
    validity = _read(settings.cert_file, validity_of)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.min_version]
    context.maximum_version = VERSIONS[settings.max_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if not settings.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if chosen := [SUITES[name] for name in settings.cipher_suites if name in SUITES]:
        context.set_ciphers(":".join(chosen))
    if settings.curve is not None:
        context.set_ecdh_curve(CURVES[settings.curve])
    context.set_alpn_protocols(["http/1.1"])
    _load_key(context, settings)
    if settings.client_ca_file is not None:
        _read(settings.client_ca_file, lambda pem: context.load_verify_locations(cadata=pem))
    context.verify_mode = CLIENT_AUTH[settings.client_auth_type]
    return Loaded(context, validity)


def _read(path: Path, use: Any) -> Any:
    try:
        return use(path.read_text(encoding="ascii", errors="replace"))
    except ssl.SSLError as exc:
        raise ValueError(f"{path}: has no certificate of an authority; {exc.reason or exc}") from exc
    except OSError as exc:
        raise ValueError(f"{path}: cannot be read; {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise ValueError(f"{path}: {exc}") from exc


def _load_key(context: ssl.SSLContext, settings: TlsSettings) -> None:
    cert, key = settings.cert_file, settings.key_file

    def encrypted() -> str:
        raise ValueError(f"{key}: is encrypted, and nobody is there to type its password; there is: openssl pkey")

    try:
        key.read_bytes()
        context.load_cert_chain(cert, key, password=encrypted)
    except ssl.SSLError as exc:
        reason = (exc.reason or str(exc)).replace("_", " ").lower()
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{key}: is not the key of {cert}") from exc
        raise ValueError(f"{cert}, {key}: cannot be loaded; {reason}") from exc
    except OSError as exc:
        raise ValueError(f"{key}: cannot be read; {exc.strerror or exc}") from exc


def sans_of(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """The names in a peer's certificate: DNS names, addresses, e-mail addresses and URIs."""
    names = (certificate or {}).get("subjectAltName", ())
    return frozenset(san(value) for kind, value in names if kind in ("DNS", "IP Address", "email", "URI"))


def san(name: str) -> str:
    """A name as it is compared: an address in its one canonical form, anything else as it is."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name
