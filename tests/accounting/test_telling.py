"""What may become of jobs, out of what is known of them and of their like."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from gpuwatch.accounting.telling import (
    EXPECTED_PLACE,
    OUTLIVED,
    Answer,
    Known,
    answers,
    chain_of,
    known_of,
    takes_up,
    waiting_one,
)
from gpuwatch.forecast.calibration import FEWEST, Calibration, kind_of
from gpuwatch.forecast.evidence import Case, Experience
from gpuwatch.forecast.outcomes import Outcome
from gpuwatch.forecast.projection import Against
from gpuwatch.forecast.trials import LEVELS
from gpuwatch.ledger.chains import Chain, chains_of
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import BurnUp, Estimate, Scope
from gpuwatch.schedulers.base import Facts
from tests.ledger import made
from tests.ledger.batch import HOUR, T0

CASE = Case("ada", "ml", "train", 100.0)


def experienced(count: int = 40, final: float = 1000.0, people: int = 1, **changed: object) -> Experience:
    """So many runs of this name came to between once and 1.4 times an amount."""
    found = Experience()
    for number in range(count):
        amount = final * (1.0 + number % 5 / 10)
        outcome = Outcome(f"user{number % people}" if people > 1 else "ada", "ml", "train", f"{number}", None,
                          amount, float(number), False)  # fmt: skip
        found.add(outcome._replace(**changed))
    return found


def tell(
    known: Known, experience: Experience | None = None, calibration: Calibration | None = None
) -> Answer | None:
    """The answer about one."""
    (answer,) = answers([known], experience or Experience(), calibration or Calibration(), "so often", 0.0)
    return answer


def estimate(low: float, likely: float, high: float) -> Estimate:
    """What is declared, in device-seconds."""
    return Estimate(Scope("job", "7"), "device-hours", low, likely, high, "s", "flops", "ada", T0, "socket")


def job(step: float | None = None, *said: Estimate) -> Job:
    """A job of 1000 device-seconds so far."""
    told = made.progress(step, 900.0) if step is not None else None
    one = made.run(allocated_seconds=1000.0, progress=told)
    return made.job(one, progress=told, revisions=tuple(Revision(each, True) for each in said))


def test_a_job_is_held_against_the_upper_end_of_what_it_declares() -> None:
    """What is likely is evidence; the steps are those of the whole."""
    known = known_of(job(500, estimate(1e3, 2e3, 5e3)), BurnUp(T0), 7e3)

    assert Against(5e3, "declared", estimate(1e3, 2e3, 5e3)) == known.against
    assert (2e3, "flops", 1000.0) == (known.case.declared, known.case.method, known.steps)


def test_a_job_that_declares_nothing_is_held_against_what_was_expected_of_it() -> None:
    """Where anything was."""
    assert Against(7e3, "expected") == known_of(job(), BurnUp(T0), 7e3).against
    assert known_of(job(), BurnUp(T0), None).against is None


def test_what_is_shipped_alone_says_nothing_of_a_job_that_declares_nothing() -> None:
    """It says that anything is possible; with a few of its like, or a burn-up, there is something to say."""
    told = replace(CASE, used_at=(50.0, 80.0, 100.0), ratios=(0.2, 0.3, 0.4))

    assert tell(Known(CASE, None, 1.0)) is None
    assert tell(Known(CASE, None, 1.0), experienced(40)) is not None
    assert tell(Known(told, None, 1.0)) is not None
    assert tell(Known(replace(CASE, declared=500.0), None, 1.0)) is not None


def test_what_is_expected_is_what_nine_of_ten_do_not_exceed() -> None:
    """As long as nothing is declared, and nothing was expected before."""
    answer = tell(Known(CASE, None, 1.0), experienced())
    assert answer is not None

    assert Against(answer.told.foretold.quantile(EXPECTED_PLACE), "expected") == answer.told.against
    assert ("submit", "so often") == (answer.told.stage, answer.told.record)


def test_a_stage_is_how_much_of_what_it_is_held_against_is_used() -> None:
    """Of what is declared at most."""
    case = replace(CASE, declared=300.0)
    held = [Known(case, None, 1.0, Against(each)) for each in (120.0, 300.0, 2000.0)]

    assert ["0.75", "0.25", "submit"] == [answer.told.stage for each in held if (answer := tell(each))]


def test_a_stage_that_is_known_to_be_wrong_is_corrected() -> None:
    """Each by its own record; below a hundred runs nothing is."""
    known = Known(replace(CASE, declared=1000.0), None, 1.0, Against(1000.0))
    corrected = []
    for count in (FEWEST - 1, 5 * FEWEST):
        calibration = Calibration()
        for number in range(count):
            calibration.learn("0.1", kind_of(False), 0.5 + number % 50 / 100)
            calibration.learn("0.25", kind_of(False), 0.01)
        answer = tell(known, None, calibration)
        assert answer is not None
        corrected.append(answer.told.foretold.quantiles)
    raw = tell(known)
    assert raw is not None

    assert raw.told.foretold.quantiles == corrected[0]
    assert all(one < other for one, other in zip(raw.told.foretold.quantiles, corrected[1], strict=True))


def test_what_outlived_all_says_so() -> None:
    """Not that it is based on anything."""
    answer = tell(Known(replace(CASE, used=1e6, declared=10.0), None, 1.0, Against(10.0)))

    assert answer is not None
    assert OUTLIVED == answer.told.basis


@pytest.mark.parametrize(("people", "says"), [(2, False), (3, True)])
def test_of_others_it_is_told_from_three_people_on(people: int, says: bool) -> None:
    """Neither in words nor in amounts: of two, each would know what the other's runs came to."""
    stranger = Known(replace(CASE, user="eve"), None, 1.0)
    answer = tell(stranger, experienced(people=people))

    assert says == (answer is not None)
    if answer is not None:
        assert "40 jobs called train, of anybody" in answer.told.basis
        assert not any(f"user{number}" in answer.told.basis for number in range(people))


