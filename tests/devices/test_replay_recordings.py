"""Recordings as streams of samples: both formats, and all that can be wrong with a file."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.devices.columns import layout_of, number
from gpuwatch.devices.recordings import (
    LONGEST_LINE,
    MOST_DEVICES,
    NOBODY,
    Recording,
    Rejections,
    Sample,
    by_first_time,
    in_order,
    split,
)
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.model import Reading

OWN = "time_s,uid,utilization_ratio,power_watts,energy_joules_total,memory_used_bytes,job_id\n"
AVERAGE, INSTANT = ("average", "device"), ("instant", "device")


def read(path: Path, content: str | bytes) -> tuple[list[Sample], dict[str, dict[str, int]]]:
    """The samples of that content, and what was rejected by device."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    rejections = Rejections()
    with Recording(path, rejections) as recording:
        samples = list(recording.samples())
    return samples, {uid: dict(counts) for uid, counts in rejections.by_uid.items()}


def nvidia_smi(path: Path, header: str, row: str) -> Reading:
    """The one reading of an nvidia-smi recording with that header and row after the timestamp."""
    samples, _ = read(path, f"timestamp, {header}\n2023/12/18 17:01:44.300, {row}\n")
    ((reading, _job),) = samples
    return reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the recording is."""
    return tmp_path / "recording.csv"


def test_every_column_of_the_own_format_arrives(path: Path) -> None:
    """All seven, in base units as they are."""
    samples, rejected = read(path, OWN + "10.5,GPU-1,0.5,300,1000,2048,job-7\n")

    assert samples == [
        Sample(
            Reading(
                "GPU-1",
                10.5,
                utilization_ratio=0.5,
                power_watts={AVERAGE: 300.0},
                energy_joules=1000.0,
                memory_used_bytes=2048.0,
            ),
            "job-7",
        )
    ]
    assert rejected == {}


def test_any_subset_in_any_order_will_do(path: Path) -> None:
    """Only the time is needed; the device is then `replay:0`; unknown columns are nothing."""
    samples, _ = read(path, "note,power_watts,time_s\nhello,250,3\n")

    assert samples == [Sample(Reading("replay:0", 3.0, power_watts={AVERAGE: 250.0}), None)]


def test_an_empty_cell_is_unknown(path: Path) -> None:
    """Not 0, and not a rejection."""
    samples, rejected = read(path, OWN + "1,,,,,,\n")

    assert samples == [Sample(Reading("replay:0", 1.0), None)]
    assert rejected == {}


def test_nvidia_smi_units_become_base_units(path: Path) -> None:
    """Suffixes are read; the timestamp is taken as UTC."""
    reading = nvidia_smi(
        path,
        "power.draw [W], utilization.gpu [%], memory.used [MiB], clocks.current.sm [MHz], temperature.gpu",
        "46.19 W, 12 %, 81559 MiB, 1410 MHz, 32",
    )

    assert reading == Reading(
        "replay:0",
        1702918904.3,
        utilization_ratio=0.12,
        memory_used_bytes=81559 * 2.0**20,
        power_watts={AVERAGE: 46.19},
        clock_hz={"sm": 1410e6},
        temperature_celsius={"gpu": 32.0},
    )


def test_nounits_takes_the_unit_of_the_header(path: Path) -> None:
    """And where not even the header says it, nvidia-smi's usual one."""
    said = nvidia_smi(path, "power.draw [mW], memory.used [GiB]", "46190, 2")
    unsaid = nvidia_smi(path, "power.draw, memory.used, utilization.gpu", "46.19, 2048, 100")

    assert (said.power_watts, said.memory_used_bytes) == ({AVERAGE: 46.19}, 2.0**31)
    assert (unsaid.power_watts, unsaid.memory_used_bytes) == ({AVERAGE: 46.19}, 2.0**31)
    assert unsaid.utilization_ratio == 1.0


@pytest.mark.parametrize(
    "cell",
    ["[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[GPU is lost]", "", "[Insufficient Permissions]"],
)
def test_what_nvidia_smi_does_not_know_is_unknown(path: Path, cell: str) -> None:
    """Absent, and not counted as wrong."""
    samples, rejected = read(
        path, f"timestamp, power.draw [W], utilization.gpu [%]\n2023/12/18 17:01:44.300, {cell}, 5 %\n"
    )

    assert samples[0].reading == Reading("replay:0", 1702918904.3, utilization_ratio=0.05)
    assert rejected == {}


@pytest.mark.parametrize(
    ("row", "average"),
    [("100 W, 200 W, 300 W", 300.0), ("100 W, 200 W, [N/A]", 100.0), ("[N/A], 200 W, [N/A]", None)],
)
def test_the_average_counts_before_the_draw_and_the_draw_before_the_instant(
    path: Path, row: str, average: float | None
) -> None:
    """Whichever is known; the instant stays what it is."""
    reading = nvidia_smi(path, "power.draw [W], power.draw.instant [W], power.draw.average [W]", row)

    assert reading.power_watts.get(AVERAGE) == average
    assert reading.power_watts.get(INSTANT) == 200.0


