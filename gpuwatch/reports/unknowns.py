"""What a compute statement should say and cannot: each with the reason, and what would tell it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch.reports.statement import Statement, Unknown


def unknowns_of(made: Statement) -> Iterator[Unknown]:
    """Everything that is not known, in the order of the statement."""
    yield from _said_by_people(made)
    if made.empty:
        return
    yield from _measured(made)
    if made.host_joules is None:
        yield Unknown("energy of hosts", "CPUs, memory, network and storage are in no energy figure here")
    else:
        yield Unknown("energy of network and storage", "of the hosts, processors and memory alone are metered")
    yield from _never()


def _said_by_people(made: Statement) -> Iterator[Unknown]:
    if not made.purpose:
        yield Unknown("purpose", "no tag `purpose` says it, or several do; --purpose says it")
    if not made.author:
        yield Unknown("author", "the jobs are of several people, or of nobody that is known; --author says it")
    if not made.asked.licence:
        yield Unknown("licence", "--licence says it")
    if not made.declared:
        yield Unknown("declared estimate", "nobody declared one")
    if made.waiting:
        jobs = "1 job" if made.waiting == 1 else f"{made.waiting:,} jobs"
        yield Unknown(f"figures of {jobs}", "their owners have not agreed that they belong to it")


def _measured(made: Statement) -> Iterator[Unknown]:
    if made.unknown_devices:
        jobs = "1 job" if made.unknown_devices == 1 else f"{made.unknown_devices:,} jobs"
        yield Unknown(f"device-hours of {jobs}", "the batch system does not say how many devices they had")
    if any(not model.name for model in made.models):
        yield Unknown("model of some devices", "no agent saw them")
    if made.computed.flop is None:
        yield Unknown("FLOP and utilization", made.computed.why)
    elif made.computed.utilization is None:
        yield Unknown("utilization", made.computed.why)
    if not made.computed.precision:
        yield Unknown("precision", "no tag `precision`, or several")
    total = made.total
    for name, figure in (
        ("energy of devices", total.device_energy),
        ("facility energy", total.facility_energy),
        ("CO2e", total.carbon),
    ):
        if figure.value is None:
            yield Unknown(name, figure.why)
        elif figure.high is None:
            yield Unknown(f"upper bound of {name}", "the board's power of unmeasured devices is not known")
    if not made.cost:
        yield Unknown("cost", "no price is in force, or nothing was charged yet; accounting.rates_file says it")


def _never() -> Iterator[Unknown]:
    yield Unknown("enforced power limit", "the ledger does not keep it; board power is the maker's")
    yield Unknown(
        "uncertainty of PUE and grid intensity", "their sources state none; bounds are those of energy alone"
    )
    yield Unknown("CO2e, market-based", "contracts and certificates are not in the ledger; this is location-based")
    yield Unknown("CO2e, embodied", "making the hardware is not in the ledger")
    yield Unknown("water", "no water usage effectiveness is configured")
