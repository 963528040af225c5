"""Proof of identity by a header that a trusted proxy sets."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from gpuwatch.web.identity import Caller, name_in
from gpuwatch.web.roles import Person


class ProxyProof:
    """Believes `header` from addresses in `proxies` (networks, as in 10.0.0.0/8), and from nobody else.

    The proxy must set the header on every request, also where it has nobody to name: what a client sends under
    that name passes through otherwise.
    """

    challenge = ""

    def __init__(self, header: str, proxies: Sequence[str]) -> None:
        self._header = header
        self._networks = tuple(ip_network(each) for each in proxies)
        self.hint = "sign in at the proxy in front of this"

    async def person(self, caller: Caller) -> Person | None:
        """Whom the proxy names; None for requests from elsewhere, whose header is ignored, or without a name."""
        if caller.peer_uid is not None or not self._trusts(caller.address):
            return None
        given = (caller.header(self._header) or "").strip()
        return Person("proxy", name_in(given, self._header)) if given else None

    def _trusts(self, address: str) -> bool:
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)
