"""The stream of events: a word for each pass, few streams at once, and an end to each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gpuwatch.web.page import events
from gpuwatch.web.page.events import Events
from gpuwatch.web.page.frame import Passed
from gpuwatch.web.roles import Person
from gpuwatch.web.threads import Busy

ADA = Person("test", "ada", 1000)


class Passes:
    """Passes as a test says."""

    def __init__(self) -> None:
        self.now = Passed(1.0, 100.0)

    def __call__(self) -> Passed:
        return self.now


def stream(open_: Events, person: Person = ADA) -> AsyncIterator[Any]:
    return open_.answer(person).body_iterator


def told(word: bytes) -> dict[str, Any]:
    """The data of an event."""
    (line,) = (each for each in word.decode().splitlines() if each.startswith("data: "))
    return json.loads(line.removeprefix("data: "))


def test_a_pass_that_ends_is_told() -> None:
    """At once what there was, then each that is new; with the time here, so that clocks do not matter."""

    async def listening() -> list[dict[str, Any]]:
        passes = Passes()
        words = stream(Events(passes, lambda: 123.0, look_seconds=0.001))
        first = await anext(words)
        passes.now = Passed(2.0, 160.0)
        return [told(first), told(await anext(words))]

    assert [
        {"number": 1.0, "time": 100.0, "now": 123.0}, {"number": 2.0, "time": 160.0, "now": 123.0},
    ] == asyncio.run(listening())  # fmt: skip


def test_a_quiet_stream_shows_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends by itself after a while, so that who may no longer look is asked again who he is."""
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.002)
    monkeypatch.setattr(events, "LIFE_SECONDS", 0.005)

    async def listening() -> list[bytes]:
        return [word async for word in stream(Events(Passes(), lambda: 0.0, look_seconds=0.001))]

    first, *others = asyncio.run(listening())
    assert first.startswith(b"retry: 5000\n")
    assert [b": there\n\n"] * 2 == others


def test_streams_are_few_and_given_back() -> None:
    """Of one person a handful, of all some dozens; one that ends makes room."""

    async def crowding() -> None:
        open_ = Events(Passes(), lambda: 0.0)
        his = [stream(open_) for _ in range(events.MOST_OF_ONE)]
        for each in his:
            await anext(each)
        with pytest.raises(Busy):
            open_.answer(ADA)
        others = [stream(open_, Person("test", f"user{n}")) for n in range(events.MOST - len(his))]
        for each in others:
            await anext(each)
        with pytest.raises(Busy):
            open_.answer(Person("test", "eve"))
        await his[0].aclose()  # type: ignore[attr-defined]
        assert events.MOST - 1 == open_.streams
        await anext(stream(open_))
        for each in (*his[1:], *others):
            await each.aclose()  # type: ignore[attr-defined]

    asyncio.run(crowding())
