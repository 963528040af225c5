"""`gpuwatch estimate flops`: device-hours, energy, money and carbon from what is to be computed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import tzinfo
from enum import StrEnum
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from gpuwatch.cli.options import ConfigOption

if TYPE_CHECKING:
    from gpuwatch.cli.estimate_words import Row
    from gpuwatch.estimates.needs import Needs
    from gpuwatch.estimates.training import Counted, Machine, Network
    from gpuwatch.ledger.rates import Rates

_NETWORK, _MACHINE = "What is trained", "On what"
_COUNT = re.compile(r"(\d{1,40}(?:\.\d{1,40})?(?:[eE]\+?\d{1,2})?)([kKMBGT]?)", re.ASCII)
_SUFFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}


class Attention(StrEnum):
    """Over what attention is counted."""

    FULL = "full"
    CAUSAL = "causal"


class Recomputation(StrEnum):
    """What is computed again for the backward pass."""

    NONE = "none"
    SELECTIVE = "selective"
    FULL = "full"


def _option(name: str, metavar: str | None, text: str, panel: str, **more: Any) -> Any:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=panel, **more)


Device = Annotated[str, _option("--device", "NAME", "One device, as 'A100 SXM4 80GB' or 'H100 SXM'.", _MACHINE)]
Params = Annotated[str | None, _option("--params", "N", "Parameters, as 7B or 1.75e11.", _NETWORK)]
Active = Annotated[
    str | None, _option("--active", "N", "Parameters for each token, where there are experts.", _NETWORK)
]
Model = Annotated[
    Path | None, _option("--model", "PATH", "Or a config.json (or its folder), to count them from.", _NETWORK)
]
Tokens = Annotated[
    str | None, _option("--tokens", "D", "Tokens to train on, as 300B; once for each epoch.", _NETWORK)
]
FlopOption = Annotated[
    str | None, _option("--flop", "C", "Or the FLOP of the whole training, of any network.", _NETWORK)
]
Length = Annotated[
    str | None, _option("--sequence-length", "S", "Tokens of a sequence, so that attention counts.", _NETWORK)
]
Layers = Annotated[str | None, _option("--layers", "L", "For attention, without --model.", _NETWORK)]
Width = Annotated[
    str | None, _option("--width", "D", "For attention, without --model: heads × dimension.", _NETWORK)
]
AttentionOption = Annotated[
    Attention, _option("--attention", None, "Over the whole sequence, or what a causal mask leaves.", _NETWORK)
]
Frozen = Annotated[
    str | None, _option("--frozen", "N", "Parameters below all that learns: forward only.", _NETWORK)
]
Lora = Annotated[str | None, _option("--lora", "N", "Parameters of adapters; no others learn.", _NETWORK)]
RecomputationOption = Annotated[
    Recomputation, _option("--recomputation", None, "Activations: none, attention's alone, or all.", _NETWORK)
]
Precision = Annotated[
    str | None, _option("--precision", "NAME", "bf16, fp16, tf32, fp32, fp8 (default: bf16).", _MACHINE)
]
Mfu = Annotated[
    float | None, _option("--mfu", "RATIO", "What steps reach, as 0.45; the run reaches less.", _MACHINE)
]
Utilization = Annotated[
    float | None, _option("--utilization", "RATIO", "What the whole run reaches, if you know.", _MACHINE)
]
Devices = Annotated[
    int | None, _option("--devices", "N", "So many at once; says the time, too.", _MACHINE, min=1, max=10**7)
]
Watts = Annotated[float | None, _option("--watts", "W", "Mean power of one device, if you know.", _MACHINE)]
Partition = Annotated[str, _option("--partition", "NAME", "The partition whose price counts.", _MACHINE)]
RatesFile = Annotated[
    Path | None, _option("--rates", "FILE", "Rates, instead of accounting.rates_file.", _MACHINE)
]
SpecsFile = Annotated[
    Path | None, _option("--specs", "FILE", "Your own rows of devices (docs/estimating.md).", _MACHINE)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class _Typed(NamedTuple):
    """What says how much is to be computed, as typed."""

    params: str | None = None
    active: str | None = None
    model: Path | None = None
    tokens: str | None = None
    flop: str | None = None
    sequence_length: str | None = None
    layers: str | None = None
    width: str | None = None
    attention: Attention = Attention.FULL
    frozen: str | None = None
    lora: str | None = None
    recomputation: Recomputation = Recomputation.NONE


class _Estimate(NamedTuple):
    counted: Counted
    network: Network | None
    machine: Machine
    needs: Needs
    devices: int | None
    assumptions: list[str]


def flops(
    device: Device,
    params: Params = None,
    active: Active = None,
    model: Model = None,
    tokens: Tokens = None,
    flop: FlopOption = None,
    sequence_length: Length = None,
    layers: Layers = None,
    width: Width = None,
    attention: AttentionOption = Attention.FULL,
    frozen: Frozen = None,
    lora: Lora = None,
    recomputation: RecomputationOption = Recomputation.NONE,
    precision: Precision = None,
    mfu: Mfu = None,
    utilization: Utilization = None,
    devices: Devices = None,
    watts: Watts = None,
    partition: Partition = "",
    rates: RatesFile = None,
    specs: SpecsFile = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate a training from its FLOP: 6 × parameters × tokens, by what such runs reach of a device's peak."""
    typed = _Typed(
        params, active, model, tokens, flop, sequence_length, layers, width, attention, frozen, lora, recomputation
    )
    counted, network = _counted(typed)
    machine = _machine(device, specs, precision, mfu, utilization)
    in_force, zone = _rates(rates, config_file)
    found = _estimate(counted, network, machine, (in_force, zone), (device, partition), watts, devices)
    print(json.dumps(_document(found), separators=(",", ":"), allow_nan=False) if as_json else _text(found))


