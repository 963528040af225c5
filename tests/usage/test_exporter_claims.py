"""Who held which device, by allocations alone: whole nodes or indices, else nobody knows."""

from __future__ import annotations

import math

import pytest

from gpuwatch.model import JobKey
from gpuwatch.usage.base import Allocated
from gpuwatch.usage.exporter_claims import STALE_SECONDS, Claim, Span, claims_of, heard_until
from gpuwatch.usage.exporter_names import Source

END = 1000.0
GW0 = [Source(f"GPU-{n}", "gw0", n, "H100", False) for n in range(4)]
GW1 = [Source(f"GPU-1{n}", "gw1", n, "H100", False) for n in range(4)]


def allocated(
    job_id="7", node="gw0", started=100.0, until=500.0, indices=None, devices=None, nodes=1, still=False
):
    return Allocated(job_id, node, started, until, indices, devices, nodes, still)


def held_in(claims):
    return {uid: [claim.job.job_id for claim in each] for uid, each in claims.held.items()}


def test_indices_say_which_devices():
    """As gres.conf numbers them."""
    claims = claims_of([allocated(indices=(1, 3), devices=2.0)], GW0, END)

    expected = Claim(JobKey("7", 100), 100.0, 500.0, 1.0, "whole")
    assert dict(claims.held) == {"GPU-1": [expected], "GPU-3": [expected]}
    assert dict(claims.unknown) == {}


def test_a_job_with_as_many_devices_as_its_nodes_have_holds_them_all():
    """Over all its nodes together, which is how batch systems count."""
    parts = [allocated(node=node, devices=8.0, nodes=2) for node in ("gw0", "gw1.site.example")]

    assert held_in(claims_of(parts, [*GW0, *GW1], END)) == {each.uid: ["7"] for each in (*GW0, *GW1)}


def test_a_lost_board_does_not_unmake_a_whole_node():
    """A job with four devices of a node has the three that are seen."""
    assert held_in(claims_of([allocated(devices=4.0)], GW0[:3], END)) == {each.uid: ["7"] for each in GW0[:3]}


@pytest.mark.parametrize(
    "part",
    [
        allocated(devices=2.0),
        allocated(devices=None),
        allocated(devices=8.0, nodes=2),
        allocated(indices=None, devices=3.0),
    ],
)
def test_what_cannot_be_known_is_not_guessed(part):
    """Two of four devices, an unknown number, or a node of which nothing is seen."""
    claims = claims_of([part], GW0, END)

    assert (held_in(claims), dict(claims.unknown)) == ({}, {each.uid: [Span(100.0, 500.0)] for each in GW0})


def test_a_job_without_devices_makes_nothing_unknown():
    """Most jobs of many clusters have none."""
    claims = claims_of([allocated(devices=0.0)], GW0, END)

    assert (held_in(claims), dict(claims.unknown)) == ({}, {})


def test_devices_of_a_divided_board_are_nobody_s_that_is_known():
    """Seven slices are not seven boards."""
    boards = [GW0[0]._replace(sliced=True), *GW0[1:]]
    claims = claims_of([allocated(indices=(0,), devices=1.0), allocated("8", devices=7.0)], boards, END)

    assert held_in(claims) == {}
    assert set(claims.unknown) == {each.uid for each in boards}


def test_indices_are_worth_nothing_where_boards_have_none():
    """An exporter that says no index leaves whole nodes only."""
    boards = [board._replace(number=None) for board in GW0]

    assert held_in(claims_of([allocated(indices=(0,), devices=1.0)], boards, END)) == {}
    assert len(held_in(claims_of([allocated(devices=4.0)], boards, END))) == 4


def test_less_than_a_device_is_a_share():
    """What a shard is worth, the site says to the batch system's side."""
    claims = claims_of([allocated(indices=(2,), devices=0.25)], GW0, END)

    assert claims.held["GPU-2"] == [Claim(JobKey("7", 100), 100.0, 500.0, 0.25, "shard")]


def test_a_job_that_runs_holds_on():
    """What was heard of it a minute ago is true now."""
    claims = claims_of([allocated(indices=(0,), until=END - 60, still=True)], GW0, END)

    assert claims.held["GPU-0"][0].until == math.inf
    assert claims.running == {JobKey("7", 100)}


def test_a_job_of_which_nothing_is_heard_any_more_may_be_over():
    """From then on nobody knows who holds its devices; its row stays open."""
    until = END - STALE_SECONDS - 1
    claims = claims_of([allocated(indices=(0,), until=until, still=True)], GW0, END)

    assert claims.held["GPU-0"] == [Claim(JobKey("7", 100), 100.0, until, 1.0, "whole")]
    assert claims.unknown["GPU-0"] == [Span(until, math.inf)]
    assert claims.running == {JobKey("7", 100)}


def test_an_ended_job_does_not_run():
    """Its row may be closed."""
    assert claims_of([allocated(indices=(0,))], GW0, END).running == set()


def test_the_batch_system_was_heard_when_it_last_spoke_of_what_runs():
    """Where nothing runs there is nothing to wait for."""
    assert heard_until([allocated(until=400.0), allocated(until=900.0, still=True)], END) == 900.0
    assert heard_until([allocated()], END) == END
