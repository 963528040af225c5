"""The page on letters shows them as they are (`pytest --update-golden` writes them)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpuwatch.notifiers.apprise_places import PLACES
from gpuwatch.notifiers.base import Change, Letter
from gpuwatch.notifiers.letter_dialects import COMMONMARK, PLAIN
from gpuwatch.notifiers.letter_text import Look, write
from tests.notifiers.letters import alert, details, letter, named, over, raised

PAGE = Path(__file__).parents[2] / "docs" / "letters.md"
LOOK = Look("hydra", "gpuwatch", "https://gpuwatch.example.org", "https://gpuwatch.dev/runbooks")
IDLE = "job {} holds 8 devices and did not work on any of them for 2 h 10 min; 17.3 device-hours so far"
LIMIT = (
    "job 4790 will be killed by its time limit with probability 93 %; 210 used of the 256 device-hours that the"
    " limit leaves room for; because: 61 % of 9,000 steps done in 39 h of 48 h"
)
NAME = "<!channel> @everyone [click](http://evil.example) <b>"
SHOWN = 34
"""Lines of a letter that the page has; the rest is the same again."""


def several() -> tuple[Change, ...]:
    changes = [
        raised("limit", name="4790", value=0.93, declared=0.8, text=LIMIT),
        Change("changed", alert(name="4720", severity="critical")),
        *(raised("idle", name=f"{each}", text=IDLE.format(each)) for each in range(4800, 4804)),
        *(raised(name=f"{each}", value=1.62e9 * (1.2 + each % 7)) for each in range(4703, 4710)),
        raised(name="diffusion-2", called="", scope="campaign"),
    ]
    return tuple(changes)


LETTERS: dict[str, Letter] = {
    "one": letter(raised(details=details("4711"))),
    "many": letter(*several()),
    "thousands": letter(*(raised(name=f"{each}") for each in range(4700, 4720)), recipient="operators", more=4980),
    "over": letter(over()),
    "evil": named(NAME, "account:vision"),
    "evil-markdown": named(NAME, "account:vision"),
}


def shown(name: str) -> str:
    """A letter as the page has it, the middle of a long one left out."""
    told = write(LETTERS[name], LOOK, COMMONMARK if name.endswith("markdown") else PLAIN)
    lines = told.body.splitlines()
    if len(lines) > SHOWN:
        lines = [*lines[: SHOWN - 12], "", "[…]", "", *lines[-11:]]
    return "\n".join([f"Subject: {told.subject}", "", *lines])


@pytest.mark.parametrize("name", LETTERS)
def test_the_page_shows_letters_as_they_are(name: str, request: pytest.FixtureRequest) -> None:
    """One that reads otherwise is read again by whoever changed it."""
    page = PAGE.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- letter: {name} -->\n```text\n)(.*?)(\n```\n)", re.S)
    found = place.search(page)
    assert found is not None

    if request.config.getoption("--update-golden"):
        PAGE.write_text(place.sub(lambda old: old[1] + shown(name) + old[3], page), encoding="utf-8")
        return
    assert shown(name) == found[2]


def test_the_page_names_every_place_and_parameter() -> None:
    """And no other."""
    page = PAGE.read_text(encoding="utf-8")
    rows = page.partition("## Where letters can go")[2].partition("## What")[0]

    assert [] == [schema for schema in PLACES if f"{schema.removesuffix('s')}" not in rows]
    for place in PLACES.values():
        if "sig" not in place.parameters:
            assert [] == [name for name in place.parameters if not re.search(rf"[` ]{name}[` ]", rows)]
