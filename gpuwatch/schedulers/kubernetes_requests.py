"""What a pod asks for: quantities as Kubernetes writes them, its rule for init containers, devices by resource."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any, NamedTuple

_QUANTITY = re.compile(
    r"(?P<number>\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE](?P<exponent>[+-]?\d{1,2})|(?P<suffix>[numkMGTPE]|[KMGTPE]i)?)"
)
_FACTORS = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    **{sign: Decimal(1000) ** power for power, sign in enumerate("kMGTPE", 1)},
    **{f"{sign}i": Decimal(1024) ** power for power, sign in enumerate("KMGTPE", 1)},
}  # fmt: skip
_SLICE = re.compile(r"nvidia\.com/mig-(?:(?P<compute>\d)c\.)?(?P<slices>\d)g\.(?P<memory>\d{1,3}gb)(?:\.\w+)*")
# By NVIDIA's MIG user guide devices have seven compute slices, but for the A30; its profiles have their own names.
_OF_FOUR = frozenset({"1g.6gb", "2g.12gb", "4g.24gb"})

Amounts = dict[str, float]


class Count(NamedTuple):
    """Whole devices that a pod is given; None where it is not known what one of a resource is."""

    devices: float | None
    rule: str
    doubt: str = ""


def amount(written: object) -> float | None:
    """A quantity (`2`, `500m`, `1Ki`, `1e3`) as a number; None where it is none."""
    match = _QUANTITY.fullmatch(str(written)) if isinstance(written, str | int) else None
    if match is None:
        return None
    power = Decimal(10) ** int(match["exponent"] or 0)
    return float(Decimal(match["number"]) * power * _FACTORS[match["suffix"] or ""])


def part(text: str) -> tuple[str, float]:
    """`RESOURCE=NUMBER` or `RESOURCE=N/M` as the resource and how many devices one of it is; else a ValueError."""
    resource, equals, number = text.rpartition("=")
    try:
        found = Fraction(number) if equals and resource and len(number) < 20 else Fraction(0)
    except (ValueError, ZeroDivisionError):
        found = Fraction(0)
    if not 0 < found <= 1000:
        raise ValueError(f"{text[:80]!r} is not RESOURCE=NUMBER or RESOURCE=N/M, as in nvidia.com/gpu=1")
    return resource, float(found)


def requested(spec: Mapping[str, Any]) -> Amounts:
    """What is set aside for a pod: the sum of its containers, or what starting it takes if that is more.

    A sidecar is an init container that goes on: it counts with the containers, and with the init containers
    after it.
    """
    total: Amounts = {}
    for container in _mappings(spec.get("containers")):
        _add(total, _of_container(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in _mappings(spec.get("initContainers")):
        own = _of_container(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            own = {}
        for name in {*own, *sidecars}:
            peak[name] = max(peak.get(name, 0.0), own.get(name, 0.0) + sidecars.get(name, 0.0))
    _add(total, sidecars)
    return {name: max(total.get(name, 0.0), peak.get(name, 0.0)) for name in {*total, *peak}}


def count(amounts: Mapping[str, float], table: Sequence[tuple[str, float]], others: Iterable[str]) -> Count | None:
    """How many devices that is, None where it is none. `table` is what one is, `*` in it stands for anything.

    Slices that are not in the table are so many sevenths as their names say. `others` are resources that are
    devices without anybody knowing how much of one.
    """
    devices = 0.0
    rule: list[str] = []
    doubts: list[str] = []
    for resource, number in sorted(amounts.items()):
        size = next((size for pattern, size in table if fnmatchcase(resource, pattern)), None) or _slice(resource)
        if number > 0 and size is not None:
            devices += number * size
            rule.append(resource)
        elif number > 0 and any(fnmatchcase(resource, pattern) for pattern in others):
            doubts.append(f"{resource} is in no table")
    if not rule and not doubts:
        return None
    return Count(None if doubts else devices, "requests " + "+".join(rule) if rule else "", "; ".join(doubts))


def _slice(resource: str) -> float | None:
    match = _SLICE.fullmatch(resource)
    if match is None:
        return None
    whole = 4 if f"{match['slices']}g.{match['memory']}" in _OF_FOUR else 7
    slices = int(match["compute"] or match["slices"])
    return slices / whole if 0 < slices <= whole else None


def _of_container(container: Mapping[str, Any]) -> Amounts:
    """Requests; for a resource that only has a limit, that is the request."""
    resources = container.get("resources")
    resources = resources if isinstance(resources, dict) else {}
    found: Amounts = {}
    for kind in ("limits", "requests"):
        listed = resources.get(kind)
        for name, written in listed.items() if isinstance(listed, dict) else ():
            if (number := amount(written)) is not None:
                found[name] = number
    return found


def _add(into: Amounts, more: Mapping[str, float]) -> None:
    for name, number in more.items():
        into[name] = into.get(name, 0.0) + number


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
