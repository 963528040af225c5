"""Proof of identity by the unix socket: the kernel says whose process is at the other end."""

from __future__ import annotations

import os
from collections.abc import Callable

from gpuwatch.web.identity import Caller
from gpuwatch.web.roles import Person


class PeerProof:
    """Takes the kernel's word; root and the user that accounting runs as may do everything."""

    challenge = ""

    def __init__(self, path: str, own_uid: Callable[[], int] = os.geteuid) -> None:
        self.hint = f"ask at the socket {path} on the accounting host"
        self._own_uid = own_uid

    async def person(self, caller: Caller) -> Person | None:
        """The peer's user id; None over TCP."""
        uid = caller.peer_uid
        return None if uid is None else Person("socket", uid=uid, runs_service=uid in (0, self._own_uid()))
