"""Proof of identity by the unix socket: the kernel says whose process is at the other end."""

from __future__ import annotations

import os
from collections.abc import Callable

from gpuwatch.errors import Forbidden
from gpuwatch.web.identity import Caller
from gpuwatch.web.roles import Person

_HERE = ("127.0.0.1", "[::1]")
"""How a request at the socket may write its host, but for names without a dot, which no other site has."""


class PeerProof:
    """Takes the kernel's word; root and the user that accounting runs as may do everything.

    Who leads the socket to a port of his own (`ssh -L`) has every page that his browser shows at that port's door:
    one whose name was made to mean 127.0.0.1 is told by that name, and refused.
    """

    challenge = ""

    def __init__(self, path: str, own_uid: Callable[[], int] = os.geteuid) -> None:
        self.hint = f"ask at the socket {path} on the accounting host"
        self._own_uid = own_uid

    async def person(self, caller: Caller) -> Person | None:
        """The peer's user id; None over TCP, `Forbidden` for a request to another host."""
        uid = caller.peer_uid
        if uid is None:
            return None
        host = _without_port(caller.header("host") or "")
        if host not in _HERE and {*host} & {".", ":"}:
            raise Forbidden(f"socket: is for localhost, not for {host[:40]!r}")
        return Person("socket", uid=uid, runs_service=uid in (0, self._own_uid()))


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
