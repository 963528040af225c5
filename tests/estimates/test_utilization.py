"""Run utilization: published trainings, step MFU turned into it, and ratios that are none."""

from __future__ import annotations

from math import inf, nan

import pytest

from gpuwatch import specs
from gpuwatch.errors import Rejected
from gpuwatch.estimates import utilization
from gpuwatch.estimates.quantiles import LEVELS
from gpuwatch.specs import Spec


def spec(name: str) -> Spec:
    return next(each for each in specs.known() if each.name == name)


def test_generations_have_their_own() -> None:
    """A100 reach more of their peak than H100 do; the chips of export versions and other memories are the same."""
    a100, h100 = utilization.of_device(spec("A100 SXM4 80GB")), utilization.of_device(spec("H100 SXM5 80GB"))

    assert (0.365, 0.243) == (a100.quantiles[0.5], h100.quantiles[0.5])
    assert a100.quantiles == utilization.of_device(spec("A800 PCIe 40GB")).quantiles
    assert h100.quantiles == utilization.of_device(spec("GH200 96GB")).quantiles
    assert "28 published trainings on A100" == a100.source


def test_other_devices_have_what_all_trainings_reached() -> None:
    """And it is said that none of them was on such a device; H20 is another chip than H200."""
    for name in ("V100 SXM2 16GB", "MI300X", "B200", "H20", "TPU v4"):
        found = utilization.of_device(spec(name))

        assert (0.231, 0.325, 0.476) == tuple(found.quantiles[level] for level in (0.1, 0.5, 0.9))
        assert "none says much of this device" in found.source


def test_prior_matches_the_published_ratios() -> None:
    """Of an estimate at 40 %, actual over estimate was 0.84, 1.23 and 1.73 at 10, 50 and 90 %."""
    found = utilization.of_device(spec("MI300X")).quantiles

    assert [0.84, 1.23, 1.73] == pytest.approx([0.40 / found[level] for level in (0.9, 0.5, 0.1)], rel=0.01)


def test_mfu_becomes_less_over_the_run() -> None:
    """Times 0.60 to 0.91; it has paid for recomputation already."""
    found = utilization.of_mfu(0.5)

    assert (0.30, 0.385, 0.455) == pytest.approx([found.quantiles[level] for level in (0.05, 0.5, 0.95)])
    assert not found.of_hardware


def test_given_utilization_is_certain() -> None:
    """One value at every level."""
    assert {0.4} == {utilization.given(0.4).quantiles[level] for level in LEVELS}


@pytest.mark.parametrize("ratio", [0.0, -0.4, 1.01, 45.0, nan, inf])
def test_what_is_no_ratio_is_refused(ratio: float) -> None:
    """45 is what somebody writes who thinks in percent."""
    for read in (utilization.of_mfu, utilization.given):
        with pytest.raises(Rejected, match=r"0\.001 to 1, as in 0\.45"):
            read(ratio)