@pytest.mark.parametrize(
    ("header", "row", "uid"),
    [
        ("index, uuid, pci.bus_id", "3, GPU-ab, 00000000:17:00.0", "GPU-ab"),
        ("index, pci.bus_id", "3, 00000000:17:00.0", "00000000:17:00.0"),
        ("gpu_uuid", "GPU-cd", "GPU-cd"),
        ("index", "3", "replay:3"),
        ("index", "[N/A]", "replay:0"),
    ],
)
def test_the_device_is_the_best_identity_there_is(path: Path, header: str, row: str, uid: str) -> None:
    """UUID before PCI address before index."""
    assert nvidia_smi(path, header, row).device == uid


def test_energy_and_limit_of_nvidia_smi_are_read(path: Path) -> None:
    """The counter is in millijoules unless it says otherwise."""
    reading = nvidia_smi(path, "total_energy_consumption, enforced.power.limit [W]", "1234567, 400.00 W")

    assert reading.energy_joules == pytest.approx(1234.567)
    assert reading.power_limit_watts == 400.0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text.encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\n\n  \n").encode(),
        lambda text: text.encode("utf-16"),
        lambda text: gzip.compress(text.encode()),
        lambda text: text.encode().rstrip(b"\n"),
        lambda text: text.replace("2,5", "time_s,power_watts\n2,5").encode(),
    ],
    ids=["plain", "bom", "crlf", "blank lines", "utf-16", "gzip", "no newline at the end", "header again"],
)
def test_the_wrapping_does_not_matter(path: Path, wrap: object) -> None:
    """Byte order mark, line ends, blank lines, encoding, compression, a second header: the same samples."""
    samples, rejected = read(path, wrap("time_s,power_watts\n1,5\n2,5\n"))  # type: ignore[operator]

    assert [sample.reading.time for sample in samples] == [1.0, 2.0]
    assert [sample.reading.power_watts for sample in samples] == [{AVERAGE: 5.0}] * 2
    assert rejected == {}


def test_another_header_in_the_middle_changes_the_columns(path: Path) -> None:
    """Two recordings appended to one file are both read."""
    samples, rejected = read(path, "time_s,power_watts\n1,5\nutilization_ratio,time_s\n0.5,2\n")

    assert [sample.reading for sample in samples] == [
        Reading("replay:0", 1.0, power_watts={AVERAGE: 5.0}),
        Reading("replay:0", 2.0, utilization_ratio=0.5),
    ]
    assert rejected == {}


def test_quoted_cells_may_hold_commas(path: Path) -> None:
    """A quote that is never closed costs its own line at most."""
    samples, rejected = read(path, 'time_s,job_id,power_watts\n1,"a, b",5\n2,"open,5\n3,c,5\n')

    assert [(sample.reading.time, sample.job_id) for sample in samples] == [(1.0, "a, b"), (3.0, "c")]
    assert rejected == {"replay:0": {"unparsable": 1}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense\n", "unparsable"),
        ("x,GPU-1,5\n", "unparsable"),
        ("nan,GPU-1,5\n", "unparsable"),
        ("1745601841000,GPU-1,5\n", "unparsable"),
        ("2,GPU-1,5,6\n", "unparsable"),
        ("2,GP", "truncated"),
        ("1_0,GPU-1,5\n", "unparsable"),
    ],
)
def test_a_row_that_makes_no_sense_is_counted(path: Path, line: str, reason: str) -> None:
    """Too few or many cells, a time that is none; the last line cut short has a reason of its own."""
    samples, rejected = read(path, "time_s,uid,power_watts\n1,GPU-1,5\n" + line)

    assert len(samples) == 1
    assert {"": {reason: 1}} == rejected or {"GPU-1": {reason: 1}} == rejected


def test_a_cell_that_is_no_number_stays_for_the_check(path: Path) -> None:
    """The row is kept; the range check drops and counts the value."""
    samples, _ = read(path, "time_s,power_watts,utilization_ratio\n1,5..0,0.5\n")

    assert samples[0].reading.power_watts == {AVERAGE: "5..0"}
    assert samples[0].reading.utilization_ratio == 0.5


def test_names_from_outside_are_made_safe(path: Path) -> None:
    """What a recording calls a device or a job ends up on terminals."""
    samples, _ = read(path, OWN.encode() + b"1,\x1b[31mGPU,,,,,job\xff\n")

    assert samples[0].reading.device == "\ufffd[31mGPU"
    assert samples[0].job_id == "job\ufffd"


