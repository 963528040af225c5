"""When a certificate is valid, read from its PEM text: the one thing of X.509 that Python's ssl does not tell."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION = 0x30, 0xA0
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
# Before the validity of a certificate (RFC 5280, 4.1): serial number, signature algorithm, issuer.
_BEFORE_VALIDITY = 3


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate is valid, Unix seconds."""

    not_before: float
    not_after: float

    def includes(self, now: float) -> bool:
        """Whether it is valid now."""
        return self.not_before <= now <= self.not_after


def validity_of(pem: str) -> Validity:
    """The validity of the first certificate in the text; `ValueError` where there is none, or half a one."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("has no certificate; a PEM file has one between BEGIN CERTIFICATE and END CERTIFICATE")
    try:
        return _validity(ssl.PEM_cert_to_DER_cert(found[0]))
    except (ValueError, IndexError) as exc:
        raise ValueError("its certificate cannot be read") from exc


def _validity(der: bytes) -> Validity:
    _, certificate, _ = _element(der)
    _, signed, _ = _element(certificate)
    if signed[0] == _VERSION:
        _, _, signed = _element(signed)
    for _ in range(_BEFORE_VALIDITY):
        _, _, signed = _element(signed)
    kind, times, _ = _element(signed)
    if kind != _SEQUENCE:
        raise ValueError("no validity where it should be")
    first_kind, first, rest = _element(times)
    last_kind, last, _ = _element(rest)
    return Validity(_time(first_kind, first), _time(last_kind, last))


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first DER element, and what comes after it."""
    tag, length, start = der[0], der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    if start + length > len(der):
        raise ValueError("an element ends early")
    return tag, der[start : start + length], der[start + length :]


def _time(kind: int, text: bytes) -> float:
    if kind not in _TIMES:
        raise ValueError("no time where it should be")
    return datetime.strptime(text.decode("ascii"), _TIMES[kind]).replace(tzinfo=UTC).timestamp()
