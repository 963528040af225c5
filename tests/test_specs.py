"""Specs: every figure has a source and is plausible, and drivers' names find the right entry or none."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from gpuwatch import specs
from gpuwatch.errors import ConfigurationError

DATA = tomllib.loads(Path(specs.__file__).with_name("specs.toml").read_text(encoding="utf-8"))

FOUND = {
    "Tesla P100-SXM2-16GB": "P100 SXM2",
    "Tesla P100-PCIE-16GB": "P100 PCIe",
    "Tesla V100-SXM2-16GB": "V100 SXM2 16GB",
    "Tesla V100-SXM2-32GB": "V100 SXM2 32GB",
    "Tesla V100-PCIE-16GB": "V100 PCIe 16GB",
    "Tesla V100-PCIE-32GB": "V100 PCIe 32GB",
    "Tesla T4": "T4",
    "GeForce RTX 2080 Ti": "RTX 2080 Ti",
    "NVIDIA GeForce RTX 2080 Ti": "RTX 2080 Ti",
    "NVIDIA A10": "A10",
    "NVIDIA A30": "A30",
    "NVIDIA A40": "A40",
    "NVIDIA RTX A6000": "RTX A6000",
    "A100-SXM4-40GB": "A100 SXM4 40GB",
    "NVIDIA A100-SXM4-40GB": "A100 SXM4 40GB",
    "NVIDIA A100-SXM4-80GB": "A100 SXM4 80GB",
    "NVIDIA A100-PCIE-40GB": "A100 PCIe 40GB",
    "NVIDIA A100 80GB PCIe": "A100 PCIe 80GB",
    "NVIDIA A100-SXM4-40GB MIG 1g.5gb": "A100 SXM4 40GB",
    "NVIDIA A800-SXM4-80GB": "A800 SXM4 80GB",
    "NVIDIA GeForce RTX 3090": "RTX 3090",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "NVIDIA RTX 6000 Ada Generation": "RTX 6000 Ada",
    "NVIDIA L4": "L4",
    "NVIDIA L40": "L40",
    "NVIDIA L40S": "L40S",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 NVL": "H100 NVL",
    "NVIDIA H100 80GB HBM3": "H100 SXM5 80GB",
    "NVIDIA H100 80GB HBM3 MIG 3g.40gb": "H100 SXM5 80GB",
    "NVIDIA H200": "H200 SXM",
    "NVIDIA H200 NVL": "H200 NVL",
    "NVIDIA H800": "H800 SXM",
    "NVIDIA H20": "H20",
    "NVIDIA GH200 480GB": "GH200 96GB",
    "NVIDIA GH200 144G HBM3e": "GH200 144GB",
    "NVIDIA B200": "B200",
    "NVIDIA GB200": "GB200",
    "NVIDIA B300 SXM6 AC": "B300",
    "NVIDIA GB300": "GB300",
    "AMD Instinct MI100": "MI100",
    "AMD Instinct MI210": "MI210",
    "AMD Instinct MI250": "MI250",
    "AMD Instinct MI250X": "MI250X",
    "AMD Instinct MI300X": "MI300X",
    "AMD Instinct MI300A": "MI300A",
    "AMD Instinct MI300X OAM": "MI300X",
    "AMD Instinct MI300X VF": "MI300X",
    "AMD Instinct MI325X": "MI325X",
    "AMD Instinct MI325X VF": "MI325X",
    "AMD Instinct MI350X": "MI350X",
    "AMD Instinct MI355X": "MI355X",
    "HL-225": "Gaudi2",
    "HL-325L": "Gaudi3",
    "AWS Trainium2": "Trainium2",
    "TPU v2": "TPU v2",
    "TPU v3": "TPU v3",
    "v3-8": "TPU v3",
    "TPU v4": "TPU v4",
    "tpu-v4-podslice": "TPU v4",
    "TPU v5e": "TPU v5e",
    "TPU v5 lite": "TPU v5e",
    "tpu-v5-lite-podslice": "TPU v5e",
    "v5litepod-8": "TPU v5e",
    "TPU v5": "TPU v5p",
    "TPU v5p": "TPU v5p",
    "tpu-v5p-slice": "TPU v5p",
    "TPU v6 lite": "TPU v6e",
    "TPU v6e": "TPU v6e",
    "tpu-v6e-slice": "TPU v6e",
    "TPU7x": "TPU7x",
    "TPU 7x": "TPU7x",
}

NOT_FOUND = [
    "", "unknown", "Tesla", "NVIDIA Graphics Device", "NVIDIA A10G", "NVIDIA A100", "NVIDIA H20-3e",
    "NVIDIA GeForce RTX 3090 Ti", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D",
    "Tesla V100-SXM3-32GB", "Tesla V100S-PCIE-32GB", "AMD Instinct MI300X HF", "NVIDIA A800 40GB Active",
    "TPU", "TPU v99", "NVIDIA H100 80GB HBM3\nNVIDIA T4", "simulated", "H" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("model", FOUND)
def test_name_of_driver_finds_its_entry(model: str) -> None:
    """The names that drivers, device plugins and frameworks give are known."""
    spec = specs.lookup(model)

    assert spec is not None
    assert FOUND[model] == spec.name


@pytest.mark.parametrize("model", NOT_FOUND)
def test_unsure_name_finds_nothing(model: str) -> None:
    """A near name is another device: no figure is better than a wrong one."""
    assert specs.lookup(model) is None


def test_every_entry_is_found_by_some_real_name() -> None:
    """No entry is dead weight."""
    reached = {*FOUND.values(), "A800 PCIe 40GB", "B100"}

    assert {spec.name for spec in specs.known()} == reached


@pytest.mark.parametrize("spec", specs.known(), ids=lambda spec: spec.name)
def test_figures_are_plausible_and_sourced(spec: specs.Spec) -> None:
    """Units slip by factors of a thousand; a range per figure notices."""
    assert spec.source
    assert all(1e12 <= rate <= 2e16 for rate in spec.peak_flops.values())
    assert spec.watts is None or 50 <= spec.watts <= 2000
    assert spec.idle_watts is None or (spec.watts and 5 <= spec.idle_watts < spec.watts * 0.6)
    assert 8 * 2**30 <= spec.memory_bytes <= 512 * 2**30
    assert spec.devices in (1, 2)
    assert spec.vendor in ("nvidia", "amd", "intel", "aws", "google")


@pytest.mark.parametrize("spec", specs.known(), ids=lambda spec: spec.name)
def test_narrower_numbers_are_not_slower(spec: specs.Spec) -> None:
    """Each halving of the width is at least as fast; dense and sparse figures mixed up would break it."""
    order = ["fp32", "tf32", "fp16", "fp8", "fp4"]
    rates = [spec.peak_flops[name] for name in order if name in spec.peak_flops]

    assert rates == sorted(rates)
    assert all(later <= 4 * earlier for earlier, later in pairwise(rates[1:]))


def test_names_patterns_and_sources_are_unambiguous() -> None:
    """One entry per name, no model matches two entries, every listed source is used and every used one listed."""
    names = [entry["name"] for entry in DATA["device"]]
    used = {source for entry in DATA["device"] for source in entry["source"]}
    matching = {
        model: [e["name"] for e in DATA["device"] if re.fullmatch(e["match"], specs.normalised(model))]
        for model in FOUND
    }

    assert len(set(names)) == len(names)
    assert used == set(DATA["sources"])
    assert matching == {model: [name] for model, name in FOUND.items()}


def test_units_are_base_units() -> None:
    """FLOP/s, watts and bytes, as everywhere inside."""
    spec = specs.lookup("NVIDIA H100 80GB HBM3")

    assert spec is not None
    assert spec.peak_flops["bf16"] == 989e12
    assert spec.watts == 700
    assert spec.memory_bytes == 80 * 2**30


def test_unpublished_figure_is_absent() -> None:
    """Nobody publishes the power of a TPU v5e, and its estimates are a factor of two apart."""
    spec = specs.lookup("TPU v5e")

    assert spec is not None
    assert spec.watts is None
    assert spec.idle_watts is None
    assert "fp32" not in spec.peak_flops


def written(folder: Path, text: str) -> Path:
    path = folder / "specs.toml"
    path.write_text(text)
    return path


def test_conflict_is_recorded() -> None:
    """Two sources, two figures: the other one is said, and no mean is made."""
    spec = specs.lookup("NVIDIA B300 SXM6 AC")

    assert spec is not None
    assert spec.watts is None
    assert spec.conflicts == ("watts: ML engineering says 1000, Epoch 1750; none is taken",)


def test_own_row_of_a_new_device(tmp_path: Path) -> None:
    """The name is what its driver gives where no expression is written."""
    row = '[[device]]\nname = "Acme X1"\npeak = { bf16 = 500 }\nwatts = 400\nmemory = 64\nsource = "data sheet"\n'

    found = specs.load(written(tmp_path, row)).lookup("ACME X1")

    assert found is not None
    assert (5e14, 400, "data sheet") == (found.peak_flops["bf16"], found.watts, found.source)


def test_own_row_replaces_what_it_says(tmp_path: Path) -> None:
    """A site that limits its cards says the watts alone; the shipped table stays as it is."""
    row = '[[device]]\nname = "H100 SXM5 80GB"\nwatts = 500\nsource = ["power limit", "June 2026"]\n'

    found = specs.load(written(tmp_path, row)).lookup("NVIDIA H100 80GB HBM3")
    shipped = specs.lookup("NVIDIA H100 80GB HBM3")

    assert found is not None
    assert shipped is not None
    assert (500, "power limit; June 2026", 989e12) == (found.watts, found.source, found.peak_flops["bf16"])
    assert 700 == shipped.watts


def test_earlier_file_counts_first(tmp_path: Path) -> None:
    """What a user gives stands before what the site says."""
    row = '[[device]]\nname = "T4"\nwatts = {}\nsource = "x"\n'
    mine, site = tmp_path / "mine.toml", tmp_path / "site.toml"
    mine.write_text(row.format(50))
    site.write_text(row.format(60))

    found = specs.load(mine, site).lookup("Tesla T4")

    assert found is not None
    assert 50 == found.watts


def test_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """Each with the row and what is possible."""
    path = written(
        tmp_path,
        '[[device]]\nname = "A"\nwats = 3\nwatts = -1\nmatch = "("\nmemory = nan\n'
        '[[device]]\npeak = { bf17 = 1 }\n[[device]]\nname = "A"\nmemory = 1\nsource = "x"\n',
    )

    with pytest.raises(ConfigurationError) as caught:
        specs.load(path)

    told = "\n".join(caught.value.mistakes)
    assert all(str(path) in line for line in caught.value.mistakes)
    expected = [
        "'wats', did you mean 'watts'", "watts: '-1'", "match: '('", "memory: 'nan'", "source: is missing",
        "device 2: name: is missing", "device 3: name: 'A' stands twice",
    ]  # fmt: skip
    assert [] == [part for part in expected if part not in told]


@pytest.mark.parametrize("text", ["device = 3", "device = [1]", "other = 1", "[[device]", "\x00", "a" * 2_000_000])
def test_what_is_no_table_of_devices_is_refused(tmp_path: Path, text: str) -> None:
    """With an error of ours, whatever it is."""
    with pytest.raises(ConfigurationError):
        specs.load(written(tmp_path, text))
