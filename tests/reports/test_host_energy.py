"""Energy of hosts in a statement: beside that of devices, in the facility's alone, and held to the identities."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpuwatch.ledger.charging import catch_up
from gpuwatch.ledger.store import Store
from gpuwatch.reports.document import document
from gpuwatch.reports.lint_own import own_claims
from gpuwatch.reports.markdown import markdown
from gpuwatch.reports.statement import Statement
from tests.ledger.batch import HOUR, T0, record
from tests.ledger.deliveries import row
from tests.ledger.test_charging import NOW, tariffs, tell
from tests.reports.made import made


def stated(store: Store, **host: float) -> Statement:
    """Of a job with 1 kWh of devices in an hour, at a PUE of 1.25."""
    its = row(
        "7", started=T0, last_seen=T0 + HOUR, held_seconds=7200.0, energy_joules={"counter": 3.6e6}, open=False,
        state_seconds={"working": 7200.0}, **host,
    )  # fmt: skip
    tell(store, [record("7")], [its])
    catch_up(store, "default", tariffs(), NOW)
    return made(store, NOW)


def told(statement: Statement) -> Any:
    """The statement as JSON says it."""
    return json.loads(json.dumps(document(statement)))


def test_hosts_stand_beside_devices_and_in_the_facility_alone(store: Store) -> None:
    """A fifth more by the host; the devices' figure and its bounds are as without."""
    statement = stated(store, host_energy_joules=7.2e5, host_energy_measured_seconds=2700.0)
    energy = told(statement)["energy"]

    assert (3.6e6, 7.2e5) == (energy["device_joules"]["value"], energy["host_joules"])
    assert energy["facility_joules"]["value"] == pytest.approx(5.4e6)
    (line,) = [each for each in markdown(statement).splitlines() if "**energy of hosts**" in each]
    assert "200 Wh – processors and memory" in line
    assert "known for 75 % of the time on nodes" in line
    assert "(energy of devices + energy of hosts) × PUE" in markdown(statement)
    assert "energy of hosts" not in {each.what for each in statement.unknown}


def test_its_own_linter_adds_them(store: Store) -> None:
    """Facility energy is (devices + hosts) × PUE, also where the statement is read back from its JSON."""
    statement = stated(store, host_energy_joules=7.2e5, host_energy_measured_seconds=3600.0)

    verdicts = {each.identity: each.verdict for each in statement.lint.checks if each.row == "total"}
    assert verdicts["facility energy = energy × PUE"] == "holds"
    (total, *_) = own_claims(told(statement))
    assert total.host_joules is not None
    assert 7.2e5 == total.host_joules.value


def test_hosts_that_nobody_metered_are_not_known(store: Store) -> None:
    """And not 0."""
    statement = stated(store)

    assert told(statement)["energy"]["host_joules"] is None
    assert "energy of hosts" in {each.what for each in statement.unknown}


def test_digest_has_the_hosts_where_they_are_known(store: Store) -> None:
    """Other joules, another digest; without hosts it is that of releases before, as in the golden statement."""
    without = stated(store).digest
    tell(store, rows=[row("7", started=T0, last_seen=T0 + HOUR, held_seconds=7200.0, host_energy_joules=1.0)])
    catch_up(store, "default", tariffs(), NOW)

    assert without != made(store, NOW).digest
