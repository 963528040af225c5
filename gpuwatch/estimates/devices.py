"""Which device is meant, and what one of it computes: one as a batch system counts them. Pure."""

from __future__ import annotations

from difflib import get_close_matches

from gpuwatch.errors import Rejected
from gpuwatch.specs import PRECISIONS, Spec, Table, normalised

_USUAL = ("bf16", "fp16", "fp32")


def find(table: Table, name: str) -> Spec:
    """The spec of a device as its driver calls it, or by words that fit no other; `Rejected` lists near names."""
    spec = table.lookup(name)
    if spec is not None:
        return spec
    wanted = normalised(name[:256]).split()
    fitting = [each for each in table.specs if wanted and _fits(wanted, each)]
    if fitting and len({_figures(each) for each in fitting}) == 1:
        return fitting[0]
    if fitting:
        there = ", ".join(repr(each.name) for each in fitting)
        raise Rejected(f"device {name[:60]!r}: is one of several; there is: {there}")
    raise Rejected(f"device {name[:60]!r}: is not known; there is: {', '.join(_near(table, name))}")


def precision_of(spec: Spec, wanted: str | None) -> str:
    """The precision that is meant: without one bf16, fp16 or fp32; `Rejected` says which the device has."""
    there = [each for each in PRECISIONS if each in spec.peak_flops]
    if wanted is None:
        wanted = next((each for each in _USUAL if each in there), None)
    if wanted is None or wanted not in there:
        said = "none" if wanted is None else repr(wanted[:20])
        known = ", ".join(there) or "none; write it into a file for --specs"
        raise Rejected(f"precision {said}: has no known dense peak on {spec.name}; there is: {known}")
    return wanted


def peak_of(spec: Spec, precision: str) -> float:
    """Dense FLOP/s of one device as a batch system counts them."""
    return spec.peak_flops[precision] / spec.counted


def watts_of(spec: Spec) -> float | None:
    """The power that its maker gives for one device; None: not published."""
    return None if spec.watts is None else spec.watts / spec.counted


def _fits(wanted: list[str], spec: Spec) -> bool:
    words = normalised(spec.name).split()
    return all(any(_said(each, word) for word in words) for each in wanted)


def _said(part: str, word: str) -> bool:
    """The word itself, `sxm` for `sxm4` or `80` for `80gb`; never `b20` for `b200`, which is another device."""
    rest = word.removeprefix(part)
    if rest == word:
        return False
    return not rest or (part.isdigit() and rest == "gb") or (part.isalpha() and len(part) > 2 and rest.isdigit())


def _figures(spec: Spec) -> tuple[object, ...]:
    return tuple(sorted(spec.peak_flops.items())), spec.watts, spec.counted


def _near(table: Table, name: str) -> list[str]:
    names = {normalised(each.name): each.name for each in table.specs}
    wanted = normalised(name[:60])
    inside = [full for short, full in names.items() if wanted and set(wanted.split()) & set(short.split())]
    near = [names[each] for each in get_close_matches(wanted, names, n=5, cutoff=0.5)]
    return [repr(each) for each in dict.fromkeys([*near, *inside])] or [repr(each) for each in names.values()]
