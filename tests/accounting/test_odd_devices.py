"""Which devices of a job are unlike the others."""

from __future__ import annotations

from typing import Any

from gpuwatch.accounting.odd_devices import odd_devices
from tests.ledger import made
from tests.ledger.batch import T0


def device(number: int, clock: float = 1.98e9, working: float = 1000.0, watts: float = 640.0, **more: Any) -> Any:
    states = {"working": working, "idle": 1000.0 - working}
    usage = made.used(states, clock_cycles=clock * working, clock_seconds=working,
                      energy_joules={"counter": watts * 1000.0}, **more)  # fmt: skip
    return made.line(usage, f"GPU-{number}", node=f"gw{number // 4}")


def found(*lines: Any) -> list[str]:
    return [each.text for each in odd_devices(made.job(made.run(lines)))]


def test_the_slow_one_is_named_with_what_it_differs_in() -> None:
    """Clock, power and heat, the farthest first."""
    hot = device(7, clock=1.2e9, watts=310.0, throttled_seconds={"hw_thermal": 710.0})
    others = [device(number, throttled_seconds={"hw_thermal": 0.0}) for number in range(7)]

    assert [
        "GPU-7 on gw1: has its clocks held down 71 % of the time, its 7 others 0 %; runs at 1.20 GHz, its 7 others"
        " at 1.98 GHz, and draws 310 W beside 640 W"
    ] == found(*others, hot)


def test_what_works_less_is_odd_even_of_two() -> None:
    """The one that works less."""
    assert ["GPU-1 on gw0: works 10 % of the time, its other 100 %"] == found(device(0), device(1, working=100.0))


def test_errors_of_one_alone_are_told() -> None:
    """What all have says nothing of one."""
    bad = device(3, errors={"xid": 2.0})

    assert ["GPU-3 on gw0: had 2 driver errors (XID), its 3 others none"] == found(
        *(device(number, errors={"xid": 0.0}) for number in range(3)), bad
    )


def test_equal_devices_halves_and_models_of_their_own_are_not_odd() -> None:
    """Half of them unlike the other half are two kinds of work."""
    assert [] == found(*(device(number, clock=1.98e9 + number * 1e6) for number in range(8)))
    assert [] == found(*(device(number, working=100.0 if number % 2 else 1000.0) for number in range(8)))
    assert [] == found(device(0), made.line(made.used({"idle": 1000.0}), "GPU-1", model="A100"))
    assert [] == found(device(0))


def test_a_device_that_could_not_be_read_is_not_compared() -> None:
    """Nor are others with it: nobody knows what it does."""
    blind = made.line(made.used({"unknown": 1000.0}), "GPU-9")

    assert [] == found(device(0), device(1), blind)


def test_without_rows_by_node_devices_are_compared_all_the_same() -> None:
    """As the API tells of them."""
    lines = [device(0), device(1), device(2), device(3, working=100.0)]
    whole = made.job(made.run(lines))
    told = made.job(made.run(), by_device={each.uuid: each.usage for each in lines}, started=T0)

    assert ["GPU-3: works 10 % of the time, its 3 others 100 %"] == [each.text for each in odd_devices(told)]
    assert ["GPU-3 on gw0: works 10 % of the time, its 3 others 100 %"] == [
        each.text for each in odd_devices(whole)
    ]
