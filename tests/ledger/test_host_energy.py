"""Energy of the nodes themselves in the ledger: told, summed, charged, restated, and how much of it is known."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from gpuwatch.accounting.views import JobView, views_named
from gpuwatch.cli.job_views import detail_lines
from gpuwatch.ledger import restating, schema, tables
from gpuwatch.ledger.charging import catch_up, costs_of
from gpuwatch.ledger.queries import jobs_of
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.model import GroupUse
from gpuwatch.web.api_documents import job_document
from tests.agent.fakes import FakeNode
from tests.ledger.batch import HOUR, T0, record
from tests.ledger.deliveries import row
from tests.ledger.fixtures import ON_POSTGRES
from tests.ledger.postgres import Postgres
from tests.ledger.test_charging import NOW, PLACE, PRICE, charges, sums_hold, tariffs, tell

NEW = (
    ("usage", "host_energy_joules"), ("usage", "host_energy_measured_seconds"), ("charges", "host_joules"),
    ("daily", "host_joules"), ("usage", "link_bytes_xgmi_receive"), ("usage", "link_bytes_xgmi_transmit"),
)  # fmt: skip


def on(
    device: int, host: float | None = None, seconds: float | None = None, **changed: object
) -> dict[str, object]:
    """An hour of job 7 on a device: half a kWh of it; `host` and `seconds` on the row that has them."""
    return row(
        "7", uuid=f"GPU-{device}", **{
            "started": T0, "last_seen": T0 + HOUR, "held_seconds": 3600.0, "energy_joules": {"counter": 1.8e6},
            "open": False, "host_energy_joules": host, "host_energy_measured_seconds": seconds, **changed,
        },
    )  # fmt: skip


def seen(store: Store) -> JobView:
    """The job as people see it."""
    with store.reading() as connection:
        (view,) = views_named(connection, "7", NOW)
    return view


def test_facility_energy_has_the_host_and_energy_has_not(store: Store) -> None:
    """(1 kWh of devices + 0.2 kWh of the host) × 1.25; carbon by that; device energy is as without."""
    tell(store, [record("7")], [on(0, 7.2e5, 3600.0), on(1)])

    catch_up(store, "default", tariffs(), NOW)

    (found,) = charges(store)
    assert (3.6e6, 7.2e5) == (found.energy_joules, found.host_joules)
    assert (5.4e6, 600.0) == (found.facility_joules, found.carbon_grams)
    assert sums_hold(store)
    assert seen(store).job.usage.joules == 3.6e6


def test_host_that_is_not_known_changes_nothing(store: Store) -> None:
    """Unknown is absent: facility energy is that of the devices."""
    tell(store, [record("7")], [on(0), on(1)])

    catch_up(store, "default", tariffs(), NOW)

    (found,) = charges(store)
    assert (None, 4.5e6) == (found.host_joules, found.facility_joules)


def test_host_without_energy_of_devices_is_no_facility_energy(store: Store) -> None:
    """A part alone would pass for the whole."""
    tell(store, [record("7")], [on(0, 7.2e5, 3600.0, energy_joules={})])

    catch_up(store, "default", tariffs(), NOW)

    (found,) = charges(store)
    assert (7.2e5, None, None) == (found.host_joules, found.facility_joules, found.carbon_grams)


def test_the_greatest_counts_in_an_epoch_and_epochs_and_nodes_add_up(store: Store) -> None:
    """As of every counter: duplicates and late deliveries change nothing."""
    for host in (3.0, 5.0, 4.0, 5.0):
        tell(store, [record("7", nodes=("gw0", "gw1"))], [on(0, host, host), on(1)])
    tell(store, rows=[on(0, 7.0, 7.0)], epoch="ffffffffffff")
    tell(store, rows=[on(2, 11.0, 11.0)], node="gw1")

    usage = seen(store).job.usage
    assert (23.0, 23.0) == (usage.host_energy_joules, usage.host_energy_measured_seconds)


def test_how_much_is_known_is_of_the_time_on_nodes(store: Store) -> None:
    """An hour on each of two nodes, one of which has no meter: two devices on a node are one node."""
    tell(store, [record("7", nodes=("gw0", "gw1"))], [on(0, 7.2e5, 3240.0), on(1)])
    tell(store, rows=[on(2), on(3)], node="gw1")

    quality = seen(store).quality
    assert (7200.0, 3240.0, 0.45) == (quality.node_seconds, quality.host_seconds, quality.host_coverage)


def test_restating_keeps_the_host(store: Store) -> None:
    """Joules are facts: another PUE multiplies them as well."""
    tell(store, [record("7")], [on(0, 7.2e5, 3600.0), on(1)])
    catch_up(store, "default", tariffs(), NOW)
    with store.writing() as connection:
        restating.restate(
            connection, "default", (0, 100_000), tariffs(PRICE + PLACE.replace("1.25", "1.5")), "ada", "meter", NOW
        )
        cost = costs_of(connection, [("default", "7")])["default", "7"]

    assert 6.48e6 == pytest.approx(cost.facility_joules)
    assert {7.2e5} == {each.host_joules for each in charges(store)}
    assert sums_hold(store)


def test_it_is_shown_beside_the_devices(store: Store) -> None:
    """In the text of `gpuwatch show` and in the document of the API; absent where it is not known."""
    tell(store, [record("7")], [on(0, 7.2e5, 1800.0), on(1)])
    view = seen(store)
    unknown = replace(view, job=replace(view.job, usage=replace(view.job.usage, host_energy_joules=None)))

    lines = [line.strip() for line in detail_lines(view, (), (), NOW) if line.strip().startswith("host")]
    assert lines == [
        "host       200 Wh of processors and memory, by its CPU time and memory, "
        "known for 50 % of its time on the nodes"
    ]
    assert not [line for line in detail_lines(unknown, (), (), NOW) if line.strip().startswith("host")]
    assert (7.2e5, 1800.0) == tuple(
        job_document(view)[name] for name in ("host_energy_joules", "host_energy_measured_seconds")
    )


def test_what_an_agent_meters_is_charged(store: Store, tmp_path: Path) -> None:
    """From ticks of an agent over its usage API into facility energy, and into no energy of devices."""
    node = FakeNode(tmp_path / "state")
    node.host.joules = lambda: {"package-0": 200.0 * (node.clock.now - 1.0)}
    node.jobs.holders = {"fake:0": "7", "fake:1": "7"}
    for _ in range(61):
        node.jobs.uses = {"7": GroupUse(5.0 * node.clock.now, None)}
        snapshot = node.tick()
    node.jobs.holders = {}
    node.tick(5)
    told = node.agent.since(0)
    node.stop()
    divided = snapshot.host.energy_divided_joules["jobs"]
    tell(store, rows=told["rows"], events=told["events"], epoch=told["epoch"], now=told["now"], seq=told["seq"])

    catch_up(store, "default", tariffs(), told["now"])

    (found,) = charges(store)
    with store.reading() as connection:
        (job,) = jobs_of(connection, ["7"], told["now"])
    assert divided > 5_000.0
    assert found.host_joules == pytest.approx(divided)
    assert found.energy_joules == pytest.approx(job.usage.joules)
    assert found.facility_joules == pytest.approx((job.usage.joules + divided) * 1.25)


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=ON_POSTGRES)])
def test_ledger_of_schema_7_is_brought_up_to_date(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    """Its figures stay as they were, of the host nothing is known, and what comes next has its place."""
    if database == "sqlite":
        url = str(tmp_path / "ledger.db")
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.make_database()
    with closing(open_store(url)) as store:
        tell(store, [record("7")], [on(0), on(1)])
        catch_up(store, "default", tariffs(), NOW)
        before = charges(store)
        with store.writing() as connection:
            for table, column in NEW:
                connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
            connection.execute(tables.schema_version.update().values(version=7))
            connection.execute(schema.alembic_version.update().values(version_num="0007"))

    with closing(open_store(url)) as store:
        with store.reading() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            differences = compare_metadata(context, tables.metadata)
            version = connection.scalar(select(tables.schema_version.c.version))
        after = charges(store)
        tell(store, rows=[on(0, 7.2e5, 3600.0)])
        catch_up(store, "default", tariffs(), NOW)

        assert ([], tables.SCHEMA_VERSION, before) == (differences, version, after)
        assert [7.2e5] == [each.host_joules for each in charges(store)]


def test_an_agent_of_before_tells_of_no_host(store: Store) -> None:
    """Its rows lack the keys."""
    tell(store, rows=[{name: value for name, value in on(0).items() if not name.startswith("host_")}])

    with store.reading() as connection:
        (job,) = jobs_of(connection, ["7"], NOW)
    assert (3600.0, None) == (job.usage.held_seconds, job.usage.host_energy_joules)
