"""`gpuwatch estimate flops`: from what is typed to a table, JSON and a line that the grammar takes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gpuwatch import declaration
from tests.cli.command import gpuwatch
from tests.estimates.configurations import LLAMA, MODELS


def estimate(*arguments: str, device: str = "A100 SXM4 80GB") -> dict[str, Any]:
    shown = gpuwatch("estimate", "flops", "--device", device, "--json", *arguments)
    assert ("", 0) == (shown.stderr, shown.returncode)
    return json.loads(shown.stdout)


def test_gpt_3_as_json() -> None:
    """About 3.1e23 FLOP, 3,600 petaflop/s-days; q05 to q95 in order."""
    found = estimate("--params", "175B", "--tokens", "300B", device="V100 SXM2")

    assert found["flop"] == pytest.approx(3.15e23)
    assert found["petaflop_s_days"] == pytest.approx(3646, rel=1e-3)
    assert "lower bound" == found["flop_is"]
    assert "the FLOP count is a lower bound" in found["assumptions"][0]
    for name in ("device_hours", "energy_joules", "facility_joules", "carbon_grams"):
        assert ["q05", "q10", "q25", "q50", "q75", "q90", "q95"] == list(found[name])
        assert all(low < high for low, high in pairwise(found[name].values()))
    assert (None, None, None) == (found["cost"], found["currency"], found["wall_seconds"])


def test_lines_to_paste_are_taken_by_the_grammar() -> None:
    """The command's options and the comment say the same, of all that is known."""
    shown = gpuwatch(
        "estimate", "flops", "--device", "H100 SXM", "--params", "7B", "--tokens", "140B", "--devices", "64"
    )

    *_, command, comment = shown.stdout.splitlines()
    said = declaration.from_comment(comment.removeprefix('#SBATCH --comment="').removesuffix('"'))
    assert said is not None
    assert "flops" == said.basis
    assert ["device-hours", "energy", "facility-energy", "carbon", "wall"] == [
        each.quantity for each in said.amounts
    ]
    assert all(each.low < each.likely < each.high for each in said.amounts)
    words = command.removeprefix("gpuwatch declare --").split(" --")
    assert said == declaration.parse(" ".join(word.replace(" ", "=", 1) for word in words))
    assert "in 8 of 10 cases between the outer two" in shown.stdout


def test_configuration_of_a_model(tmp_path: Path) -> None:
    """The file, or the folder that it lies in."""
    (tmp_path / "config.json").write_text(json.dumps(MODELS["Mixtral 8x7B"].config))

    found = estimate("--model", str(tmp_path), "--tokens", "1T")

    assert (46_702_792_704, 12_879_925_248) == (found["parameters"], found["active_parameters"])
    assert found["flop"] == pytest.approx(6 * 12_879_925_248 * 1e12)
    assert found == estimate("--model", str(tmp_path / "config.json"), "--tokens", "1T")