def test_a_line_without_an_end_does_not_fill_the_memory(path: Path) -> None:
    """It is dropped as a whole, once, and the next line is read."""
    samples, rejected = read(path, "time_s,power_watts\n1,5\n" + "9" * (3 * LONGEST_LINE) + "\n2,5\n")

    assert [sample.reading.time for sample in samples] == [1.0, 2.0]
    assert rejected == {NOBODY: {"unparsable": 1}}


def test_too_many_devices_is_a_wrong_column(path: Path) -> None:
    """Memory stays bounded; the message says where to look."""
    rows = "".join(f"{time},device-{time}\n" for time in range(MOST_DEVICES + 1))

    with pytest.raises(Rejected, match="right column"):
        read(path, "time_s,uid\n" + rows)


@pytest.mark.parametrize("cut", [20, 60])
def test_a_damaged_gzip_file_keeps_what_was_whole(path: Path, cut: int) -> None:
    """A recording whose writer was killed ends early; that is counted."""
    rows = "".join(f"{time},{time * 7919 % 700}\n" for time in range(5000))
    samples, rejected = read(path, gzip.compress(("time_s,power_watts\n" + rows).encode())[:-cut])

    assert 0 < len(samples) <= 5000
    assert rejected[NOBODY]["truncated"] == 1


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"a,b,c\n1,2,3\n", b"\x00\x01\x02", b"\x1f\x8b", b"\x1f\x8bgarbage", b"\xff\xfe"]
)
def test_what_is_no_recording_is_rejected(path: Path, content: bytes) -> None:
    """Empty, another CSV, binary, half a gzip header: a clean refusal that names the file."""
    with pytest.raises(Rejected, match=r"recording\.csv"):
        read(path, content)


def test_a_file_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    """Not there, or a directory."""
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(Unavailable, match="cannot be read"):
            Recording(path, Rejections())


def samples_at(*times: float, uid: str = "a") -> list[Sample]:
    """Samples of one device at those times."""
    return [Sample(Reading(uid, time), None) for time in times]


@pytest.mark.parametrize(
    ("times", "accepted", "reasons"),
    [
        ([1, 2, 3], [1, 2, 3], {}),
        ([1, 2, 2, 3], [1, 2, 3], {"time_duplicate": 1}),
        ([1, 5, 3, 4, 6], [1, 5, 6], {"time_backwards": 2}),
        ([1, 2, 9e9, 3, 4], [1, 2, 3, 4], {"time_jump": 1}),
        ([1, 2, 9e9, 9e9 + 1], [1, 2, 9e9, 9e9 + 1], {}),
        ([1, 9e9], [1, 9e9], {}),
        ([1, 9e9, 9e9], [1, 9e9], {"time_duplicate": 1}),
        ([1, 9e9, 1, 2], [1, 2], {"time_duplicate": 1, "time_jump": 1}),
    ],
)
def test_time_only_goes_forward(
    times: Sequence[float], accepted: Sequence[float], reasons: dict[str, int]
) -> None:
    """Duplicates and steps back are dropped; one wrong date in the far future does not cost what follows."""
    rejections = Rejections()

    kept = [sample.reading.time for sample in in_order(samples_at(*times), rejections)]

    assert kept == list(accepted)
    assert rejections.of("a") == reasons


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1, 2, 3, 4, 5, 1e6, 2e6])), max_size=20))
def test_every_sample_is_taken_in_order_or_rejected(rows: list[tuple[str, float]]) -> None:
    """taken in = passed on + rejected, and each device's times rise, whatever the others do."""
    rejections = Rejections()

    kept = list(in_order([Sample(Reading(uid, time), None) for uid, time in rows], rejections))

    assert len(rows) == len(kept) + sum(sum(rejections.of(uid).values()) for uid in "ab")
    for uid in "ab":
        times = [sample.reading.time for sample in kept if sample.reading.device == uid]
        assert times == sorted(set(times))


def test_recordings_are_taken_in_the_order_of_their_times(tmp_path: Path) -> None:
    """Rotated logs may be given by name."""
    late, early = tmp_path / "a.csv", tmp_path / "b.csv"
    late.write_text("time_s\n100\n")
    early.write_text("time_s\n1\n")

    assert by_first_time([late, early]) == [early, late]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_it_is_written(value: float) -> None:
    """Every finite float survives; so does its unit's factor."""
    assert number(f" {value!r} ", "none", 1.0) == value
    assert number(f"{value!r} kW", "watts", 1.0) == value * 1e3


@given(st.text(max_size=60))
def test_any_text_is_a_number_unknown_or_itself(text: str) -> None:
    """Never an error."""
    parsed = number(text, "watts", 1.0)

    assert parsed is None or isinstance(parsed, float) or parsed == text.strip()


def test_a_header_is_known_by_its_time_column() -> None:
    """Everything else is none."""
    found = [layout_of(split(line)) for line in ("TIME_S , x", "index, Timestamp", "time,power", "")]

    assert [each and each.format for each in found] == ["gpuwatch", "nvidia-smi", None, None]
