"""What nobody measured: named, never 0, and bounded by what boards may draw."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.ledger.charging import catch_up
from gpuwatch.ledger.store import Store
from gpuwatch.reports.document import document
from gpuwatch.reports.html import html
from gpuwatch.reports.markdown import markdown
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import row
from tests.ledger.test_charging import NOW, tariffs, tell
from tests.reports.made import made

KWH = 3.6e6
H100 = "NVIDIA H100 80GB HBM3"


def seen(
    joules: float | None, held: float = 2 * HOUR, unmeasured: float = 0.0, model: str = H100, **more: Any
) -> Any:
    """What an agent saw of job 7 on two devices."""
    energy = {} if joules is None else {"counter": joules}
    return row(
        "7", started=T0, last_seen=T0 + HOUR, model=model, held_seconds=held, open=False, energy_joules=energy,
        energy_unmeasured_seconds=unmeasured, state_seconds={"working": held - unmeasured, "unknown": unmeasured},
        throttled_seconds={}, **more,
    )  # fmt: skip


def test_unmeasured_time_took_something_between_nothing_and_the_boards_power(store: Store) -> None:
    """One of two device-hours was measured at 500 W: the other took up to 700 W."""
    tell(store, [record("7")], [seen(0.5 * KWH, unmeasured=HOUR)])
    catch_up(store, "default", tariffs(), NOW)

    found = made(store, NOW)

    energy, facility = found.total.device_energy, found.total.facility_energy
    assert (0.5 * KWH, pytest.approx(0.475 * KWH), pytest.approx((0.525 + 0.7) * KWH)) == energy[:3]
    assert [pytest.approx(1.25 * each) for each in energy[:3] if each] == list(facility[:3])
    assert [pytest.approx(each / KWH * 400) for each in facility[:3] if each] == list(found.total.carbon[:3])
    assert (0.5, HOUR) == (found.total.covered_ratio, found.unmeasured_seconds)
    assert "from 0 W to the board's power" in energy.why
    assert () == found.lint.findings


def test_time_that_no_agent_saw_is_unmeasured_too(store: Store) -> None:
    """Half of what was allocated was held, as far as anybody saw."""
    tell(store, [record("7")], [seen(0.5 * KWH, held=HOUR)])
    catch_up(store, "default", tariffs(), NOW)

    found = made(store, NOW)

    assert pytest.approx((0.525 + 0.7) * KWH) == found.total.device_energy.high
    assert ["agents were away, or did not see all devices"] == [gap.why for gap in found.gaps]
    assert (HOUR, HOUR) == (found.parts.working, found.parts.unknown)


def test_an_unknown_board_has_no_upper_bound(store: Store) -> None:
    """And that is said."""
    tell(store, [record("7")], [seen(0.5 * KWH, unmeasured=HOUR, model="Acme X1")])
    catch_up(store, "default", tariffs(), NOW)

    found = made(store, NOW)

    assert (pytest.approx(0.475 * KWH), None) == (found.total.device_energy.low, found.total.device_energy.high)
    assert "upper bound of energy of devices" in {each.what for each in found.unknown}
    assert "0.500 kWh (" not in markdown(found)
    assert "500 Wh (475 Wh or more)" in markdown(found)


def test_a_modelled_figure_is_less_certain(store: Store) -> None:
    """A model of power is off by more than a sensor."""
    tell(store, [record("7")], [seen(None) | {"energy_joules": {"modelled": KWH}}])
    catch_up(store, "default", tariffs(), NOW)

    energy = made(store, NOW).total.device_energy
    assert (pytest.approx(0.63 * KWH), pytest.approx(1.37 * KWH)) == (energy.low, energy.high)


def test_a_job_without_any_measurement_has_hours_and_no_energy(store: Store) -> None:
    """Nothing is 0 that nobody knows; every format says so."""
    tell(store, [record("7")])
    catch_up(store, "default", tariffs(), NOW)

    found = made(store, NOW)

    assert (2 * HOUR, None, None, None) == (
        found.total.device_seconds, found.total.device_energy.value, found.total.facility_energy.value,
        found.total.carbon.value,
    )  # fmt: skip
    assert {"EUR": 4.0} == {currency: each.value for currency, each in found.cost.items()}
    assert {"energy of devices", "facility energy", "CO2e", "model of some devices"} <= {
        each.what for each in found.unknown
    }
    told = document(found)
    assert (None, None, []) == (
        told["energy"]["device_joules"], told["carbon"]["location_based_grams"], told["boamps"]["measures"],
    )  # fmt: skip
    assert "ai_energyConsumption" not in told["spdx"]
    assert "- **energy of devices**: not known – no energy was measured" in markdown(found)
    assert "0 kWh" not in html(found)


def test_a_job_whose_devices_nobody_knows_is_a_lower_bound(store: Store) -> None:
    """Its hours are missing, and it is said whose."""
    tell(store, [record("7", devices=None)])
    catch_up(store, "default", tariffs(), NOW)

    found = made(store, NOW)

    assert 1 == found.unknown_devices
    assert "device-hours of 1 job" in {each.what for each in found.unknown}
    assert "at least: the devices of 1 job are not known" in markdown(found)


def test_a_job_that_was_not_charged_yet_has_its_hours_and_energy(store: Store) -> None:
    """Money and carbon come with the next pass of accounting."""
    tell(store, [running("7")], [seen(0.5 * KWH)])

    found = made(store, T0 + HOUR / 2)

    assert found.goes_on
    assert (HOUR, 0.5 * KWH) == (found.total.device_seconds, found.total.device_energy.value)
    assert {"cost", "facility energy", "CO2e"} <= {each.what for each in found.unknown}
    assert [HOUR] == [sum(day[1:]) for day in found.days]


def test_an_empty_ledger_has_no_statement(store: Store) -> None:
    """Of nothing nothing can be stated."""
    for kind in ("job", "campaign", "account"):
        with pytest.raises(Unavailable, match="not in the ledger"):
            made(store, NOW, kind, "nothing")


def test_a_time_in_which_nothing_ran_is_a_statement(store: Store) -> None:
    """It says so, and has no figures."""
    tell(store, [record("7")])

    found = made(store, NOW, "account", "ml", begins=T0 + 5 * HOUR, ends=T0 + 6 * HOUR)

    assert found.empty
    for text in (markdown(found), html(found)):
        assert "Nothing ran in that time" in text
        assert "device-hours of" not in text
    assert 0 == document(found)["total"]["device_seconds"]
