"""Files in which jobs say something, written by friends and by enemies."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.agent.intake import Speaker
from gpuwatch.agent.job_files import MOST_BYTES, JobFiles
from gpuwatch.agent.messages import ReportProgress, Written
from gpuwatch.errors import GpuwatchError
from tests.agent.listener import eventually

ME = os.geteuid()


class Heard:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.declared: list[tuple[Speaker, str]] = []
        self.reported: list[tuple[Speaker, Written]] = []
        self.refused: list[tuple[Speaker, str]] = []

    def hear_declaration(self, speaker: Speaker, text: str) -> None:
        self.declared.append((speaker, text))

    def hear_progress(self, speaker: Speaker, written: Written) -> None:
        self.reported.append((speaker, written))

    def refuse_file(self, speaker: Speaker, refusal: GpuwatchError) -> None:
        self.refused.append((speaker, str(refusal)))

    @property
    def anything(self) -> bool:
        """Whether a word came through."""
        return bool(self.declared or self.reported)


class Jobs:
    """A directory for jobs, job 12 with its own in it, and the reader."""

    def __init__(self, root: Path, trusted: frozenset[int] | None = None) -> None:
        self.above = root / "jobs"
        self.above.mkdir(mode=0o755, parents=True)
        self.living = {"12"}
        self.heard = Heard()
        self.files = JobFiles(self.above, self.heard, lambda: self.living, trusted=trusted)
        self.own = self.make("12")

    def make(self, job_id: str) -> Path:
        """As the prolog does."""
        path = self.above / job_id
        path.mkdir(mode=0o750)
        return path


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    """One job."""
    return Jobs(tmp_path)


def test_what_a_job_writes_is_heard_once_and_again_when_it_changes(jobs: Jobs) -> None:
    """For the job whose directory it is."""
    (jobs.own / "declare").write_text("device-hours=640\ncampaign=ü\n")
    (jobs.own / "progress").write_text('{"type":"progress","step":1,"total":9,"time":5.5,"pid":77}\n')
    jobs.files.look()
    jobs.files.look()
    (jobs.own / "progress.77").write_text('{"step":2,"total":9,"time":6}')
    (jobs.own / "progress.77").replace(jobs.own / "progress")
    jobs.files.look()

    me = Speaker("12", ME)
    assert [(me, "device-hours=640\ncampaign=ü\n")] == jobs.heard.declared
    first, second = Written(ReportProgress(1.0, 9.0), 5.5, 77), Written(ReportProgress(2.0, 9.0), 6.0)
    assert [(me, first), (me, second)] == jobs.heard.reported
    assert [] == jobs.heard.refused


@pytest.mark.parametrize(("changed", "time"), [(1000.0, 1000.0), (-5e9, 0.0)])
def test_report_without_a_time_is_as_old_as_its_file(jobs: Jobs, changed: float, time: float) -> None:
    """Else one that lies there would be taken for a new one when the agent starts; no time is before 1970."""
    (jobs.own / "progress").write_text('{"step":1}')
    os.utime(jobs.own / "progress", (changed, changed))
    jobs.files.look()

    assert [Written(ReportProgress(1.0), time)] == [written for _, written in jobs.heard.reported]


def test_job_that_is_not_known_waits(jobs: Jobs) -> None:
    """And one that has ended is heard once more, and not again."""
    (jobs.own / "declare").write_text("energy=1J")
    jobs.living = set()
    jobs.files.look()
    assert not jobs.heard.anything
    jobs.living = {"12"}
    jobs.files.look()
    jobs.living = set()
    (jobs.own / "declare").write_text("energy=22J")
    jobs.files.look()
    (jobs.own / "declare").write_text("energy=333J")
    jobs.files.look()

    assert [(Speaker("12", ME), "energy=1J"), (Speaker("12", ME, over=True), "energy=22J")] == jobs.heard.declared


@pytest.mark.parametrize("job_id", ["../12", "..", ".", "", "a/b", "user:root", "12\n", "x" * 200, "１２"])
def test_what_is_no_name_of_a_directory_is_not_looked_for(jobs: Jobs, job_id: str) -> None:
    """Ids come from control groups and users' names."""
    (jobs.above.parent / "declare").write_text("energy=1J")
    jobs.living = {job_id}
    jobs.files.look()

    assert not jobs.heard.anything


def _symlink(own: Path) -> None:
    (own / "secret").write_text("energy=1J")
    (own / "declare").symlink_to(own / "secret")


def _hard_link(own: Path) -> None:
    (own / "other").write_text("energy=1J")
    os.link(own / "other", own / "declare")


def _foreign(own: Path) -> None:
    (own / "declare").write_text("energy=1J")
    os.chown(own / "declare", 54321, -1)


def _device(own: Path) -> None:
    os.mknod(own / "declare", 0o20666, os.makedev(1, 5))


def _sparse(own: Path) -> None:
    with (own / "declare").open("wb") as file:
        file.truncate(1 << 40)