def _counted(typed: _Typed) -> tuple[Counted, Network | None]:
    from gpuwatch.estimates import training

    if typed.flop is not None:
        usual = _Typed(flop=typed.flop)._asdict()
        for name, value in typed._asdict().items():
            if value != usual[name]:
                _wrong("--flop", f"stands beside --{name.replace('_', '-')}; it is the whole training's")
        return training.given(_count(typed.flop, "--flop")), None
    if typed.tokens is None:
        _wrong("--tokens", "is missing; how many are trained on, as 300B (or give --flop)")
    network = _network(typed)
    data = training.Data(
        _count(typed.tokens, "--tokens"),
        _optional(typed.sequence_length, "--sequence-length"),
        typed.attention.value,
        _optional(typed.frozen, "--frozen") or 0.0,
        _optional(typed.lora, "--lora") or 0.0,
        typed.recomputation.value,
    )
    return training.count(network, data), network


def _network(typed: _Typed) -> Network:
    from gpuwatch.estimates import architecture, training
    from gpuwatch.estimates.flops import AttentionLayers

    if typed.model is not None:
        for name in ("params", "active", "layers", "width"):
            if getattr(typed, name) is not None:
                _wrong(f"--{name}", "stands beside --model, which says it")
        path = typed.model / "config.json" if typed.model.is_dir() else typed.model
        return training.network_of(architecture.read(path))
    if typed.params is None:
        _wrong("--params", "is missing; as 7B, or --model with a config.json, or --flop")
    if (typed.layers is None) != (typed.width is None):
        _wrong("--layers", "stands with --width, and both with --sequence-length")
    parameters = _count(typed.params, "--params")
    active = _optional(typed.active, "--active") or parameters
    if active > parameters:
        _wrong("--active", f"{typed.active} is more than the {typed.params} that there are")
    layers: tuple[AttentionLayers, ...] = ()
    if typed.layers is not None and typed.width is not None:
        layers = (AttentionLayers(int(_count(typed.layers, "--layers")), _count(typed.width, "--width")),)
    return training.Network(parameters, active, layers)


def _count(text: str, option: str) -> float:
    """A number as people write it, 7B or 1.75e11; a usage error where it is none, or 0."""
    found = _COUNT.fullmatch(text.strip())
    if found is None or not float(found[1]) > 0:
        _wrong(option, f"{text[:40]!r} is no number more than 0; write 7B, 350M, 1.4T or 1.75e11")
    return float(found[1]) * _SUFFIXES[found[2]]