def test_all_are_answered_in_their_order() -> None:
    """Whatever is known of each."""
    case = replace(CASE, declared=1000.0)
    known = [Known(replace(case, used=1.0 + number), None, 1.0) if number % 3 else Known(
        replace(CASE, user="eve", account="", name=f"{number}"), None, 1.0) for number in range(30)]  # fmt: skip

    found = list(answers(known, Experience(), Calibration(), "", 0.0))
    assert [number % 3 != 0 for number in range(30)] == [answer is not None for answer in found]
    assert [1.0 + number for number in range(30) if number % 3] == [
        each.told.foretold.used for each in found if each
    ]


def test_quantiles_rise_and_are_never_below_what_is_used() -> None:
    """Whatever the evidence, the burn-up and the limit."""
    told = replace(CASE, declared=400.0, used_at=(50.0, 80.0, 100.0), ratios=(0.2, 0.1, 0.4), limit=1200.0)
    for case in (CASE, told, replace(told, used=5000.0), replace(told, used=1199.0, method="flops")):
        answer = tell(Known(case, 1000.0, 1.0), experienced())
        assert answer is not None
        quantiles = answer.told.foretold.quantiles
        assert len(LEVELS) == len(quantiles)
        assert all(one <= other for one, other in pairwise((case.used, *quantiles)))


def test_what_waits_is_known_by_its_owner_its_name_and_its_limit() -> None:
    """It has used nothing."""
    facts = Facts(T0, "PENDING", devices=4.0, name="train-7", user="ada", account="ml", limit_seconds=HOUR)

    assert Known(Case("ada", "ml", "train-#", 0.0, limit=4 * HOUR), None, 0.0) == waiting_one(facts)
    assert waiting_one(replace(facts, devices=None)).case.limit is None


def chained(*names: str) -> Chain:
    """A chain of jobs of these names, each of a hundred seconds."""
    jobs = []
    for number, name in enumerate(names):
        told = made.progress(100.0 * (number + 1), 200.0 * number + 100, 100.0 * number)
        began = T0 + 200 * number
        one = made.run(allocated_seconds=100.0, started=began, last_seen=began + 100.0, progress=told,
                       outcome="TIMEOUT")  # fmt: skip
        jobs.append(replace(made.job(one, name=f"{number}", progress=told, job_id=f"{number}"), name=name))
    (found,) = chains_of(jobs)
    return found


@pytest.mark.parametrize(
    ("names", "waiting", "expected"),
    [
        (("train", "train"), "train", True), (("train", "train"), "eval", False),
        (("train-1", "train-2"), "train-3", True), (("train-1", "train-1"), "train-2", False),
    ],
)  # fmt: skip
def test_what_waits_goes_on_with_a_chain_of_its_name(names: tuple[str, ...], waiting: str, expected: bool) -> None:
    """Numbers count where the chain's own jobs have the same; else it is another run of a sweep."""
    assert expected == takes_up(chained(*names), waiting)


def test_a_chain_that_is_alone_is_held_against_its_campaign() -> None:
    """Of two nobody knows whose the declaration is."""
    chain = chained("train", "train")
    campaign = Campaign(Scope("campaign", "llama-2"), chain.jobs, (Revision(estimate(1e2, 2e2, 3e2), True),))

    alone, one_of_two = (chain_of(chain, campaign, {}, each) for each in (True, False))
    assert (2e2, 3e2) == (alone.case.declared, alone.against and alone.against.amount)
    assert (None, None) == (one_of_two.case.declared, one_of_two.against)
    assert ("llama-#", 200.0, 1000.0) == (alone.case.name, alone.case.used, alone.steps)