HOSTILE: list[tuple[Callable[[Path], object], str]] = [
    (_symlink, "declare: cannot be opened"),
    (lambda own: (own / "declare").symlink_to(own / "declare"), "declare: cannot be opened"),
    (lambda own: (own / "declare").symlink_to("/dev/zero"), "declare: cannot be opened"),
    (_hard_link, "declare: has several names"),
    (lambda own: os.mkfifo(own / "declare"), "declare: is no regular file"),
    (lambda own: (own / "declare").mkdir(), "declare: is no regular file"),
    (lambda own: (own / "declare").write_bytes(b"x" * (MOST_BYTES + 1)), "bytes, more than 65536"),
    (_sparse, "bytes, more than 65536"),
    (lambda own: (own / "declare").write_bytes(b"\xff\xfe"), "declare: not UTF-8"),
    (lambda own: (own / "progress").write_bytes(b'{"step": 12, "tot'), "not JSON"),
    (lambda own: (own / "progress").write_bytes(b""), "not JSON"),
    (lambda own: (own / "progress").write_bytes(b"\0" * 4096), "not JSON"),
    (lambda own: (own / "progress").write_bytes(b"[" * 60_000), "nested too deeply"),
    (lambda own: (own / "progress").write_text('{"step":NaN,"total":1}'), "not JSON"),
    (lambda own: (own / "progress").write_text('{"step":"٣","total":1}'), "no number of steps"),
    (lambda own: (own / "progress").write_text('{"step":1,"total":2,"time":"now"}'), "time: 'now' is none"),
    (lambda own: (own / "progress").write_text('{"step":1,"total":2,"time":1e99}'), "time: 1e+99 is none"),
    (lambda own: (own / "progress").write_text('{"step":1,"total":2,"time":-1}'), "time: -1 is none"),
]


@pytest.mark.parametrize(("write", "told"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_file_is_refused_once(jobs: Jobs, write: Callable[[Path], object], told: str) -> None:
    """It is not followed, not waited for, and not read further than 64 kB."""
    write(jobs.own)
    jobs.files.look()
    jobs.files.look()

    assert not jobs.heard.anything
    ((speaker, refusal),) = jobs.heard.refused
    assert told in refusal
    assert Speaker("12", ME) == speaker


@pytest.mark.skipif(ME != 0, reason="only root makes devices, and gives files away")
@pytest.mark.parametrize(("write", "told"), [(_device, "no regular file"), (_foreign, "belongs to uid 54321")])
def test_device_and_file_of_another_user_are_refused(
    jobs: Jobs, write: Callable[[Path], object], told: str
) -> None:
    """The directory's owner may have let others write into it; their word is not the job's."""
    write(jobs.own)
    jobs.files.look()

    assert not jobs.heard.anything
    assert told in jobs.heard.refused[0][1]


def test_socket_in_the_place_of_a_file_is_refused(jobs: Jobs) -> None:
    """It cannot even be opened."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(jobs.own / "declare"))
        jobs.files.look()

    assert "declare: cannot be opened" in jobs.heard.refused[0][1]


def test_file_of_just_the_limit_is_read(jobs: Jobs) -> None:
    """64 kB; the grammar judges them."""
    (jobs.own / "declare").write_bytes(b"x" * MOST_BYTES)
    jobs.files.look()

    assert ["x" * MOST_BYTES] == [text for _, text in jobs.heard.declared]


def test_directory_that_is_a_link_or_a_file_is_none(jobs: Jobs, tmp_path: Path) -> None:
    """Whatever lies behind it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "declare").write_text("energy=1J")
    (jobs.above / "13").symlink_to(tmp_path / "mine")
    (jobs.above / "14").write_text("energy=1J")
    jobs.living = {"13", "14"}
    jobs.files.look()

    assert not jobs.heard.anything


def test_directory_that_others_may_write_is_refused_once(jobs: Jobs) -> None:
    """What they say there is not the job's word."""
    (jobs.own / "declare").write_text("energy=1J")
    jobs.own.chmod(0o777)
    jobs.files.look()
    jobs.files.look()

    assert not jobs.heard.anything
    assert ["12: others may write it, mode 777"] == [refusal for _, refusal in jobs.heard.refused]


@pytest.mark.skipif(ME == 0, reason="root may look into every directory")
def test_directory_that_may_not_be_opened_is_refused_once(jobs: Jobs) -> None:
    """It was made without the agent's group."""
    jobs.own.chmod(0)
    jobs.files.look()
    jobs.files.look()
    jobs.own.chmod(0o750)

    assert ["12: cannot be opened, Permission denied"] == [refusal for _, refusal in jobs.heard.refused]


def test_directory_that_is_another_now_is_read_anew(jobs: Jobs) -> None:
    """The id was given to the next job, or the job began again."""
    (jobs.own / "declare").write_text("energy=1J")
    jobs.files.look()
    shutil.rmtree(jobs.own)
    jobs.files.look()
    jobs.make("12")
    (jobs.own / "declare").write_text("energy=1J")
    jobs.files.look()

    assert ["energy=1J"] * 2 == [text for _, text in jobs.heard.declared]


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_directory_above_that_others_may_write_is_not_believed(jobs: Jobs, mode: int) -> None:
    """Anybody might have made the job's in it."""
    (jobs.own / "declare").write_text("energy=1J")
    jobs.above.chmod(mode)
    jobs.files.look()

    assert not jobs.heard.anything


def test_directory_above_of_another_user_is_not_believed(tmp_path: Path) -> None:
    """Neither root's nor the agent's own."""
    jobs = Jobs(tmp_path, trusted=frozenset({54321}))
    (jobs.own / "declare").write_text("energy=1J")
    jobs.files.look()

    assert not jobs.heard.anything


def test_no_directory_is_nothing_to_hear(jobs: Jobs) -> None:
    """Most nodes have none."""
    shutil.rmtree(jobs.above)
    jobs.files.look()

    assert not jobs.heard.anything


def test_thread_hears_and_ends(jobs: Jobs) -> None:
    """Within a second or so."""
    (jobs.own / "progress").write_text(json.dumps({"step": 1, "total": 2}))
    jobs.files.start()
    try:
        assert eventually(lambda: bool(jobs.heard.reported))
    finally:
        jobs.files.stop()


@given(content=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_bytes_are_a_word_or_a_refusal(jobs: Jobs, content: bytes) -> None:
    """Never an error of another sort."""
    for name in ("declare", "progress"):
        (jobs.own / name).write_bytes(content)
    jobs.files.look()
