"""Proof of identity by a name and password of the web-config file."""

from __future__ import annotations

from gpuwatch.errors import Forbidden
from gpuwatch.web.authentication import Passwords, credentials
from gpuwatch.web.connections import network_of
from gpuwatch.web.identity import Caller, name_in
from gpuwatch.web.roles import Person
from gpuwatch.web.security import Security


class BasicProof:
    """Checks passwords as the other pages do, with the same `Passwords`, so that guessing is as slow here."""

    def __init__(self, security: Security, passwords: Passwords) -> None:
        self._security = security
        self._passwords = passwords

    @property
    def challenge(self) -> str:
        """Asked for where the file has users."""
        return 'Basic realm="gpuwatch", charset="UTF-8"' if self._security.now.config.users else ""

    @property
    def hint(self) -> str:
        """How to prove it, in words; empty where the file has no users."""
        return "send a user and password of the web-config file" if self._security.now.config.users else ""

    async def person(self, caller: Caller) -> Person | None:
        """The user whose password was sent; `Forbidden` where it is wrong, `Busy` where too many are checked."""
        if caller.authorization("basic") is None:
            return None
        users, given = self._security.now.config.users, credentials(caller.header("authorization") or "")
        network = network_of(caller.address) if caller.peer_uid is None else f"uid:{caller.peer_uid}"
        if not users or given is None or not await self._passwords.hold(users, *given, network):
            raise Forbidden("basic: name or password is wrong")
        return Person("basic", name_in(given[0], "basic"))
