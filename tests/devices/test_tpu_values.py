"""Which chip an answer is about, and what quantiles a distribution has."""

from __future__ import annotations

from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.devices import tpu_runtime as runtime
from gpuwatch.devices.tpu_runtime import Answer
from gpuwatch.devices.tpu_values import QUANTILES, Known, Layout, placed, quantiles, values_of
from gpuwatch.devices.tpu_wire import Buckets, Sample

NUMBERS = st.none() | st.floats() | st.integers(-(2**63), 2**64) | st.text(max_size=5) | st.booleans()
BUCKETS = st.builds(Buckets, st.floats(), st.floats(), st.lists(st.integers(-5, 2**63), max_size=8).map(tuple))
SAMPLES = st.builds(Sample, st.none() | st.integers(-(2**31), 2**63), NUMBERS | BUCKETS)
ANSWERS = st.builds(
    Answer,
    st.just("answers"),
    st.just(""),
    st.just(frozenset()),
    st.dictionaries(st.sampled_from(sorted(runtime.PERIODS)), st.lists(SAMPLES, max_size=10).map(tuple)),
)
RATIOS = ("utilization_ratio", "dram_activity_ratio", "tensor_activity_ratio")


def sets(*numbers):
    return [frozenset(each) for each in numbers]


def test_numbers_of_the_node_are_places() -> None:
    """One port or several, in any order."""
    assert [{0: 0, 1: 1, 2: 2, 3: 3}] == placed(sets(range(4)), 4)
    assert [{2: 2, 3: 3}, {0: 0, 1: 1}] == placed(sets({2, 3}, {0, 1}), 4)


def test_numbers_may_count_on_from_other_hosts() -> None:
    """The second host of a slice has devices 4 to 7."""
    assert [{4: 0, 5: 1, 6: 2, 7: 3}] == placed(sets(range(4, 8)), 4)
    assert [{4: 0}, {}, {6: 2}, {7: 3}] == placed(sets({4}, (), {6}, {7}), 4)


def test_numbers_that_processes_share_are_their_own() -> None:
    """The ports stand in the order of the devices; one that is dead keeps its place."""
    assert [{0: 0, 1: 1}, {0: 2, 1: 3}] == placed(sets({0, 1}, {0, 1}), 4)
    assert [{0: 0}, {}, {0: 2}, {0: 3}] == placed(sets({0}, (), {0}, {0}), 4)


def test_what_could_be_either_is_not_guessed() -> None:
    """The third of four ports alone says 0: its own first device, or the node's."""
    assert [{}, {}, {}, {}] == placed(sets((), (), {0}, ()), 4)
    assert [{0: 0}, {}, {}, {}] == placed(sets({0}, (), (), ()), 4)
    assert [{}, {}, {2: 2}, {}] == placed(sets((), (), {2}, ()), 4)


def test_a_process_with_some_of_the_devices_has_those_that_it_holds() -> None:
    """It numbers its two devices from 0, and has the last two of four."""
    assert [{0: 2, 1: 3}] == placed(sets({0, 1}), 4, frozenset({2, 3}))
    assert [{0: 0, 1: 1}] == placed(sets({0, 1}), 4, frozenset({0, 1}))
    assert [{0: 0, 1: 1}] == placed(sets({0, 1}), 4, frozenset({0, 1, 2}))


@pytest.mark.parametrize("numbers", [sets({0, 9}), sets({-1, 0}), sets({0, 1, 2}, {0}), sets({0}, {0}, {0})])
def test_numbers_that_do_not_fit_mean_nothing(numbers) -> None:
    """More of them than there are devices, or another number of ports than divides them."""
    assert [{} for _ in numbers] == placed(numbers, 4)


@given(
    st.lists(st.frozensets(st.integers(-3, 20), max_size=5), min_size=1, max_size=4),
    st.integers(1, 8),
    st.none() | st.frozensets(st.integers(0, 7), max_size=8),
)
def test_no_two_devices_have_one_place(numbers, total: int, held) -> None:
    """Whatever is numbered how: a place is one of the node's, and nobody shares one."""
    held = None if held is None else frozenset(each for each in held if each < total)
    found = placed(numbers, total, held)
    places = [place for port in found for place in port.values()]

    assert len(found) == len(numbers)
    assert len(places) == len(set(places))
    assert all(0 <= place < total for place in places)
    assert all(set(port) <= own for port, own in zip(found, numbers, strict=True))


