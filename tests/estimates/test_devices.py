"""Which device is meant: by its driver's name, by some words of it, and never a wrong one."""

from __future__ import annotations

import pytest

from gpuwatch import specs
from gpuwatch.errors import Rejected
from gpuwatch.estimates import devices

TABLE = specs.load()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("h100 sxm", "H100 SXM5 80GB"),
        ("A100 SXM4 80GB", "A100 SXM4 80GB"),
        ("a100-pcie-80", "A100 PCIe 80GB"),
        ("mi300x", "MI300X"),
        ("rtx 6000", "RTX 6000 Ada"),
        ("tpu v4", "TPU v4"),
    ],
)
def test_words_that_fit_one_device_find_it(name: str, expected: str) -> None:
    """As its driver says it, as people do, or in part."""
    assert expected == devices.find(TABLE, name).name


def test_words_that_fit_alike_devices_find_one_of_them() -> None:
    """A100 SXM of 40 and 80 GB compute and draw the same."""
    assert devices.find(TABLE, "A100 SXM").name in ("A100 SXM4 40GB", "A100 SXM4 80GB")


def test_words_that_fit_several_list_them() -> None:
    """A100 alone may draw 250 or 400 W."""
    with pytest.raises(Rejected) as caught:
        devices.find(TABLE, "A100")

    there = "'A100 SXM4 40GB', 'A100 SXM4 80GB', 'A100 PCIe 40GB', 'A100 PCIe 80GB'"
    assert f"device 'A100': is one of several; there is: {there}" == str(caught.value)


@pytest.mark.parametrize(
    ("name", "near"), [("H10 SXM5", "H100"), ("B20", "B200"), ("MI300", "MI300X"), ("rtx 4091", "RTX 4090")]
)
def test_unknown_device_lists_near_ones(name: str, near: str) -> None:
    """A slip of the finger is not a new device."""
    with pytest.raises(Rejected, match=f"is not known; there is: .*{near}"):
        devices.find(TABLE, name)


@pytest.mark.parametrize("name", ["", " ", "nvidia", "x" * 100_000, "\0", "(", "é"])
def test_no_name_finds_nothing(name: str) -> None:
    """Every device is listed then; the message stays short enough to read."""
    with pytest.raises(Rejected, match="there is: ") as caught:
        devices.find(TABLE, name)
    assert len(str(caught.value)) < 2000


def test_precision_is_the_usual_one_or_said() -> None:
    """bf16 where there is one, fp16 on a V100; an unknown one says which there are."""
    v100, h100 = devices.find(TABLE, "V100 SXM2 16GB"), devices.find(TABLE, "H100 SXM")

    assert ("fp16", "bf16", "fp8") == (
        devices.precision_of(v100, None), devices.precision_of(h100, None), devices.precision_of(h100, "fp8")
    )  # fmt: skip
    with pytest.raises(Rejected, match=r"precision 'fp8': .* on V100 SXM2 16GB; there is: fp32, fp16"):
        devices.precision_of(v100, "fp8")


def test_device_without_known_peak_says_what_to_do() -> None:
    """H200 NVL: nobody published one."""
    with pytest.raises(Rejected, match="there is: none; write it into a file for --specs"):
        devices.precision_of(devices.find(TABLE, "H200 NVL"), None)


def test_device_is_what_a_batch_system_counts() -> None:
    """Slurm counts both dies of an MI250X; Kubernetes counts a TPU v3 once, though a driver shows two cores."""
    mi250x, v3 = devices.find(TABLE, "MI250X"), devices.find(TABLE, "TPU v3")

    assert (383e12 / 2, 250) == (devices.peak_of(mi250x, "bf16"), devices.watts_of(mi250x))
    assert (123e12, 220) == (devices.peak_of(v3, "bf16"), devices.watts_of(v3))
