"""Proof of identity by a Slurm token: a JWT that `scontrol token` makes, signed with the cluster's key (HS256)."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpuwatch.errors import Forbidden, Unavailable
from gpuwatch.web.identity import Caller, name_in
from gpuwatch.web.roles import Person
from gpuwatch.web.threads import Patient

TOKEN = "x-slurm-user-token"
USER = "x-slurm-user-name"
SKEW_SECONDS = 60.0
"""So much the clocks of this host and of Slurm's controller may differ."""
MIN_KEY_BYTES = 16
_PART = re.compile(r"[A-Za-z0-9_-]+")


class JwtProof:
    """Takes X-SLURM-USER-TOKEN, as slurmrestd does, or `Authorization: Bearer`; the key is read at each token."""

    challenge = 'Bearer realm="gpuwatch"'
    hint = f"send a token of `scontrol token` in {TOKEN.upper()}"

    def __init__(self, key_file: Path, threads: Patient, clock: Callable[[], float] = time.time) -> None:
        self._key_file = key_file
        self._threads = threads
        self._clock = clock

    async def person(self, caller: Caller) -> Person | None:
        """Whom the token is of; `Forbidden` where it is wrong or expired, `Unavailable` without a key."""
        token = caller.header(TOKEN) or caller.authorization("bearer")
        if token is None:
            return None
        key = await self._threads.run(lambda: key_in(self._key_file))
        name = user_of(token, key, self._clock())
        named = caller.header(USER)
        if named is not None and named != name:
            raise Forbidden(f"{USER}: the token is of another user")
        return Person("jwt", name)


def key_in(path: Path) -> bytes:
    """The key as Slurm reads it: every byte of the file. `Unavailable` where it is too short to be one."""
    try:
        key = path.read_bytes()
    except OSError as exc:
        raise Unavailable(f"{path}: cannot be read; {exc.strerror}") from exc
    if len(key) < MIN_KEY_BYTES:
        raise Unavailable(f"{path}: is too short for a key; at least {MIN_KEY_BYTES} bytes")
    return key


def user_of(token: str, key: bytes, now: float) -> str:
    """The user of a token that is signed with the key and in force; `Forbidden` for any other."""
    parts = token.split(".")
    if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
        raise Forbidden("token: is no JWT")
    header, claims = _object(parts[0]), _object(parts[1])
    if header.get("alg") != "HS256" or "crit" in header:
        raise Forbidden("token: is not signed as Slurm does; there is: HS256")
    signed = hmac.digest(key, f"{parts[0]}.{parts[1]}".encode(), "sha256")
    if not hmac.compare_digest(signed, _bytes(parts[2])):
        raise Forbidden("token: the signature is wrong")
    _check_times(claims, now)
    name = claims.get("sun")
    if not isinstance(name, str):
        raise Forbidden("token: names no user (sun)")
    return name_in(name, "token")


def _check_times(claims: dict[str, Any], now: float) -> None:
    ends: Any = claims.get("exp")
    if not _is_time(ends):
        raise Forbidden("token: says no time when it expires (exp)")
    if ends + SKEW_SECONDS < now:
        raise Forbidden("token: has expired; `scontrol token` makes another")
    for name in ("iat", "nbf"):
        begins = claims.get(name)
        if begins is not None and not (_is_time(begins) and begins - SKEW_SECONDS <= now):
            raise Forbidden(f"token: is not in force yet ({name})")


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 2**53


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(part))
    except (ValueError, RecursionError) as exc:
        raise Forbidden("token: is no JWT") from exc
    if not isinstance(found, dict):
        raise Forbidden("token: is no JWT")
    return found


def _bytes(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as exc:
        raise Forbidden("token: is no JWT") from exc
