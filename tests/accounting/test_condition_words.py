"""What alerts on what is measured say, word by word."""

from __future__ import annotations

import pytest

from gpuwatch.accounting import condition_words as words
from tests.accounting.doing import AGE, HOUR, NOW, allocated, doing, only
from tests.ledger.batch import T0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5.0, "0 s"), (12.0, "12 s"), (59.0, "1 min"), (2700.0, "45 min"), (11_400.0, "3 h 10 min"),
        (7200.0, "2 h"), (187_200.0, "2 d 4 h"), (86_400.0, "1 d"), (86_460.0, "1 d"),
    ],
)  # fmt: skip
def test_times_have_the_two_largest_units(seconds: float, text: str) -> None:
    """And none of nothing."""
    assert text == words.span(seconds)


def test_readings_have_their_units() -> None:
    """Watts, hertz, parts."""
    assert ("310 W", "1.2 kW", "345 MHz", "1.98 GHz", "25 %") == (
        words.power(310.0), words.power(1210.0), words.clock(345e6), words.clock(1.98e9), words.percent(0.25)
    )  # fmt: skip


def test_many_names_are_not_all_said() -> None:
    """Four, and that there are more."""
    names = [f"gw{number}" for number in range(6)]

    assert ("node gw0", "6 nodes: gw0, gw1, gw2, gw3, …", "no node") == (
        words.listed(names[:1], "node"), words.listed(names, "node"), words.listed([], "node")
    )  # fmt: skip


def test_parts_of_devices_are_said() -> None:
    """A slice of one."""
    assert ("1 device", "8 devices", "0.14 of 1 device") == (
        words.devices_text(1, 1.0), words.devices_text(8, 8.0), words.devices_text(1, 1 / 7)
    )  # fmt: skip


def test_commands_can_be_copied() -> None:
    """Whatever the job is called."""
    assert "look closer: gpuwatch show '7;x y'" == words.look_closer(doing(name="7;x y"))


def test_what_hangs_is_said_with_what_to_think_of() -> None:
    """It does not end by itself."""
    alert = only(doing(worked_ago=HOUR, spun_ago=0.0, spinning=8 * HOUR))

    assert (
        "job 7 holds 8 devices that report busy at idle power: no work since 2023-11-14 13:00Z (1 h):"
        " 8 device-hours so far" == alert.text
    )
    assert "likely: a collective whose partner is gone, or a deadlock; it does not end by itself" in alert.details


def test_what_never_worked_is_said_as_its_users_call_it() -> None:
    """Since it was given its devices; busy at idle power, if it is."""
    job = doing(1, worked_ago=None, spun_ago=0.0, spinning=0.9 * AGE, record=allocated(1.0, display="4711_3"))

    alert = only(job)

    assert (
        "job 4711_3 holds 1 device since 2023-11-14 08:00Z (6 h) and has not worked yet: 6 device-hours so far"
        == alert.text
    )
    assert "busy at idle power for 90 % of the time: it waits for others, or hangs" in alert.details
    assert (T0 + AGE, "no_start") == (NOW, alert.kind)
