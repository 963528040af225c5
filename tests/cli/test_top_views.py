"""A frame of `gpuwatch top` fits its terminal, whatever is in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gpuwatch.cli.top_state import DeviceNow, JobNow, Top, devices_in
from gpuwatch.cli.top_views import Looks, bar, document_of, frame, whole
from tests.cli.test_top_state import PAGE, job

HOUR = 3600.0
NOW = 1_764_072_000.0
LONG = JobNow("701", "701", "long", "eve", 0.0, 4.0, 144 * HOUR, 100 * HOUR, False, 240 * HOUR, 200 * HOUR,
              280 * HOUR, 0.995, "device-hours", 0.6, ("projected",), "warning")  # fmt: skip
TOP = Top(devices_in(PAGE), (LONG, job("8")), NOW)


def texts(top: Top = TOP, looks: Looks = Looks(), width: int = 80, height: int = 24) -> list[str]:
    return [line.text.rstrip() for line in frame(top, looks, NOW, width, height)]


def test_a_frame_of_80_columns_has_what_matters() -> None:
    """Devices, jobs, and the keys in the last line."""
    found = texts()

    assert 24 == len(found)
    assert "gpuwatch 12:00:00Z  2 running, 1 likely to overrun, 1 alerted" == found[0]
    assert ["2", "H100", "97", "%", "████████", "640/700", "W", "60/79", "GiB", "61", "°C", "a", '"job"'] == found[
        2
    ].split()
    assert found[3].split()[-3:] == ["cannot", "be", "read"]
    assert ["701", "long", "eve", "144", "100", "240", ">", "99", "%", "60", "%", "projected"] == found[5].split()
    assert "q quit, s sort (P over), f filter, up and down" == found[-1]


def test_a_wide_frame_draws_how_much_is_used() -> None:
    """With where it ends, or that this is beyond the end."""
    assert "███████████████████>  240     200 to 280" in texts(width=160)[5]


@pytest.mark.parametrize(
    ("ratio", "mark", "expected"),
    [(0.5, None, "#####....."), (0.2, 0.7, "##.....|.."), (2.0, 3.0, "#########>"), (0.0, 0.0, "|.........")],
)
def test_a_bar_is_full_as_it_is(ratio: float, mark: float | None, expected: str) -> None:
    """In letters where nothing else can be shown."""
    assert expected == bar(ratio, 10, mark, ascii_only=True)


_names = st.text(max_size=40)
_jobs = st.builds(
    JobNow, st.just("7"), _names, _names, _names, st.just(0.0), st.just(1.0), st.floats(0, 1e9),
    st.none() | st.floats(0, 1e9), projected=st.none() | st.floats(0, 1e9), p_over=st.none() | st.floats(0, 1),
    alerts=st.lists(_names, max_size=3).map(tuple),
)  # fmt: skip
_devices = st.builds(DeviceNow, _names, _names, _names, st.booleans(), st.none() | st.floats(0, 2),
                     holders=st.lists(_names, max_size=3).map(tuple))  # fmt: skip


@given(
    st.lists(_devices, max_size=12), st.lists(_jobs, max_size=30), st.integers(40, 200), st.integers(8, 60), _names
)
def test_every_line_fits(devices: list[DeviceNow], jobs: list[JobNow], width: int, height: int, text: str) -> None:
    """Names in every script, with control characters; no more lines than there are."""
    found = frame(Top(tuple(devices), tuple(jobs), NOW), Looks(text=text), NOW, width, height)

    assert height == len(found)
    assert all(cell_len(line.text) <= width for line in found)
    assert not any(sign in line.text for line in found for sign in "\x1b\n\r")


def test_many_jobs_can_be_scrolled() -> None:
    """How many are above and below is said."""
    many = replace(
        TOP, devices=(), jobs=tuple(job(str(number), used=float(1000 - number)) for number in range(500))
    )

    assert "and 480 more jobs" in texts(many)
    assert "10 above and 470 below" in texts(many, Looks(past=10))
    assert "499 above and 0 below" in texts(many, Looks(past=5000))


def test_what_is_not_there_is_said() -> None:
    """Jobs that are being read, that cannot be read, that are old, that do not run."""
    assert "reading jobs …" in texts(Top())
    assert "no job runs now" in texts(Top(as_of=NOW))
    assert "no such file" in texts(Top(jobs_trouble="no such file"))
    assert texts(Top(as_of=NOW - 600))[0].endswith("as of 10 min ago")
    assert "no job has 'x'" in texts(Top(as_of=NOW), Looks(text="x"))


def test_one_look_has_everything() -> None:
    """For pipes, as wide as it gets."""
    many = replace(TOP, jobs=tuple(job(str(number)) for number in range(100)))

    assert 100 + 2 + 3 == len(whole(many, Looks(), NOW, 0))


def test_json_has_base_units() -> None:
    """What was expected is not what was declared."""
    found = document_of(replace(TOP, jobs=(replace(LONG, expected=True),)), NOW)

    assert (None, 240 * HOUR, 0.995) == tuple(
        found["jobs"][0][key] for key in ("declared_device_seconds", "projected_device_seconds", "p_over")
    )
    assert ["GPU-a", "GPU-b"] == [each["uuid"] for each in found["devices"]]
