"""What was learned of evidence, through the ledger."""

from __future__ import annotations

import pytest

from gpuwatch.accounting.learned import load, read, save, written
from gpuwatch.forecast.evidence import Case, Experience
from gpuwatch.forecast.outcomes import Outcome
from gpuwatch.ledger.store import Store


def taught() -> Experience:
    """What twenty runs taught, some of which came to more than all before them."""
    found = Experience()
    for number in range(20):
        case = Case("ada", "ml", "train", 10.0, None if number % 2 else 100.0, None, (5.0, 10.0), (0.1, 0.2))
        outlook = found.outlook(case, float(number))
        final = 90.0 + 5.0 * number
        found.learn(outlook, final)
        found.add(Outcome("ada", "ml", "train", f"{number}", case.declared, final, float(number), False))
    return found


def test_what_was_learned_is_the_same_again_in_the_ledger(store: Store) -> None:
    """Each cluster's own, and the latest; what ended is read from elsewhere."""
    experience = taught()
    with store.writing() as connection:
        save(connection, "default", Experience())
        save(connection, "default", experience)

    with store.reading() as connection:
        known, other = load(connection, "default"), load(connection, "other")
    assert experience.learned.keys() == known.learned.keys()
    for context, shares in experience.learned.items():
        assert shares == pytest.approx(known.learned[context], abs=1e-4)
    assert {kind: pytest.approx(tail.scales, abs=1e-5) for kind, tail in experience.tails.items()} == {
        kind: tail.scales for kind, tail in known.tails.items()
    }
    assert ({}, {}, {}) == (known.classes, other.learned, other.tails)


def test_a_new_process_forecasts_with_what_an_old_one_learned() -> None:
    """Evidence of which little was right has little say."""
    experience, case = taught(), Case("eve", "", "other", 10.0, 100.0, None, (5.0, 10.0), (0.1, 0.2))

    known = read(written(experience))
    assert Experience().outlook(case, 0.0).shares != known.outlook(case, 0.0).shares
    assert known.outlook(case, 0.0).shares == pytest.approx(
        Experience(tails=experience.tails, learned=experience.learned).outlook(case, 0.0).shares, abs=1e-3
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"shares":[{"bucket":1}],"tails":{}}', '{"shares":7,"tails":{}}', "null",
        '{"shares":[{"context":[1,2,3,true],"shares":{"ratio name":"much"}}],"tails":{}}',
        '{"shares":[{"context":[1,2,3,true],"shares":{"ratio name":NaN}}],"tails":{}}',
        '{"shares":[],"tails":{"ratio name":[0.1,0.1]}}',
        '{"shares":[],"tails":{"ratio name":[0.1,0.1,0.1,null]}}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_learned_anew(text: str) -> None:
    """Another version may have written it: no pass fails by it."""
    assert Experience() == read(text)
