"""Two clusters' ledgers come together by mistake, or on purpose: neither's figures become the other's."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from gpuwatch import config
from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.daemon import AccountingDaemon
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.errors import ConfigurationError
from gpuwatch.ledger import clusters, tables
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.restating import restate
from gpuwatch.ledger.store import Store, open_store
from tests.accounting.fakes import FakeSource
from tests.faults.ledgers import CHEAPER, check_days, priced, rows, totals
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import delivery, row

NOW = T0 + 3 * HOUR
FIGURES = (tables.charges, tables.daily, tables.history)


@pytest.mark.parametrize("begin", [True, False], ids=["accounting", "reading"])
def test_a_file_that_was_moved_to_another_cluster_is_refused(tmp_path: Path, begin: bool) -> None:
    """By accounting, with both names; nothing of it is changed by that."""
    path = tmp_path / "ledger.db"
    with closing(open_store(str(path))) as store, store.writing() as connection:
        clusters.claim(connection, "hydra", 1.0, store.where)
        post_records(connection, [record(cluster="hydra")])
    settings = config.load(
        None, {"accounting.ledger": f"sqlite:///{path}", "site.cluster": "medusa" if begin else "hydra"}
    )
    daemon = AccountingDaemon(settings)
    try:
        if begin:
            with pytest.raises(ConfigurationError, match="is that of cluster 'hydra', not of 'medusa'"):
                daemon.start()
        else:
            daemon.start()
    finally:
        daemon.stop()

    with closing(open_store(str(path))) as store, store.reading() as connection:
        assert ("hydra",) == clusters.known(connection)


def test_agents_of_another_cluster_are_refused_for_ever(store: Store) -> None:
    """Whatever they tell and however often: nothing of it is posted, charged or acknowledged."""
    own, other = delivery([row("run-1")]), delivery([row("run-2")], cluster="medusa", origin="http://other")
    source = FakeSource([other, own, other])
    accountant = Accountant(store, {"fake": source}, {}, Bounds(0.1, 0.0))

    reports = [accountant.run_pass(NOW + 60.0 * number) for number in range(3)]

    assert [("partial", 1)] * 3 == [(report.outcome, report.collected.failed) for report in reports]
    assert [] == rows(store, tables.usage, "medusa") == rows(store, tables.charges, "medusa")
    assert [own.seq] * 3 == source.acknowledged


def test_job_ids_that_are_the_same_are_charged_by_their_own_clusters(store: Store) -> None:
    """Each with its own rates, in the ledger that both have; also where one restates."""
    for cluster in ("hydra", "medusa"):
        with store.writing() as connection:
            post_records(connection, [record("7", cluster=cluster), running("8", cluster=cluster)])
    catch_up(store, "hydra", Tariffs(priced()), NOW)
    untouched = [rows(store, table, "medusa") for table in FIGURES]
    catch_up(store, "medusa", Tariffs(priced(CHEAPER)), NOW)
    before = [rows(store, table, "hydra") for table in FIGURES]
    with store.writing() as connection:
        post_records(connection, [record("8", cluster="medusa"), record("7", cluster="medusa", seen=NOW)])
    catch_up(store, "medusa", Tariffs(priced(CHEAPER)), NOW)
    with store.writing() as connection:
        assert 0 == restate(connection, "medusa", (0, 40_000), Tariffs(priced(CHEAPER)), "", "", NOW).rows

    assert [[], [], []] == untouched
    assert before == [rows(store, table, "hydra") for table in FIGURES]
    assert [4.0, 2.0] == sorted(each["cost"].expected for each in totals(store, "hydra").values())[::-1]
    assert [2.0, 2.0] == [each["cost"].expected for each in totals(store, "medusa").values()]
    for cluster in ("hydra", "medusa"):
        check_days(store, cluster)
