"""A crowd of silent and slow clients at the real agent: what the honest scraper and the node notice."""

from __future__ import annotations

import pytest

from tests.benchmarks import attack

pytestmark = pytest.mark.integration

MIB = 2**20


def test_fault_33_600_clients_that_do_not_finish_keep_nobody_out_and_are_gone_in_15_seconds() -> None:
    """300 silent, 300 with half a request, all over TLS; `make bench` has the figures of a quiet machine."""
    found = attack.measure()

    assert 0 == found["attack_left"]
    assert 15.0 >= found["attack_cut_within_seconds"]
    assert 96 * MIB >= found["attack_rss_peak_bytes"]
    assert 0 == found["attack_scrapes_failed"]
    assert 50 <= found["attack_scrapes"]
    # 0.1 s where nothing else runs; here as much as still is no outage for a scraper.
    assert 2.0 >= max(found["attack_scrape_kept_seconds_p99"], found["attack_scrape_new_seconds_p99"])
