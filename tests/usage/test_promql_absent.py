"""Who is missing, and since when what they had is read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.usage import promql_absent as absent

TIMES = st.integers(0, 2**31)
ABSENT = st.dictionaries(st.text(max_size=12), TIMES, max_size=5)


@given(missing=ABSENT)
def test_what_is_written_is_read(missing: dict[str, int]) -> None:
    """Nobody is nothing."""
    assert missing == absent.read(absent.written(missing))
    assert (absent.written(missing) is None) == (not missing)


@pytest.mark.parametrize("state", ["", "nonsense", "[]", '{"a": "b", "c": null, "d": true}', "1"])
def test_a_state_of_another_kind_is_nobody(state: str) -> None:
    """An earlier release may have written it."""
    assert {} == absent.read(state)


def test_somebody_who_falls_silent_is_absent_until_heard() -> None:
    """Since the last sample, whatever is heard of others."""
    heard = {"a": 1000.5, "b": 2000.0}
    missing = absent.absent_after({}, heard, 1500, 2000)
    still = absent.absent_after(missing, {"a": 1000.5, "b": 2060.0}, 1560, 2060)
    back = absent.absent_after(still, {"a": 2100.0, "b": 2120.0}, 1620, 2120)

    assert ({"a": 1000}, {"a": 1000}, {}) == (missing, still, back)
    assert (None, 1000) == (absent.returned(missing, heard, 1500), absent.returned(still, {"a": 2100.0}, 1620))


def test_who_is_absent_for_a_week_is_gone() -> None:
    """Nodes are taken away, too."""
    end = absent.KEPT_SECONDS + 100
    assert {"b": 200} == absent.absent_after({"a": 50, "b": 200}, {}, end - 60, end)


@given(missing=ABSENT, heard=st.dictionaries(st.text(max_size=12), st.floats(1, 2**31), max_size=5), begin=TIMES)
def test_everybody_is_either_heard_or_absent(missing: dict[str, int], heard: dict[str, float], begin: int) -> None:
    """With the time that was known first."""
    found = absent.absent_after(missing, heard, begin, 0)

    assert {*missing, *heard} == {*found} | {node for node, at in heard.items() if at > begin}
    assert all(missing.get(node, int(heard.get(node, 0))) == at for node, at in found.items())