def test_long_sequences_recomputation_and_adapters(tmp_path: Path) -> None:
    """Each option reaches the arithmetic."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    by_file = ["--model", str(tmp_path), "--tokens", "1B", "--sequence-length", "131072"]
    by_hand = ["--params", "6738415616", "--tokens", "1e9", "--sequence-length", "131072", "--layers", "32"]
    attention = 12 * 32 * 131072 * 4096 * 1e9

    full = estimate(*by_file, "--recomputation", "full")
    causal = estimate(*by_hand, "--width", "4096", "--attention", "causal")
    lora = estimate("--params", "7B", "--tokens", "1B", "--lora", "20M", "--frozen", "1B")

    assert full["flop"] == pytest.approx(6 * 6738415616e9 + attention)
    assert full["hardware_flop"] == pytest.approx(full["flop"] * 4 / 3)
    assert causal["flop"] == pytest.approx(6 * 6738415616e9 + attention / 2)
    assert lora["flop"] == pytest.approx((2 * 1e9 + 4 * 6e9 + 6 * 2e7) * 1e9)


def test_rates_and_specs_of_files(tmp_path: Path) -> None:
    """A price by the driver's name of the model, a device that is not shipped."""
    rates, specs = tmp_path / "rates.csv", tmp_path / "specs.toml"
    rates.write_text("kind,model,value,unit\nprice,X1 80GB,2,EUR\n")
    specs.write_text('[[device]]\nname = "Acme X1"\nmatch = "acme x1 80gb"\npeak = { bf16 = 500 }\n'
                     'memory = 80\nsource = "data sheet"\n')  # fmt: skip

    found = estimate(
        "--flop", "1e21", "--rates", str(rates), "--specs", str(specs), "--watts", "400", "--utilization", "0.4",
        device="Acme X1 80GB",
    )  # fmt: skip

    hours = 1e21 / (500e12 * 0.4 * 3600)
    assert ("Acme X1", "EUR", None) == (found["device"], found["currency"], found["parameters"])
    assert [hours, 2 * hours, 400 * hours * 3600] == pytest.approx(
        [found[name]["q50"] for name in ("device_hours", "cost", "energy_joules")]
    )
    assert "cost=" in found["declaration"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--tokens: is missing"),
        (("--tokens", "1T"), "--params: is missing"),
        (("--params", "7B", "--tokens", "0"), "'0' is no number more than 0"),
        (("--params", "-7B", "--tokens", "1T"), "'-7B' is no number"),
        (("--params", "nan", "--tokens", "1T"), "'nan' is no number"),
        (("--params", "8x7B", "--tokens", "1T"), "'8x7B' is no number"),
        (("--params", "٧B", "--tokens", "1T"), "is no number"),
        (("--params", "7B", "--tokens", "1T", "--active", "8B"), "8B is more than the 7B"),
        (("--params", "7B", "--tokens", "1T", "--layers", "32"), "stands with --width"),
        (("--params", "7B", "--tokens", "1T", "--model", "x"), "stands beside --model"),
        (("--flop", "1e21", "--tokens", "1T"), "stands beside --tokens"),
        (("--flop", "1e21", "--recomputation", "full"), "stands beside --recomputation"),
        (("--flop", "1e21", "--attention", "half"), "'half'"),
        (("--flop", "1e21", "--devices", "0"), "--devices"),
    ],
)
def test_wrong_command_line_is_a_usage_error(arguments: tuple[str, ...], message: str) -> None:
    """Exit code 64, and what is possible."""
    shown = gpuwatch("estimate", "flops", "--device", "A100 SXM4 80GB", *arguments)

    told = " ".join(shown.stderr.replace("│", " ").split())
    assert (64, "") == (shown.returncode, shown.stdout)
    assert all(part in told for part in message.split(": "))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--flop", "1e21", "--device", "A100"), 65, "device 'A100': is one of several; there is: 'A100 SXM4"),
        (("--flop", "1e21", "--device", "T4", "--precision", "bf16"), 65, "there is: fp32, fp16, int8"),
        (("--flop", "1e21", "--device", "T4", "--mfu", "45"), 65, "a ratio of the peak, 0.001 to 1, as in 0.45"),
        (("--flop", "1e99", "--device", "T4"), 65, "at most 1e+40"),
        (("--params", "7B", "--tokens", "1B", "--frozen", "7B", "--device", "T4"), 65, "nothing would be trained"),
        (("--model", "/none", "--tokens", "1B", "--device", "T4"), 78, "/none: is no file"),
        (("--flop", "1e21", "--device", "T4", "--rates", "/none"), 78, "/none: cannot be read"),
        (("--flop", "1e21", "--device", "T4", "--specs", "/none"), 78, "/none: cannot be read"),
    ],
)
def test_what_cannot_be_estimated_says_why(arguments: tuple[str, ...], code: int, message: str) -> None:
    """In one line, with what there is."""
    shown = gpuwatch("estimate", "flops", *arguments)

    assert (code, "") == (shown.returncode, shown.stdout)
    assert shown.stderr.startswith("gpuwatch: ")
    assert message in shown.stderr


def test_what_is_too_much_to_declare_is_said() -> None:
    """1e39 FLOP are an estimate still, and no declaration."""
    shown = gpuwatch("estimate", "flops", "--flop", "1e39", "--device", "T4")

    assert 0 == shown.returncode
    assert shown.stdout.endswith("too much or too little to be declared in one line\n")