@settings(max_examples=50)
@given(st.lists(ANSWERS, max_size=4), st.integers(1, 8), st.sampled_from([1, 2]), st.booleans())
def test_whatever_is_answered_values_are_believable(answers, chips: int, devices: int, by_chip: bool) -> None:
    """Ratios from 0 to 1, numbers that are finite and not below 0, and every sample used or counted."""
    values = values_of(answers, Layout(chips, devices, by_chip), {})

    assert chips == len(values.chips)
    for chip in values.chips:
        for name, value in chip.items():
            numbers = value.values() if isinstance(value, dict) else [value]
            assert all(isfinite(number) and number >= 0 for number in numbers)
            assert name not in RATIOS or 0 <= value <= 1
    assert all(count > 0 for count in values.rejected.values())


@given(st.floats(0.1, 100), st.floats(1.1, 4), st.lists(st.integers(0, 1000), min_size=2, max_size=20))
def test_quantiles_grow_and_stay_within_the_buckets(scale: float, growth: float, counts: list[int]) -> None:
    """None where nothing was counted; the highest is not beyond the last bucket that has something."""
    found = quantiles([Buckets(scale, growth, tuple(counts))], QUANTILES)

    if not any(counts):
        assert {} == found
        return
    last = max(place for place, count in enumerate(counts) if count)
    values = [found[q] for q in QUANTILES]
    assert values == sorted(values)
    assert values[-1] <= scale * growth**last * 1e-6 * (1 + 1e-9)


def test_distributions_with_the_same_buckets_are_one() -> None:
    """As Google's client adds them up; one with other buckets cannot be added, and is left out."""
    parts = [Buckets(1.0, 2.0, (0, 2, 0)), Buckets(1.0, 2.0, (0, 0, 2)), Buckets(9.0, 2.0, (5,))]

    assert {0.5: 2e-6} == pytest.approx(dict(quantiles(parts, [0.5])))


@pytest.mark.parametrize(
    "bad",
    [
        Buckets(0.0, 2.0, (1, 1)),
        Buckets(1.0, 1.0, (1, 1)),
        Buckets(float("nan"), 2.0, (1, 1)),
        Buckets(1.0, 2.0, (-1, 2)),
        Buckets(1e308, 1e308, (0, 0, 1)),
    ],
)
def test_buckets_without_sense_have_no_quantiles(bad: Buckets) -> None:
    """Nothing is made up, and nothing overflows."""
    assert {} == quantiles([bad], QUANTILES)


def test_what_stands_is_not_counted_again_and_what_is_said_again_is() -> None:
    """A slow value is said once and shown each second: not believed, it counts once, and again when said again."""
    known: Known = {}
    duty, slow = (Sample(0, 130.0),), (Sample(0, -1.0),)
    answer = Answer("answers", samples={runtime.DUTY: duty, runtime.QUEUE: slow})
    counted = [values_of([answer], Layout(1), known).rejected for _ in range(2)]
    again = Answer("answers", samples={runtime.DUTY: (Sample(0, 130.0),), runtime.QUEUE: slow})

    assert [2, 0, 1] == [sum(each.values()) for each in (*counted, values_of([again], Layout(1), known).rejected)]


@given(st.lists(st.lists(ANSWERS, max_size=2), max_size=4), st.integers(1, 4))
def test_what_is_known_changes_no_value(told, chips: int) -> None:
    """Whatever came before, and whatever of it stands."""
    known: Known = {}
    for answers in told:
        layout = Layout(chips)

        assert values_of(answers, layout, {}).chips == values_of(answers, layout, known).chips


def test_what_is_said_of_some_devices_is_numbered_as_memory_is() -> None:
    """A process that holds the last two of four chips numbers them from 0, and says of one alone what waits."""

    def samples(*numbers: int) -> tuple[Sample, ...]:
        return tuple(Sample(number, 10.0 + number) for number in numbers)

    said = {runtime.USED: samples(0, 1), runtime.DUTY: samples(0, 1), runtime.QUEUE: samples(1)}
    values = values_of([Answer("answers", samples=said)], Layout(4, held=frozenset({2, 3})), {})

    assert [{}, {}] == values.chips[:2]
    assert [(10.0, None), (11.0, 11.0)] == [
        (chip["memory_used_bytes"], chip.get("queued_programs")) for chip in values.chips[2:]
    ]
