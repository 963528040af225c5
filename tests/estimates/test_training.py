"""From a network and data to FLOP and words: what was counted, what was left out, and what the answer rests on."""

from __future__ import annotations

import pytest

from gpuwatch import specs
from gpuwatch.errors import Rejected
from gpuwatch.estimates import devices, training
from gpuwatch.estimates.architecture import of_config
from gpuwatch.estimates.flops import AttentionLayers
from gpuwatch.estimates.training import Data, Network
from tests.estimates.configurations import LLAMA, MODELS

TABLE = specs.load()


def test_configuration_of_mixtral_and_its_tokens() -> None:
    """6 × 12.88e9 active parameters; all 46.7e9 are named."""
    found = training.count(training.network_of(of_config(MODELS["Mixtral 8x7B"].config)), Data(1e12))

    assert found.flop.model == pytest.approx(6 * 12.9e9 * 1e12, rel=0.03)
    assert "4.67e+10 parameters in all" in found.words


def test_embeddings_are_counted_and_said() -> None:
    """6 × all parameters is how published figures are made; of Llama 3 8B 525 million are a table."""
    found = training.count(training.network_of(of_config(MODELS["Llama 3 8B"].config)), Data(1e12))

    assert 6 * 8_030_261_248 * 1e12 == pytest.approx(found.flop.model)
    assert "6.5 % of the active parameters are only looked up; published counts have them" in found.words


def test_attention_that_is_left_out_says_what_it_would_be() -> None:
    """At the longest sequence that the model is made for: 12 × 32 × 4096 × 4096 over 6 × 6.74e9."""
    found = training.count(training.network_of(of_config(LLAMA)), Data(1e12))

    left_out = "attention is left out, as no sequence length is given; at 4,096 tokens it would be 16 % more"
    assert left_out in found.words


def test_attention_counts_with_a_length() -> None:
    """Over the whole sequence, or half of it, and the words say which."""
    network = training.network_of(of_config(LLAMA))

    full = training.count(network, Data(1e9, 4096))
    causal = training.count(network, Data(1e9, 4096, "causal"))

    assert 12 * 32 * 4096 * 4096 * 1e9 == pytest.approx(full.flop.model - 6 * 6_738_415_616 * 1e9)
    assert full.flop.model - causal.flop.model == pytest.approx(6 * 32 * 4096 * 4096 * 1e9)
    assert "attention at 4,096 tokens, 12·L·s·d over the whole sequence: 16 % more" in full.words
    assert any("as a causal mask leaves it: 8 % more" in each for each in causal.words)


def test_length_without_layers_is_refused() -> None:
    """It would be silently without effect."""
    with pytest.raises(Rejected, match="give --layers and --width"):
        training.count(Network(None, 1e9), Data(1e9, 4096))


@pytest.mark.parametrize("length", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_absurd_length_is_refused(length: float) -> None:
    """As every amount."""
    with pytest.raises(Rejected, match="sequence length"):
        training.count(Network(None, 1e9, (AttentionLayers(1, 1.0),)), Data(1e9, length))


def test_adapters_and_frozen_parts_are_said() -> None:
    """The count can be followed."""
    found = training.count(Network(8e9, 7e9), Data(1e9, frozen=1e9, adapters=2e7, recomputation="full"))

    assert (
        "FLOP per token: 4 × 6e+09 active parameters + 2 × 1e+09 frozen + 6 × 2e+07 of adapters, for 1e+09 tokens"
        in found.words
    )
    assert any(each.startswith("recomputation of all activations") for each in found.words)


@pytest.mark.parametrize("flop", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_absurd_flop_is_refused(flop: float) -> None:
    """Whoever counted it."""
    with pytest.raises(Rejected, match="FLOP"):
        training.given(flop)


def test_assumptions_name_peak_utilization_and_doubts() -> None:
    """Of an MI250X: half a card, runs of others, and what another source says."""
    spec = devices.find(TABLE, "MI250X")

    words = "\n".join(training.assumptions(training.machine(spec, "int8", None, None)))

    assert "peak 191.5 TFLOP/s dense in int8 of MI250X: stas00/ml-engineering" in words
    assert "a device is one of the 2 that a batch system counts for one MI250X" in words
    assert "utilization over the run 0.23 to 0.48, likely 0.325: 43 published trainings" in words
    assert "those trainings computed in 16 bits; of the int8 peak a run may reach another part" in words
    assert "MI250X, another source: watts: 560 as peak board power" in words


def test_mfu_and_utilization_exclude_each_other() -> None:
    """One of them would be ignored."""
    spec = devices.find(TABLE, "MI250X")

    assert "given, and taken as certain" == training.machine(spec, None, None, 0.4).utilization.source
    assert training.machine(spec, None, 0.4, None).utilization.source.startswith("step MFU 0.4 × 0.60 to 0.91")
    with pytest.raises(Rejected, match="stands beside an MFU"):
        training.machine(spec, None, 0.4, 0.4)
