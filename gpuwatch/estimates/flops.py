"""The floating-point operations of training a neural network, counted before it starts. Pure.

A multiplication and an addition are two operations. Of a weight matrix each token costs 2 per parameter forward, 2
for the gradient of what came in, and 2 for the gradient of the weights: 6 for what is trained. Frozen weights that
a gradient passes (those under adapters) cost 4, frozen weights that none passes 2. Attention has no weights; its
scores and their use cost 4·s·d per token and layer forward (two products of a row of d with s others) and twice
that backward: 12·L·s·d. What is counted is matrix products alone, each parameter once for each token, embeddings
included, which is how published figures are made. A run also evaluates, repeats and waits: it is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from gpuwatch.errors import Rejected

Recomputation = Literal["none", "selective", "full"]
"""Which activations are computed again for the backward pass: none, those of attention, or all."""
Convention = Literal["full", "causal"]
"""Whether attention is counted over the whole sequence, or only over what a causal mask leaves (about half)."""

RECOMPUTATIONS: tuple[Recomputation, ...] = get_args(Recomputation)
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
PETAFLOP_S_DAY = 8.64e19
"""FLOP of one day at 1e15 FLOP/s."""
LARGEST = 1e40


@dataclass(frozen=True, slots=True)
class AttentionLayers:
    """Layers that attend alike: `width` is heads × dimension of a head, `window` tokens back, None: all."""

    layers: int
    width: float
    window: int | None = None
    causal: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be computed: `tokens` times `active` parameters, repeated tokens counted each time.

    `attention` is the forward FLOP of attention per token. `frozen` of the active parameters are below all that
    is trained, so that no gradient passes them. With `adapters` (parameters of LoRA and the like, on top of the
    active ones) these alone are trained, and a gradient passes all others that are not frozen.
    """

    active: float
    tokens: float
    attention: float = 0.0
    frozen: float = 0.0
    adapters: float = 0.0
    recomputation: Recomputation = "none"


@dataclass(frozen=True, slots=True)
class Flop:
    """FLOP of a training: `model` as the arithmetic needs it, `hardware` with what is computed again."""

    model: float
    hardware: float

    @property
    def petaflop_s_days(self) -> float:
        """Model FLOP in days at 1e15 FLOP/s."""
        return self.model / PETAFLOP_S_DAY


def training(work: Work) -> Flop:
    """The FLOP of a training; `Rejected` where there is no such."""
    _check(work)
    passed = work.active - work.frozen
    share = passed / work.active
    weights = 2 * work.frozen + (4 if work.adapters else 6) * passed + 6 * work.adapters
    attention = work.attention * (1 + 2 * share)
    again = 0.0
    if work.recomputation != "none":
        again += work.attention * share
    if work.recomputation == "full":
        again += 2 * (passed + work.adapters)
    model = (weights + attention) * work.tokens
    return Flop(model, model + again * work.tokens)


def attention(layers: Sequence[AttentionLayers], sequence_length: float, convention: Convention) -> float:
    """Forward FLOP of attention per token of sequences of that length."""
    return sum(4 * each.layers * each.width * _context(each, sequence_length, convention) for each in layers)


def _context(layers: AttentionLayers, length: float, convention: Convention) -> float:
    """How many tokens a token attends to, in the mean over a sequence."""
    reach = length if layers.window is None else min(length, layers.window)
    if convention == "full" or not layers.causal:
        return reach
    # The first `reach` tokens see half of it in the mean, the others all of it.
    return reach - reach * reach / (2 * length)


def _check(work: Work) -> None:
    for name, amount, least in (
        ("active parameters", work.active, True),
        ("tokens", work.tokens, True),
        ("attention", work.attention, False),
        ("frozen parameters", work.frozen, False),
        ("parameters of adapters", work.adapters, False),
    ):
        if not isfinite(amount) or amount < 0 or (least and amount == 0) or amount > LARGEST:
            raise Rejected(f"{name}: {amount:g} is not possible; more than 0 and at most {LARGEST:g}")
    if work.frozen > work.active:
        wrong = f"{work.frozen:g} of {work.active:g} active parameters"
        raise Rejected(f"frozen parameters: {wrong} is not possible; at most all of them")
    if work.frozen == work.active and not work.adapters:
        raise Rejected("frozen parameters: all are frozen and there are no adapters; nothing would be trained")
