"""The energy of a statement as `energyConsumption` of the AI profile of SPDX 3.0.1, for an AI package. Pure.

Training, or what the tag `stage` says (`finetuning`, `inference`). Energy of the facility where it is known, else
of the devices; `comment` says which, with its bounds. Without measured energy there is no description, as the
profile has it for what is not known.
"""

from __future__ import annotations

from typing import Any

from gpuwatch.reports.statement import Statement
from gpuwatch.reports.words import bounded, percent

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
_KWH = 3.6e6
_STAGES = {
    "training": "ai_trainingEnergyConsumption",
    "finetuning": "ai_finetuningEnergyConsumption",
    "inference": "ai_inferenceEnergyConsumption",
}


def spdx(made: Statement) -> dict[str, Any]:
    """Properties of an `ai_AIPackage`."""
    total = made.total
    figure = total.facility_energy if total.facility_energy.known else total.device_energy
    if figure.value is None:
        return {"@context": CONTEXT, "comment": "no energy was measured"}
    quantity = "facility-energy" if total.facility_energy.known else "energy"
    of = "of the facility" if total.facility_energy.known else "of devices alone"
    description = {
        "type": "ai_EnergyConsumptionDescription",
        # A decimal, written out.
        "ai_energyQuantity": f"{figure.value / _KWH:.6f}".rstrip("0").rstrip("."),
        "ai_energyUnit": "kilowattHour",
    }
    covered = percent(total.covered_ratio, "an unknown part")
    return {
        "@context": CONTEXT,
        "ai_energyConsumption": {"type": "ai_EnergyConsumption", _stage(made): [description]},
        "comment": f"energy {of}: {bounded(quantity, figure)}; {covered} of the device-time measured; {made.id}",
    }


def _stage(made: Statement) -> str:
    said = {row.tags.get("stage", "training") for row in made.runs}
    return _STAGES.get(said.pop() if len(said) == 1 else "", _STAGES["training"])
