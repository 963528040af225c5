"""The words of Slurm's commands: what each form means, and what is none."""

from __future__ import annotations

from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_text
from gpuwatch.schedulers.slurm_text import JobId

NODES = {
    "gw0": ("gw0",),
    "gw[1-3]": ("gw1", "gw2", "gw3"),
    "node[1433,1787,1889-1890]": ("node1433", "node1787", "node1889", "node1890"),
    "n[001-003]": ("n001", "n002", "n003"),
    "n[09-11]": ("n09", "n10", "n11"),
    "n[9-11]": ("n9", "n10", "n11"),
    "n[098-101]": ("n098", "n099", "n100", "n101"),
    "r[1-2]n[3-4]": ("r1n3", "r1n4", "r2n3", "r2n4"),
    "rack[1-2]-gpu[01,03]-ib": ("rack1-gpu01-ib", "rack1-gpu03-ib", "rack2-gpu01-ib", "rack2-gpu03-ib"),
    "gpu-a100-[1-2],gpu-h100-1": ("gpu-a100-1", "gpu-a100-2", "gpu-h100-1"),
    "a1,b[2,4],c": ("a1", "b2", "b4", "c"),
    "tux[1],tux[1]": ("tux1",),
    "della-l07g[3-4].local": ("della-l07g3.local", "della-l07g4.local"),
    "None assigned": (),
    "(null)": (),
    "None": (),
    "": (),
}


@pytest.mark.parametrize(("text", "expected"), NODES.items(), ids=repr)
def test_node_lists_are_written_out(text, expected):
    """In order, each range with the zeros of its first number."""
    assert expected == slurm_text.node_list(text)


@pytest.mark.parametrize(
    "text",
    ["n[1-", "n[1-2", "n]1[", "n[[1-2]]", "n[3-1]", "n[a-b]", "n[]", "a b", ",", "n[1-999999999]",
     "n[1-999]m[1-999]", "n[²]"],
)  # fmt: skip
def test_what_is_no_node_list_is_rejected(text):
    """Also what names more nodes than Slurm knows."""
    with pytest.raises(Rejected):
        slurm_text.node_list(text)


@given(st.lists(st.from_regex(r"[a-z]{1,8}[0-9]{0,4}", fullmatch=True), unique=True, max_size=20))
def test_a_plain_node_list_comes_back(names):
    """Names without brackets are what they are."""
    names = [name for name in names if not slurm_text.nothing(name)]
    assert tuple(names) == slurm_text.node_list(",".join(names))


@given(st.text(alphabet="gr[],-0123456789 ²", max_size=40) | st.text(max_size=30))
def test_any_text_is_read_or_rejected(text):
    """Nothing else is ever raised, and no number is negative."""
    for read in (slurm_text.node_list, slurm_text.seconds, slurm_text.moment, slurm_text.exit_code,
                 slurm_text.job_id, slurm_text.indices):  # fmt: skip
        try:
            found = read(text)
        except Rejected:
            continue
        assert not isinstance(found, float | int) or found >= 0
    assert " " not in slurm_text.state(text)


DURATIONS = {
    "1-02:03:04": 93784.0,
    "02:03:04": 7384.0,
    "03:04": 184.0,
    "00:00:48": 48.0,
    "01:31.654": 91.654,
    "1-02": 93600.0,
    "1-02:30": 95400.0,
    "365-00:00:00": 31536000.0,
    "45": 2700.0,
    "0": 0.0,
    "UNLIMITED": None,
    "Partition_Limit": None,
    "NOT_SET": None,
    "INVALID": None,
    "4294967295": None,
    "": None,
}


@pytest.mark.parametrize(("text", "expected"), DURATIONS.items(), ids=repr)
def test_durations_are_seconds(text, expected):
    """Without a limit there is none; a bare number is minutes."""
    assert expected == slurm_text.seconds(text)


def test_a_bare_number_is_in_its_unit():
    """ElapsedRaw counts seconds."""
    assert 45.0 == slurm_text.seconds("45", 1)


@given(st.integers(0, 10**9))
def test_a_duration_comes_back(seconds):
    """As Slurm prints it: days, a dash, hours, minutes, seconds."""
    days, rest = divmod(seconds, 86400)
    text = f"{days}-{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"

    assert float(seconds) == slurm_text.seconds(text)


MOMENTS = {
    "2020-11-16T11:59:11": 1605527951.0,
    "1605527951": 1605527951.0,
    "2020-11-16T12:59:11+01:00": 1605527951.0,
    "Unknown": None,
    "None": None,
    "N/A": None,
    "0": None,
    "4294967294": None,
    "": None,
}


@pytest.mark.parametrize(("text", "expected"), MOMENTS.items(), ids=repr)
def test_moments_are_unix_seconds(text, expected):
    """UTC unless told otherwise; what has not come is None."""
    assert expected == slurm_text.moment(text)


def test_a_moment_is_in_the_zone_of_its_file():
    """Summer and winter."""
    zone = ZoneInfo("Europe/Berlin")

    assert 1605527951.0 == slurm_text.moment("2020-11-16T12:59:11", zone)
    assert 1594893551.0 == slurm_text.moment("2020-07-16T11:59:11", zone)
    assert 1605527951.0 == slurm_text.moment("2020-11-16T06:59:11", timezone(timedelta(hours=-5)))


@pytest.mark.parametrize("text", ["yesterday", "2020-13-01T00:00:00", "-5", "99999999999999999999"])
def test_what_is_no_moment_is_rejected(text):
    """An unreadable time is not an unknown one."""
    with pytest.raises(Rejected):
        slurm_text.moment(text)


def test_states_are_without_their_by_whom():
    """`CANCELLED by 1234` is CANCELLED."""
    texts = ["CANCELLED by 1234", "CANCELLED+", "COMPLETED", "node_fail", ""]

    assert ["CANCELLED", "CANCELLED", "COMPLETED", "NODE_FAIL", ""] == [slurm_text.state(t) for t in texts]


def test_exit_codes_are_a_shells():
    """A signal is 128 and its number."""
    assert [0, 1, 137, 2, None] == [slurm_text.exit_code(text) for text in ["0:0", "1:0", "0:9", "2", ""]]


IDS = {
    "123": JobId("123"),
    "123_4": JobId("123", task="4"),
    "123+1": JobId("123", offset="1"),
    "123.batch": JobId("123", step="batch"),
    "123_4.0": JobId("123", task="4", step="0"),
    "123+1.extern": JobId("123", offset="1", step="extern"),
    "8012944_24093.0": JobId("8012944", task="24093", step="0"),
    "123_[5-9%2]": JobId("123", tasks=5),
    "123_[1,3-5,10-20:2%4]": JobId("123", tasks=10),
    "123_[1,3,...]": JobId("123", tasks=2),
    "123_[7]": JobId("123", tasks=1),
}


@pytest.mark.parametrize(("text", "expected"), IDS.items(), ids=repr)
def test_ids_are_taken_apart(text, expected):
    """Arrays, heterogeneous jobs and steps."""
    assert expected == slurm_text.job_id(text)


@pytest.mark.parametrize(
    "text", ["", "abc", "123_", "12 3", "123_[5-", "123_[x]", "123_[1-9:0]", "123_[0-99999999]"]
)
def test_what_is_no_id_is_rejected(text):
    """Nothing is guessed about a job that cannot be named."""
    with pytest.raises(Rejected):
        slurm_text.job_id(text)
