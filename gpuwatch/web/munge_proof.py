"""Proof of identity by a munge credential: the cluster's daemon says which user id made it, and for what.

The payload is `gpuwatch/1 METHOD TARGET`, the request that it is for, and the SHA-256 of its body where it has
one, so that a credential made for something else (a job, another service) proves nothing here, and one that was
seen on the way gives that one answer at most.
munged itself refuses one that is too old or was decoded before.
"""

from __future__ import annotations

import re
import subprocess

from gpuwatch.errors import Forbidden, Unavailable
from gpuwatch.web.identity import Caller
from gpuwatch.web.roles import Person
from gpuwatch.web.threads import Patient

REALM = "gpuwatch/1"
TIMEOUT_SECONDS = 5.0
_CREDENTIAL = re.compile(r"MUNGE:[A-Za-z0-9+/=]+:")
_UID = re.compile(r"^UID:\s+(?:.*\()?(\d+)\)?\s*$", re.MULTILINE)
_SUCCESS = re.compile(r"^STATUS:\s+.*\(0\)\s*$", re.MULTILINE)


class MungeProof:
    """Asks the program `unmunge`, a few at once, each for a few seconds at most."""

    challenge = "Munge"

    def __init__(self, unmunge: str, threads: Patient, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._unmunge = unmunge
        self._threads = threads
        self._timeout_seconds = timeout_seconds
        self.hint = f"send Authorization: Munge with a credential of `munge -s '{REALM} GET /api/v1/…'`"

    async def person(self, caller: Caller) -> Person | None:
        """Who made the credential; `Forbidden` where it is none, old, used before, or for another request."""
        credential = caller.authorization("munge")
        if credential is None:
            return None
        if _CREDENTIAL.fullmatch(credential) is None:
            raise Forbidden("munge: is no credential")
        uid, payload = await self._threads.run(lambda: self._decoded(credential))
        if payload != payload_for(caller.method, caller.target, caller.digest):
            raise Forbidden(
                f"munge: the credential is not for this request; its payload must be {REALM} METHOD TARGET, and"
                " the SHA-256 of a body where there is one"
            )
        return Person("munge", uid=uid)

    def _decoded(self, credential: str) -> tuple[int, str]:
        try:
            told = subprocess.run(
                [self._unmunge],
                input=credential.encode(),
                capture_output=True,
                timeout=self._timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise Unavailable(f"munge: {self._unmunge} does not answer") from exc
        except OSError as exc:
            raise Unavailable(f"munge: {self._unmunge} cannot be run; {exc.strerror}") from exc
        return decoded(told.returncode, told.stdout.decode("utf-8", "replace"))


def payload_for(method: str, target: str, digest: str = "") -> str:
    """What a credential for a request must say; `digest` is that of its body, where it has one."""
    return " ".join(filter(None, (REALM, method, target, digest)))


def decoded(returncode: int, text: str) -> tuple[int, str]:
    """User id and payload of what `unmunge` prints; `Forbidden` where it does not vouch for them."""
    metadata, _, payload = text.partition("\n\n")
    found = _UID.findall(metadata)
    if returncode != 0 or not _SUCCESS.search(metadata) or len(found) != 1:
        raise Forbidden("munge: the credential is not valid, too old, or was used before")
    return int(found[0]), payload.rstrip("\n")