def _optional(text: str | None, option: str) -> float | None:
    return None if text is None else _count(text, option)


def _wrong(option: str, text: str) -> NoReturn:
    raise typer.BadParameter(text, param_hint=option)


def _machine(
    device: str, file: Path | None, precision: str | None, mfu: float | None, ratio: float | None
) -> Machine:
    from gpuwatch import specs
    from gpuwatch.estimates import devices, training

    own = () if file is None else (file,)
    return training.machine(devices.find(specs.load(*own, *specs.site_files()), device), precision, mfu, ratio)


def _rates(file: Path | None, config_file: Path | None) -> tuple[Rates, tzinfo]:
    from gpuwatch import config
    from gpuwatch.ledger.rate_file import load_rates

    accounting = config.load(config_file).accounting
    return load_rates(file or accounting.rates_file, accounting.zone), accounting.zone


def _estimate(
    counted: Counted,
    network: Network | None,
    machine: Machine,
    rates: tuple[Rates, tzinfo],
    price_of: tuple[str, str],
    watts: float | None,
    count: int | None,
) -> _Estimate:
    from gpuwatch.estimates import needs, training

    seconds = needs.device_seconds(counted.flop, machine.spec, machine.precision, machine.utilization)
    power = needs.power_of(machine.spec, watts)
    now, (device, partition) = time.time(), price_of
    # A price may name the model as its driver does, or as the specs do.
    model = f"{device} {machine.spec.name}"
    found = needs.needs(seconds, power, rates[0], model, partition, now, count)
    words = [training.LOWER_BOUND, *counted.words, *training.assumptions(machine)]
    words += needs.assumptions(machine.spec, watts, rates, model, partition, now)
    return _Estimate(counted, network, machine, found, count, words)


def _document(found: _Estimate) -> dict[str, Any]:
    from gpuwatch.cli.estimate_words import declared, document
    from gpuwatch.estimates.devices import peak_of

    flop, needs, network, machine = found.counted.flop, found.needs, found.network, found.machine
    return {
        "device_hours": document(needs.device_seconds, 3600.0),
        "energy_joules": document(needs.energy_joules),
        "facility_joules": document(needs.facility_joules),
        "cost": document(needs.cost),
        "currency": needs.currency or None,
        "carbon_grams": document(needs.carbon_grams),
        "wall_seconds": document(needs.wall_seconds),
        "devices": found.devices,
        "watts": document(needs.watts),
        "flop": flop.model,
        "hardware_flop": flop.hardware,
        "flop_is": "lower bound",
        "petaflop_s_days": flop.petaflop_s_days,
        "parameters": None if network is None else network.parameters,
        "active_parameters": None if network is None else network.active,
        "device": machine.spec.name,
        "precision": machine.precision,
        "peak_flops": peak_of(machine.spec, machine.precision),
        "utilization": document(machine.utilization.quantiles),
        "declaration": declared(list(_rows(found)), "flops"),
        "assumptions": found.assumptions,
    }


def _text(found: _Estimate) -> str:
    from gpuwatch.cli.estimate_words import declared, lines_to_paste, table

    flop, rows = found.counted.flop, list(_rows(found))
    lines = [f"at least {flop.model:.3g} FLOP = {flop.petaflop_s_days:,.3g} petaflop/s-days", ""]
    lines += [*table(rows), "", "in 8 of 10 cases between the outer two, if all of this is so:"]
    for each in found.assumptions:
        lines += wrap(each, 100, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([*lines, "", "to declare it:", *lines_to_paste(declared(rows, "flops"))])


def _rows(found: _Estimate) -> Iterator[Row]:
    from gpuwatch.cli.estimate_words import Row

    needs = found.needs
    for title, quantity, amounts in (
        ("", "device-hours", needs.device_seconds),
        ("energy", "energy", needs.energy_joules),
        ("facility energy", "facility-energy", needs.facility_joules),
        ("cost", "cost", needs.cost),
        ("carbon", "carbon", needs.carbon_grams),
        ("wall time", "wall", needs.wall_seconds),
    ):
        if amounts is not None:
            yield Row(title, quantity, amounts, needs.currency if quantity == "cost" else "")
