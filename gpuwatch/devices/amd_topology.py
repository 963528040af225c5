"""The compute driver's (KFD) view of a node: which of its nodes are which cards, and how they are linked.

The kernel shows it only to who may open a card's render node, as far as device cgroups go (`kfd_topology.c`): what
cannot be read is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from gpuwatch.devices import amd_files as files
from gpuwatch.devices.amd_cards import Card

_LOCATION = re.compile(r"(?P<domain>[0-9a-f]+):(?P<bus>[0-9a-f]{2}):(?P<slot>[0-9a-f]{2})\.(?P<function>[0-7])")
_FUNCTION_BITS = 7
_XGMI = 11


def nodes(sysfs: str, cards: Sequence[Card]) -> dict[int, tuple[str, int]]:
    """The card, by uid, and the gpu_id of each node that is a card or a partition of one, by the node's number."""
    by_unique = {int(card.unique_id, 16): card.uid for card in cards if card.unique_id}
    by_address = {address: card.uid for card in cards if (address := _address(card.pci)) is not None}
    found: dict[int, tuple[str, int]] = {}
    for name in files.entries(_root(sysfs)) or ():
        gpu_id = files.integer(f"{_root(sysfs)}/{name}/gpu_id")
        if gpu_id and name.isdecimal():
            uid = _uid(_properties(f"{_root(sysfs)}/{name}"), by_unique, by_address)
            if uid is not None:
                found[int(name)] = (uid, gpu_id)
    return found


def bandwidths(sysfs: str, number: int) -> dict[int, int]:
    """What XGMI carries to each node next to this one, MB/s by number; 0 where the driver does not know."""
    at = f"{_root(sysfs)}/{number}/io_links"
    links = [_properties(f"{at}/{name}") for name in files.entries(at) or ()]
    return {link["node_to"]: link.get("max_bandwidth", 0) for link in links if _is_xgmi(link)}


def gpu_ids(found: Iterable[tuple[str, int]]) -> dict[str, frozenset[int]]:
    """The gpu_ids of each card, by uid: one, or one for each partition."""
    by_uid: dict[str, set[int]] = {}
    for uid, gpu_id in found:
        by_uid.setdefault(uid, set()).add(gpu_id)
    return {uid: frozenset(each) for uid, each in by_uid.items()}


def _root(sysfs: str) -> str:
    return f"{sysfs}/class/kfd/kfd/topology/nodes"


def _is_xgmi(link: Mapping[str, int]) -> bool:
    return link.get("type") == _XGMI and "node_to" in link


def _properties(directory: str) -> dict[str, int]:
    blob = files.content(f"{directory}/properties") or b""
    pairs = (line.split() for line in blob.decode(errors="replace").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and re.fullmatch(r"[0-9]{1,20}", pair[1])}


def _uid(
    properties: Mapping[str, int], by_unique: Mapping[int, str], by_address: Mapping[tuple[int, int], str]
) -> str | None:
    """By unique id where both say one; else by PCI address, in whose last bits a partition has its number."""
    domain, at = properties.get("domain", 0), properties.get("location_id", -1)
    return (
        by_unique.get(properties.get("unique_id", 0))
        or by_address.get((domain, at))
        or by_address.get((domain, at & ~_FUNCTION_BITS))
    )


def _address(pci: str) -> tuple[int, int] | None:
    match = _LOCATION.fullmatch(pci)
    if match is None:
        return None
    bus, slot, function = (int(match[name], 16) for name in ("bus", "slot", "function"))
    return int(match["domain"], 16), bus << 8 | slot << 3 | function
