"""Who makes room for whom."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.web.connections import FAIR_SHARE, Door, Place, network_of, to_evict
from gpuwatch.web.counters import Counters
from gpuwatch.web.limits import Limits

LIMITS = Limits()
A, B = "192.0.2.1", "192.0.2.2"


def places(*networks: str, **more: Any) -> list[Place]:
    """Connections that came one after the other."""
    return [Place(network, float(since), **more) for since, network in enumerate(networks)]


def test_one_host_does_not_crowd_out_another() -> None:
    """However long the other one waits."""
    found = places(B, *[A] * (LIMITS.connections - 1))

    assert found[1] is to_evict(found)


def test_of_one_host_the_one_that_waited_longest_goes() -> None:
    """63 must come before a newcomer's turn."""
    found = places(*[A] * LIMITS.connections)

    assert found[0] is to_evict(found)


def test_a_kept_alive_scraper_stays_while_there_are_strangers() -> None:
    """One that was answered is worth more than one that never asked."""
    found = [*places(*[A] * 3, served=True), *places(*[A] * 61)]

    assert found[3] is to_evict(found)


def test_small_shares_are_equal() -> None:
    """Two scrapers on one host are not worse than a crowd of hosts with one connection each."""
    found = [*places(A, A, served=True), *places(*(f"198.51.100.{each}" for each in range(62)))]

    assert found[2] is to_evict(found)


def test_answers_under_way_are_never_cut() -> None:
    """Where all are, nobody makes room."""
    found = places(*[A] * LIMITS.connections, waiting=False)

    assert to_evict(found) is None


def test_an_answer_that_is_not_read_may_be_cut() -> None:
    """It waits for its peer as others do."""
    found = places(*[A] * 3, waiting=False)
    found[1].unread = True

    assert found[1] is to_evict(found)


@given(
    st.lists(
        st.builds(
            Place,
            st.sampled_from(["a", "b", "c"]),
            st.floats(0, 100),
            waiting=st.booleans(),
            served=st.booleans(),
            unread=st.booleans(),
        ),
        max_size=LIMITS.connections,
    )
)
def test_whoever_goes_waits_and_no_waiting_network_holds_more(found: list[Place]) -> None:
    """The order of the docstring, for any crowd."""
    chosen = to_evict(found)
    waiting = [place for place in found if place.waiting or place.unread]

    assert (chosen is None) == (not waiting)
    if chosen is not None:
        held = {
            place.network: max(FAIR_SHARE, sum(each.network == place.network for each in found)) for place in found
        }
        assert chosen in waiting
        assert held[chosen.network] == max(held[place.network] for place in waiting)


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_a_network_is_what_one_host_can_have(host: str, network: str) -> None:
    """An IPv6 host has a whole /64 to come from."""
    assert network == network_of(host)


class Listening:
    """A listening socket whose process has no descriptors left, once."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.refused = 0

    def fileno(self) -> int:
        return self._real.fileno()

    def setblocking(self, flag: bool) -> None:
        self._real.setblocking(flag)

    def listen(self, backlog: int) -> None:
        self._real.listen(backlog)

    def accept(self) -> Any:
        if not self.refused:
            self.refused += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._real.accept()

    def close(self) -> None:
        self._real.close()


def test_without_descriptors_it_waits_and_then_accepts_again(caplog: pytest.LogCaptureFixture) -> None:
    """Once in the log, no spinning; who came meanwhile is not lost."""

    async def scenario() -> int:
        with socket.create_server(("127.0.0.1", 0)) as real, socket.create_connection(real.getsockname()) as peer:
            door = Door(
                Listening(real),  # type: ignore[arg-type]
                lambda place: asyncio.Protocol(),
                lambda: None,
                Counters(),
                LIMITS,
                retry_seconds=0.01,
            )
            door.open()
            for _ in range(1000):
                if door.places:
                    break
                await asyncio.sleep(0.01)
            peer.close()
            door.close()
            await asyncio.sleep(0.05)
            return len(door.places)

    assert 1 == asyncio.run(scenario())
    assert ["no connection can be accepted reason=Too many open files"] == caplog.messages


class Transport:
    """Remembers that it was cut."""

    cut = False

    def abort(self) -> None:
        self.cut = True


def test_answers_that_nobody_reads_are_bounded() -> None:
    """The longest unread is cut for the next."""

    async def scenario() -> tuple[list[Place], Counters]:
        with socket.socket() as listening:
            counters = Counters()
            door = Door(listening, lambda place: asyncio.Protocol(), lambda: None, counters, LIMITS)
            found = places(*[A] * (LIMITS.unread + 1), waiting=False)
            for place in found:
                place.transport = Transport()  # type: ignore[assignment]
                door.places.add(place)
                door.unread(place)
        return found, counters

    found, counters = asyncio.run(scenario())

    assert found[0].gone
    assert not any(place.gone for place in found[1:])
    assert 1.0 == counters.health().connections_cut["evicted"]
