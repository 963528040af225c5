"""What was declared beside what it came to. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Estimate
from gpuwatch.reports.material import Material
from gpuwatch.reports.pieces import Piece
from gpuwatch.reports.statement import Declared, Group


def declared_of(
    material: Material, pieces: Sequence[Piece], total: Group, begins: float | None, ends: float | None
) -> tuple[Declared, ...]:
    """Every quantity that was declared; a part of the time is not held against a declaration of the whole."""
    by_quantity: dict[str, list[Revision]] = defaultdict(list)
    for revision in material.revisions:
        by_quantity[revision.estimate.quantity].append(revision)
    wall = None if begins is None or ends is None else ends - begins
    return tuple(
        _declared(quantity, tuple(those), _final(quantity, those[0].estimate, pieces, total, wall), material)
        for quantity, those in sorted(by_quantity.items())
    )


def _final(
    quantity: str, estimate: Estimate, pieces: Sequence[Piece], total: Group, wall: float | None
) -> float | None:
    if not pieces:
        return None
    found = {
        "device-hours": total.device_seconds,
        "energy": total.device_energy.value,
        "facility-energy": total.facility_energy.value,
        "carbon": total.carbon.value,
        "cost": total.cost.get(estimate.unit),
        "wall": wall,
    }
    return found.get(quantity)


def _declared(quantity: str, those: tuple[Revision, ...], final: float | None, material: Material) -> Declared:
    now = next((each.estimate for each in those if each.in_force), None)
    first = next((each.estimate for each in those if each.original), None)
    comparable = final if material.asked.whole else None
    return Declared(
        quantity, those[0].estimate.unit, those, final, _ratio(comparable, now), _ratio(comparable, first)
    )


def _ratio(final: float | None, estimate: Estimate | None) -> float | None:
    if final is None or estimate is None or estimate.likely <= 0:
        return None
    return final / estimate.likely
