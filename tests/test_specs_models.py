"""Specs and sources: whatever a source can call a device is known, or said not to be; estimates say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpuwatch import specs
from gpuwatch.devices import amd_cards, tpu_chips
from tests.fake_sysfs.amd import FakeCard

ROOT = Path(__file__).parents[1]
GENERATIONS = (*tpu_chips._BY_SUBSYSTEM.values(), *tpu_chips._BY_DEVICE.values())
MI250 = 0x740C

WITHOUT = {
    "AMD Instinct MI300X HF": "a variant of which no data sheet was found",
}
"""Models that a source can name and of which there is no row, and why."""

ESTIMATED = ["TPU v5p", "TPU v6e", "TPU7x"]
MODELLED = ["TPU v2", "TPU v3", "TPU v4"]


def amd_model(folder: Path, device: int, product: str = "") -> str:
    """What the source calls a card of this number, into which its maker wrote a name."""
    card = FakeCard(folder, 0, "0000:0a:00.0", device)
    card.write("product_name", product)
    return amd_cards.cards(str(folder), integrated=False)[0].model


def unexplained(name: str) -> bool:
    """Whether a name has neither row nor reason, or both."""
    return (specs.lookup(name) is None) != (name in WITHOUT)


@pytest.mark.parametrize("device", amd_cards.NAMES)
def test_every_amd_device_has_a_row_or_a_reason(tmp_path: Path, device: int) -> None:
    """A new device number brings its row, and a row takes its name from the list of those without."""
    assert not unexplained(amd_model(tmp_path, device))


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        ("AMD INSTINCT MI250 (MCM) OAM AC MBA", "MI250"),
        ("AMD INSTINCT MI250X (MCM) OAM AC MBA", "MI250X"),
        ("", "MI250"),
    ],
)
def test_device_of_two_models_has_a_row_for_either(tmp_path: Path, product: str, expected: str) -> None:
    """One number, two models: what the maker wrote decides."""
    spec = specs.lookup(amd_model(tmp_path, MI250, product))

    assert spec is not None
    assert expected == spec.name


def test_amd_device_without_a_name_has_no_row(tmp_path: Path) -> None:
    """A number is no model."""
    name = amd_model(tmp_path, 0x7FFF)

    assert "AMD 0x7fff" == name
    assert specs.lookup(name) is None


def test_part_of_a_card_for_a_guest_is_not_another_card() -> None:
    """A virtual function has the whole card."""
    assert specs.lookup("AMD Instinct MI300X") == specs.lookup("AMD Instinct MI300X VF")
    assert specs.lookup("AMD Instinct MI325X") == specs.lookup("AMD Instinct MI325X VF")


def test_list_of_those_without_has_only_names_of_the_source() -> None:
    """What nobody can name need not be excused."""
    assert WITHOUT.keys() <= set(amd_cards.NAMES.values())


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda each: each.model)
def test_every_tpu_has_a_row_of_as_many_devices(generation: tpu_chips.Generation) -> None:
    """By the name and the number of devices that the source knows."""
    spec = specs.lookup(generation.model)

    assert spec is not None
    assert (generation.model, "google", generation.devices) == (spec.name, spec.vendor, spec.devices)


def test_half_precisions_differ_on_one_card_alone() -> None:
    """The first matrix units of AMD's do bfloat16 at half the rate; anywhere else it is a slip."""
    rates = {spec.name: spec.peak_flops for spec in specs.known()}
    unequal = [
        name for name, peak in rates.items() if {"fp16", "bf16"} <= peak.keys() and peak["fp16"] != peak["bf16"]
    ]

    assert ["MI100"] == unequal
    assert 184.6e12 == rates["MI100"]["fp16"]
    assert 92.3e12 == rates["MI100"]["bf16"]


def test_estimated_watts_say_so() -> None:
    """In the term, which is printed beside the figure, and in the source."""
    said = [spec.name for spec in specs.known() if "estimate" in spec.watts_term]
    sourced = [spec.name for spec in specs.known() if "estimate:" in spec.source]

    assert ESTIMATED == said
    assert said == sourced


def test_energy_is_modelled_only_from_published_watts() -> None:
    """Idle watts are known of three generations; none is made up for the others, so these have no energy."""
    modelled = [
        each.model
        for each in GENERATIONS
        if (spec := specs.lookup(each.model)) is not None and None not in (spec.idle_watts, spec.watts)
    ]

    assert MODELLED == modelled


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda each: each.model)
def test_page_says_what_the_row_says(generation: tpu_chips.Generation) -> None:
    """Each generation has its line in docs/energy.md, with the watts that count."""
    spec = specs.lookup(generation.model)
    page = (ROOT / "docs" / "energy.md").read_text(encoding="utf-8")
    lines = re.findall(rf"^\| {re.escape(generation.model)} \|.*$", page, re.MULTILINE)

    assert spec is not None
    assert 1 == len(lines)
    for watts in (spec.idle_watts, spec.watts):
        assert watts is None or f"{watts:g} W" in lines[0]
