"""The whole way from a network and its data to what its training needs, and what the answer rests on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gpuwatch.errors import Rejected
from gpuwatch.estimates import devices, utilization
from gpuwatch.estimates.architecture import Architecture
from gpuwatch.estimates.flops import (
    LARGEST,
    AttentionLayers,
    Convention,
    Flop,
    Recomputation,
    Work,
    attention,
    training,
)
from gpuwatch.estimates.utilization import Utilization
from gpuwatch.specs import Spec

LOWER_BOUND = (
    "the FLOP count is a lower bound: matrix products of one training alone, without evaluation, steps that are"
    " repeated after a failure, or the runs that were tried before"
)


@dataclass(frozen=True, slots=True)
class Network:
    """What is trained: `parameters` in all (None: not said), `active` for each token, how it attends."""

    parameters: float | None
    active: float
    layers: tuple[AttentionLayers, ...] = ()
    longest: int | None = None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Data:
    """What it is trained on and how: sequences of `sequence_length` tokens, None: not said."""

    tokens: float
    sequence_length: float | None = None
    convention: Convention = "full"
    frozen: float = 0.0
    adapters: float = 0.0
    recomputation: Recomputation = "none"


@dataclass(frozen=True, slots=True)
class Counted:
    """FLOP, and in words how they were counted."""

    flop: Flop
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """One device as the batch system counts them: its spec, a precision, and which part of the peak is reached."""

    spec: Spec
    precision: str
    utilization: Utilization


def network_of(architecture: Architecture) -> Network:
    """The network that a configuration describes."""
    found, words = architecture, list(architecture.assumed)
    share = found.embedding / found.active
    if share >= 0.01:
        words.append(
            f"{100 * share:.2g} % of the active parameters are only looked up; published counts have them"
        )
    return Network(found.parameters, found.active, found.attention, found.longest, tuple(words))


def count(network: Network, data: Data) -> Counted:
    """The FLOP of training a network on data."""
    length = data.sequence_length
    if length is not None and not network.layers:
        raise Rejected("sequence length: without layers and width it says nothing; give --layers and --width")
    if length is not None and not 1 <= length <= LARGEST:
        raise Rejected(f"sequence length: {length:g} is not possible; 1 or more tokens")
    forward = 0.0 if length is None else attention(network.layers, length, data.convention)
    work = Work(network.active, data.tokens, forward, data.frozen, data.adapters, data.recomputation)
    return Counted(training(work), tuple(_words(network, data, work)))


def given(flop: float) -> Counted:
    """FLOP that somebody else counted."""
    if not 0 < flop <= LARGEST:
        raise Rejected(f"FLOP: {flop:g} is not possible; more than 0 and at most {LARGEST:g}")
    return Counted(Flop(flop, flop), ("FLOP as given, of forward and backward passes of the whole training",))


def assumptions(machine: Machine) -> Iterator[str]:
    """What time rests on, in words."""
    spec, ratio = machine.spec, machine.utilization
    peak = devices.peak_of(spec, machine.precision) / 1e12
    yield f"peak {peak:,.10g} TFLOP/s dense in {machine.precision} of {spec.name}: {spec.source}"
    if spec.counted > 1:
        yield f"a device is one of the {spec.counted} that a batch system counts for one {spec.name}"
    low, likely, high = (ratio.quantiles[level] for level in (0.1, 0.5, 0.9))
    span = f"{likely:.3g}" if low == high else f"{low:.2g} to {high:.2g}, likely {likely:.3g}"
    yield f"utilization over the run {span}: {ratio.source}"
    if ratio.of_hardware and machine.precision not in ("bf16", "fp16"):
        yield f"those trainings computed in 16 bits; of the {machine.precision} peak a run may reach another part"
    if spec.note:
        yield f"{spec.name}: {spec.note}"
    yield from (f"{spec.name}, another source: {each}" for each in spec.conflicts)


def machine(spec: Spec, precision: str | None, mfu: float | None, ratio: float | None) -> Machine:
    """A device at a step MFU or a run utilization, or else at what published trainings reached."""
    if mfu is not None and ratio is not None:
        raise Rejected("utilization: stands beside an MFU; give one of them")
    chosen = devices.precision_of(spec, precision)
    if mfu is not None:
        return Machine(spec, chosen, utilization.of_mfu(mfu))
    return Machine(spec, chosen, utilization.of_device(spec) if ratio is None else utilization.given(ratio))


def _words(network: Network, data: Data, work: Work) -> Iterator[str]:
    per = "4" if data.adapters else "6"
    trained = f"{per} × {work.active - work.frozen:.4g}"
    frozen = f" + 2 × {work.frozen:.4g} frozen" if work.frozen else ""
    adapters = f" + 6 × {work.adapters:.4g} of adapters" if work.adapters else ""
    yield f"FLOP per token: {trained} active parameters{frozen}{adapters}, for {work.tokens:.4g} tokens"
    if network.parameters is not None and network.parameters != network.active:
        yield f"{network.parameters:.4g} parameters in all"
    yield _attention_words(network, data, work)
    if data.recomputation != "none":
        again = "all activations" if data.recomputation == "full" else "those of attention"
        yield f"recomputation of {again}: counted in time where no MFU is given, and not as FLOP of the model"
    yield from network.assumed


def _attention_words(network: Network, data: Data, work: Work) -> str:
    bare = replace(work, attention=0.0, recomputation="none")
    if data.sequence_length is not None:
        share = training(replace(work, recomputation="none")).model / training(bare).model - 1
        over = "over the whole sequence" if data.convention == "full" else "as a causal mask leaves it"
        return f"attention at {data.sequence_length:,.10g} tokens, 12·L·s·d {over}: {100 * share:.2g} % more"
    words = "attention is left out, as no sequence length is given"
    if network.longest is None or not network.layers:
        return words
    most = replace(bare, attention=attention(network.layers, network.longest, "full"))
    share = training(most).model / training(bare).model - 1
    return f"{words}; at {network.longest:,} tokens it would be {100 * share:.2g} % more"
