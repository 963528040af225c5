"""Who asks: proofs of identity behind one protocol; the first that a request carries decides.

A proof that is there and wrong refuses the request, whatever else it carries: nobody falls back to being someone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from starlette.datastructures import Headers

from gpuwatch.errors import Forbidden
from gpuwatch.model import EMPTY
from gpuwatch.web.roles import Person

if TYPE_CHECKING:
    from starlette.requests import Request

NAME_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request carries that may prove who sent it.

    `target` is path and query as they were sent, `address` the peer's, `peer_uid` the kernel's word for who is at
    the other end of a unix socket, None over TCP, `digest` the SHA-256 of its body in hex, empty without one.
    """

    method: str = "GET"
    target: str = "/"
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    address: str = ""
    peer_uid: int | None = None
    digest: str = ""

    def header(self, name: str) -> str | None:
        """A header's value; `Forbidden` where it is there twice, as the second may be another's."""
        values = self.headers.get(name.lower(), ())
        if len(values) > 1:
            raise Forbidden(f"{name}: is there {len(values)} times; there must be one")
        return values[0] if values else None

    def authorization(self, scheme: str) -> str | None:
        """What follows the scheme in the Authorization header; None where it is of another scheme or missing."""
        given, _, rest = (self.header("authorization") or "").partition(" ")
        return rest.strip() if given.lower() == scheme.lower() else None


class Proof(Protocol):
    """One way to prove who one is. Methods are called in the server's loop and must not block it."""

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says to those who prove nothing; empty where that cannot be asked for."""
        ...

    @property
    def hint(self) -> str:
        """How to prove it, in words; empty where it cannot be proven so now."""
        ...

    async def person(self, caller: Caller) -> Person | None:
        """Whom the request proves to be from; None where it carries no such proof.

        Raises `Forbidden` where it carries a wrong one, `Unavailable` where that cannot be told now, `Busy` where
        too many are being told.
        """
        ...


class Identity:
    """All proofs that are taken, in the order in which they are looked for."""

    def __init__(self, proofs: Sequence[Proof]) -> None:
        self._proofs = tuple(proofs)

    async def person(self, caller: Caller) -> Person | None:
        """Who asks; None where the request proves nothing."""
        for proof in self._proofs:
            found = await proof.person(caller)
            if found is not None:
                return found
        return None

    @property
    def challenge(self) -> str:
        """The value of WWW-Authenticate."""
        return ", ".join(proof.challenge for proof in self._proofs if proof.challenge)

    @property
    def hints(self) -> str:
        """How one may prove who one is, in words."""
        return (
            "; ".join(proof.hint for proof in self._proofs if proof.hint)
            or "no way to prove who asks is configured"
        )


def caller_of(request: Request, body: bytes = b"") -> Caller:
    """What a request carries."""
    scope = request.scope
    raw = scope.get("raw_path") or scope["path"].encode()
    query = b"?" + scope["query_string"] if scope.get("query_string") else b""
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in Headers(scope=scope).items():
        headers[name] = (*headers.get(name, ()), value)
    address = scope["client"][0] if scope.get("client") else ""
    peer = scope.get("state", {}).get("peer_uid")
    digest = hashlib.sha256(body).hexdigest() if body else ""
    return Caller(scope["method"], (raw + query).decode("latin-1"), headers, address, peer, digest)


def name_in(text: str, where: str) -> str:
    """A user's name as a proof tells it; `Forbidden` where it can be none."""
    if text.isascii() and text.isprintable() and 0 < len(text) <= NAME_LENGTH and not {*text} & {*" @,:/\"'\\"}:
        return text
    raise Forbidden(f"{where}: {text[:40]!r} is no name of a user")
