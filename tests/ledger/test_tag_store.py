"""Free tags: of a job's own word, and of what was said after the fact."""

from __future__ import annotations

import pytest

from gpuwatch.errors import DeclarationError, Forbidden, Rejected
from gpuwatch.ledger import tag_store
from gpuwatch.ledger.campaigns import Actor, Person, ref_of
from gpuwatch.ledger.store import Store
from tests.ledger.told import ADA, ADMIN, BOB, COORDINATOR, EVE, NOW, fill, jobs


def tags(store: Store, job_id: str = "1") -> dict[str, str]:
    with store.reading() as connection:
        (job,) = jobs(connection, job_id)
        return tag_store.tags_of(connection, [job])[ref_of(job)]


def test_a_job_has_the_tags_it_declares_and_those_it_was_given(store: Store) -> None:
    """What was said after the fact goes before; of that the latest."""
    fill(store)
    assert {"table": "1"} == tags(store)

    with store.writing() as connection:
        mine = jobs(connection, "1")
        tag_store.tag(connection, ADA, mine, {"table": "3", "figure": "2"}, NOW)
        tag_store.tag(connection, ADA, mine, {"table": "2"}, NOW - 1)
    assert {"table": "3", "figure": "2"} == tags(store)


def test_a_tag_is_taken_off_also_a_declared_one(store: Store) -> None:
    """And can be given again."""
    fill(store)
    with store.writing() as connection:
        mine = jobs(connection, "1")
        tag_store.untag(connection, ADA, mine, ["table"], NOW)
    assert {} == tags(store)

    with store.writing() as connection:
        tag_store.tag(connection, ADA, mine, {"table": "4"}, NOW + 1)
    assert {"table": "4"} == tags(store)


@pytest.mark.parametrize("actor", [BOB, EVE, Actor(Person("", None))])
def test_nobody_tags_jobs_of_others(store: Store, actor: Actor) -> None:
    """Not even in part: either all are tagged or none."""
    fill(store)

    with store.writing() as connection, pytest.raises(Forbidden, match="job '2' is not yours to tag"):
        tag_store.tag(connection, actor, jobs(connection, "2"), {"a": "b"}, NOW)
    assert {} == tags(store, "2")


@pytest.mark.parametrize("actor", [COORDINATOR, ADMIN])
def test_coordinators_and_administrators_tag_what_they_look_after(store: Store, actor: Actor) -> None:
    """As they may say what belongs together."""
    fill(store)
    with store.writing() as connection:
        tag_store.tag(connection, actor, jobs(connection, "2"), {"a": "b"}, NOW)

    assert {"a": "b"} == tags(store, "2")


@pytest.mark.parametrize("word", ["", "a", "a:", ":b", "a b:c", "a:\0", "a:b\nc", "a:" + "x" * 200])
def test_a_tag_follows_the_grammar_of_declarations(word: str) -> None:
    """Whoever writes it."""
    with pytest.raises(DeclarationError):
        tag_store.read_tags([word])


def test_tags_are_read_with_their_values() -> None:
    """A value may have a colon, a key may stand once."""
    assert {"a": "b:c", "d": "e"} == tag_store.read_tags(["a:b:c", "d:e"])
    with pytest.raises(DeclarationError, match="given twice"):
        tag_store.read_tags(["a:b", "a:c"])
    with pytest.raises(Rejected, match="at most 100"):
        tag_store.read_tags([f"k{number}:v" for number in range(101)])
