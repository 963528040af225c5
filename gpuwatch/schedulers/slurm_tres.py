"""How many devices a job of Slurm has, by its trackable resources (TRES) and the detail of its GRES.

Devices are `gres/gpu` and `gres/tpu`. The rule: the generic `gres/gpu=N` where there is one, else the sum over
types, else the detail of the generic resources. `gres/gpumem` and `gres/gpuutil` are no devices. Parts of a device
– MIG profiles, shards, MPS – and resources of another name count by the site's table, which also has the last word
about `tpu`. Which rule counted, and what contradicts it, go with the number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from gpuwatch.errors import Rejected
from gpuwatch.model import EMPTY
from gpuwatch.schedulers import slurm_text

DEVICES = ("gpu", "tpu")
"""The generic resources that are devices."""

_MOST = 1e18
_IGNORED = frozenset({"energy", "fs/disk", "pages", "vmem"})
_POWER = MappingProxyType({"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60})
_AMOUNT = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)([KMGTPE]?)[BN]?", re.IGNORECASE)
_PROFILE = re.compile(r"(?:^|[^a-z0-9])((\d)g\.(\d+)gb)(?![a-z0-9])")
_QUARTERS = frozenset({"1g.6gb", "2g.12gb", "4g.24gb", "2g.48gb", "4g.96gb"})
"""Profiles of devices with four compute slices (A30, RTX PRO 6000), where no other device has one of the name."""
_GRES = re.compile(
    r"(?:gres[:/])?([a-z][\w.+-]*)"
    r"(?:[:/](?!\d+[kmg]?(?:\(|$))([^:(),=]+))?"  # a type, unless it is the count
    r"(?:[:=](\d+[kmg]?))?(?:\((.*)\))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Count:
    """Whole devices (a fraction for a part of one), None where nothing tells.

    `rule` is `generic`, `typed`, `gres` or `table`; `doubt` says what contradicts the number, or was left out.
    """

    devices: float | None = None
    rule: str = ""
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Generic:
    """One generic resource of a job, on one node: `gpu:h100:2(IDX:0-1)`."""

    name: str
    kind: str
    count: float
    indices: tuple[int, ...] = ()


@lru_cache(maxsize=16384)
def tres(text: str) -> Mapping[str, float]:
    """The amounts of `cpu=4,gres/gpu:a100=2,mem=320.5G`, memory in bytes; `Rejected` where it is no such list.

    What is no resource of accounting is left out: energy, pages and the like.
    """
    found: dict[str, float] = {}
    if slurm_text.nothing(text):
        return EMPTY
    for word in text.split(","):
        name, _, amount = word.strip().rpartition("=")
        if name.lower() in _IGNORED:
            continue  # Slurm prints 18446744073709551614 for energy that was not measured
        if name and not any(char.isspace() for char in name):
            found[name.lower()] = _amount(amount, name.lower(), text)
        elif word.strip():
            raise Rejected(f"TRES {text[:60]!r}: {word[:30]!r} is not NAME=AMOUNT")
    return MappingProxyType(found)


@lru_cache(maxsize=4096)
def gres(text: str) -> tuple[Generic, ...]:
    """The resources of `gpu:h100:2(IDX:0-1),shard:4`; `Rejected` where it is no such list."""
    if slurm_text.nothing(text):
        return ()
    return tuple(_generic(word, text) for word in slurm_text.parts(text, "()") if word)


def count(text: str, detail: Sequence[str] = (), table: Mapping[str, float] = EMPTY) -> Count:
    """The devices of a job that has the TRES `text` and, on its nodes, the generic resources of `detail`.

    `table` maps a type (`1g.10gb`, `h100`) or a resource (`shard`, `mps`, `npu`) to devices for each.
    """
    try:
        amounts, parts = tres(text), tuple(part for each in detail for part in gres(each))
    except Rejected as exc:
        return Count(doubt=str(exc))
    by_tres = _of_amounts(amounts, table)
    by_gres = of_gres(parts, table) if parts else Count()
    if by_tres.devices is None:
        doubts = (by_tres.doubt, by_gres.doubt)
        return Count(by_gres.devices, by_gres.rule, "; ".join(dict.fromkeys(filter(None, doubts))))
    if by_gres.devices is None or abs(by_gres.devices - by_tres.devices) < 1e-6:
        return by_tres
    doubt = f"GRES say {by_gres.devices:g}"
    return Count(by_tres.devices, by_tres.rule, "; ".join(filter(None, (by_tres.doubt, doubt))))


def of_gres(parts: Sequence[Generic], table: Mapping[str, float] = EMPTY) -> Count:
    """The devices that the generic resources of a job come to, over all of its nodes."""
    amounts: dict[str, float] = {}
    doubts = []
    for part in parts:
        name = f"gres/{part.name}:{part.kind}" if part.kind else f"gres/{part.name}"
        amounts[name] = amounts.get(name, 0) + part.count
        if part.name in DEVICES and part.indices and len(part.indices) != part.count:
            doubts.append(f"{part.count:g} of {name} have {len(part.indices)} indices")
    # In GRES an untyped entry stands beside typed ones, not for their sum.
    untyped = {f"gres/{name}" for name in _names(table)}
    found = _of_amounts({f"{name}:" if name in untyped else name: each for name, each in amounts.items()}, table)
    rule = "gres" if found.rule == "typed" else found.rule
    return Count(found.devices, rule, "; ".join(filter(None, (*doubts, found.doubt))))


def _of_amounts(amounts: Mapping[str, float], table: Mapping[str, float]) -> Count:
    """By the rule of this module; a resource that is no device counts where the table has it."""
    names = _names(table)
    others, doubts = _others(amounts, names, table)
    counts = [_of_name(f"gres/{name}", amounts, table) for name in names]
    found = [each for each in counts if each.devices is not None]
    doubt = "; ".join(filter(None, (*doubts, *(each.doubt for each in counts))))
    if not found and not others:
        return Count(doubt=doubt)
    rules = {"table"} if others else {each.rule for each in found}
    rule = next(each for each in ("table", "generic", "typed") if each in rules)
    return Count(sum(each.devices or 0.0 for each in found) + sum(others), rule, doubt)


def _names(table: Mapping[str, float]) -> tuple[str, ...]:
    """The resources that are devices; what the table says of another one than `gpu` goes before."""
    told = {name.partition(":")[0] for name in table}
    return tuple(name for name in DEVICES if name == "gpu" or name not in told)


def _of_name(name: str, amounts: Mapping[str, float], table: Mapping[str, float]) -> Count:
    """The devices of one resource, `gres/gpu` say, with its types."""
    typed = {each[len(name) + 1 :]: amount for each, amount in amounts.items() if each.startswith(f"{name}:")}
    generic = amounts.get(name)
    parts = {kind: weight for kind in typed if (weight := _weight(kind, table)) is not None}
    total = sum(typed.values())
    doubt = (
        f"{name}={generic:g}, its types sum to {total:g}"
        if generic is not None and typed and total != generic
        else ""
    )
    if parts:
        by_type = sum(amount * parts.get(kind, 1.0) for kind, amount in typed.items())
        return Count(by_type + max((generic or 0.0) - total, 0.0), "table", doubt)
    if generic is not None:
        return Count(generic, "generic", doubt)
    return Count(total, "typed", doubt) if typed else Count()


def _others(
    amounts: Mapping[str, float], names: Sequence[str], table: Mapping[str, float]
) -> tuple[list[float], list[str]]:
    """Devices of the resources that are none by their name, and what the table lacks of them."""
    kinds = {
        name[5:]: amount
        for name, amount in amounts.items()
        if name.startswith("gres/") and name[5:].partition(":")[0] not in names
    }
    if not kinds:
        return [], []
    found, doubts = [], []
    by_type = {kind.partition(":")[0] for kind in kinds if ":" in kind and kind in table}
    for kind, amount in kinds.items():
        base = kind.partition(":")[0]
        # Typed entries of a resource repeat its sum: one of the two counts, the typed one where the table has it.
        repeated = kind in by_type if base == kind else kind not in table and base in kinds
        if repeated:
            continue
        weight = table.get(kind, table.get(base))
        if weight is not None:
            found.append(amount * weight)
        elif base in ("shard", "mps") and amount:
            doubts.append(f"gres/{kind}={amount:g} is not in the table of devices")
    return found, doubts


def _weight(kind: str, table: Mapping[str, float]) -> float | None:
    """Devices in one of this type, None where it is a device. Types may carry a profile: `a100_1g.5gb`."""
    if kind in table:
        return table[kind]
    profile = _PROFILE.search(kind)
    if profile is None:
        return None
    name, slices = profile[1], int(profile[2])
    if name in table:
        return table[name]
    return min(slices / (4 if name in _QUARTERS else 7), 1.0)


def _generic(word: str, text: str) -> Generic:
    match = _GRES.fullmatch(word)
    if match is None:
        raise Rejected(f"GRES {text[:60]!r}: {word[:30]!r} is not NAME:TYPE:COUNT")
    name, kind, number, inside = match[1].lower(), (match[2] or "").lower(), match[3], match[4] or ""
    found: tuple[int, ...] = ()
    if inside.upper().startswith("IDX:"):
        found = slurm_text.indices(inside[4:])
    if number is None:
        return Generic(name, kind, float(len(found) or 1), found)
    return Generic(name, kind, _amount(number, name, text), found)


def _amount(amount: str, name: str, text: str) -> float:
    match = _AMOUNT.fullmatch(amount.strip())
    if match is None:
        raise Rejected(f"TRES {text[:60]!r}: {amount[:30]!r} is no amount of {name[:30]}")
    unit = match[2].upper()
    if name in ("mem", "vmem") and not unit:
        unit = "M"
    found = float(match[1]) * _POWER[unit]
    if found > _MOST:
        raise Rejected(f"TRES {text[:60]!r}: {amount[:30]!r} of {name[:30]} is absurd")
    return found
