"""FLOP of trainings: published figures, counts made by hand, and that more work is never less FLOP."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.estimates.flops import AttentionLayers, Work, attention, training

PUBLISHED = {
    "LLaMA 7B": (6.7e9, 1e12, 4.0e22),
    "LLaMA 13B": (13e9, 1e12, 7.8e22),
    "LLaMA 33B": (32.5e9, 1.4e12, 2.7e23),
    "LLaMA 65B": (65.2e9, 1.4e12, 5.5e23),
    "Llama 2 7B": (6.74e9, 2e12, 8.1e22),
    "GPT-3": (175e9, 300e9, 3.14e23),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name: str) -> None:
    """Within 3 % of what was published as 6ND."""
    active, tokens, expected = PUBLISHED[name]

    assert training(Work(active, tokens)).model == pytest.approx(expected, rel=0.03)


def test_gpt_3_in_petaflop_days() -> None:
    """About 3,600."""
    assert training(Work(175e9, 300e9)).petaflop_s_days == pytest.approx(3646, rel=1e-3)


def test_bloom_with_all_activations_computed_again() -> None:
    """BLOOM's own plan had 8 × 167e9 parameters × 450e9 tokens of hardware FLOP."""
    found = training(Work(167e9, 450e9, recomputation="full"))

    assert (6 * 167e9 * 450e9, 8 * 167e9 * 450e9) == pytest.approx((found.model, found.hardware))


def test_attention_of_long_sequences_by_hand() -> None:
    """32 layers of width 4096 at 131,072 tokens: 12·L·s·d is 2.062e11 a token, five times 6N of 6.74e9."""
    forward = attention([AttentionLayers(32, 4096)], 131_072, "full")

    found = training(Work(6.74e9, 1e9, forward))

    assert 12 * 32 * 131_072 * 4096 * 1e9 == pytest.approx(2.0616e20, rel=1e-4)
    assert (6 * 6.74e9 + 12 * 32 * 131_072 * 4096) * 1e9 == pytest.approx(found.model)


def test_causal_mask_leaves_half() -> None:
    """Tokens see half of what is before them in the mean; an encoder sees all."""
    layers = [AttentionLayers(2, 8), AttentionLayers(1, 8, causal=False)]

    assert 4 * 8 * (2 * 50 + 100) == attention(layers, 100, "causal")
    assert 4 * 8 * 3 * 100 == attention(layers, 100, "full")


def test_window_ends_the_growth() -> None:
    """A layer that looks 10 tokens back; the first ones of a sequence see fewer."""
    layers = [AttentionLayers(1, 1, window=10)]
    seen = [min(position, 10) for position in range(1, 1001)]

    assert 4 * 10 == attention(layers, 1000, "full")
    assert attention(layers, 1000, "causal") == pytest.approx(4 * sum(seen) / 1000, rel=0.01)


def test_frozen_parts_run_forward_only() -> None:
    """2 per parameter; attention of their share has no backward either."""
    found = training(Work(100.0, 10.0, attention=30.0, frozen=40.0))

    assert (2 * 40 + 6 * 60 + 30 * (1 + 2 * 0.6)) * 10 == pytest.approx(found.model)


def test_adapters_save_the_gradients_of_weights() -> None:
    """4 per frozen parameter that a gradient passes, 6 per parameter of an adapter."""
    found = training(Work(100.0, 10.0, adapters=2.0))

    assert (4 * 100 + 6 * 2) * 10 == found.model


def test_recomputation_of_attention_alone() -> None:
    """Selective: the scores once more, the weights not."""
    found = training(Work(100.0, 10.0, attention=30.0, recomputation="selective"))

    assert (690 * 10, 720 * 10) == (found.model, found.hardware)


@pytest.mark.parametrize("amount", [0.0, -1.0, nan, inf, 1e308])
def test_absurd_amounts_are_refused(amount: float) -> None:
    """By name, with what is possible."""
    for work in (Work(amount, 1.0), Work(1.0, amount), Work(1.0, 1.0, attention=amount or -1)):
        with pytest.raises(Rejected, match="is not possible"):
            training(work)


def test_nothing_to_train_is_refused() -> None:
    """All frozen and no adapters; or more frozen than there is."""
    for frozen in (100.0, 101.0):
        with pytest.raises(Rejected, match="frozen parameters"):
            training(Work(100.0, 1.0, frozen=frozen))


amounts = st.floats(1.0, 1e15)
parts = st.floats(0, 0.99)
works = st.builds(
    lambda active, tokens, attending, part, adapters, again: Work(
        active, tokens, attending, part * active, adapters, again
    ),
    amounts, amounts, st.floats(0, 1e15), parts, st.sampled_from([0.0, 1.0, 1e6]),
    st.sampled_from(["none", "selective", "full"]),
)  # fmt: skip


@given(works, st.floats(1.0, 1e3))
def test_more_of_anything_is_never_less(work: Work, factor: float) -> None:
    """Parameters, tokens, attention and adapters add FLOP; frozen ones save some."""
    before = training(work)
    greater = [
        replace(work, tokens=work.tokens * factor),
        replace(work, active=work.active * factor),
        replace(work, attention=work.attention * factor),
        replace(work, frozen=work.frozen / factor),
    ] + ([replace(work, adapters=work.adapters * factor)] if work.adapters else [])
    for each in greater:
        after = training(each)
        assert after.model >= before.model * (1 - 1e-12)
        assert after.hardware >= before.hardware * (1 - 1e-12)


@given(works)
def test_recomputation_adds_to_hardware_alone(work: Work) -> None:
    """None, selective, full, in this order; the model needs the same."""
    found = [training(replace(work, recomputation=each)) for each in ("none", "selective", "full")]

    assert 1 == len({each.model for each in found})
    assert found[0].model == found[0].hardware <= found[1].hardware <= found[2].hardware
