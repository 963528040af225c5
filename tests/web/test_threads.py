"""Calls in threads: a few at once, and the next is refused or waits for its turn."""

from __future__ import annotations

import asyncio
from threading import Event

import pytest

from gpuwatch.web.threads import Busy, Patient


def test_others_wait_for_their_turn() -> None:
    """In the order in which they came, and an error frees the place too."""
    done: list[int] = []

    async def asking() -> None:
        threads, go = Patient(1, wait_seconds=30.0), Event()

        def first() -> None:
            go.wait(30)
            done.append(0)
            raise ValueError

        calls = [asyncio.create_task(threads.run(first))]
        await asyncio.sleep(0)
        calls += [asyncio.create_task(threads.run(lambda n=n: done.append(n))) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        go.set()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [ValueError, type(None), type(None), type(None)] == [type(each) for each in found]

    asyncio.run(asking())

    assert [0, 1, 2, 3] == done


def test_who_waits_too_long_or_with_too_many_is_refused() -> None:
    """And takes no place with him."""

    async def asking() -> None:
        threads, go = Patient(1, wait_seconds=0.0, waiting=1), Event()
        holding = asyncio.create_task(threads.run(lambda: go.wait(30)))
        while not threads._turns.locked():
            await asyncio.sleep(0)
        with pytest.raises(Busy):
            await threads.run(int)
        with pytest.raises(Busy):
            await Patient(1, waiting=0).run(int)
        go.set()
        assert await holding
        assert 0 == await threads.run(int)

    asyncio.run(asking())
