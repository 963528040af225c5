"""Map directories: what a prolog wrote is read, and what anybody else may have written is not believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.jobs.slurm_maps import MapDirectory, MapFile, Mapped, dcgm, gpustat, own
from tests.jobs.slurm_node import write

ME = frozenset({os.geteuid()})


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """An empty map directory."""
    path = tmp_path / "maps"
    path.mkdir(mode=0o755)
    return path


def names(directory: MapDirectory) -> set[str]:
    """The files that are believed."""
    return {each.name for each in directory.read()}


def files(**texts: str) -> list[MapFile]:
    """Files as they were read."""
    return [MapFile(name, 7.0, (), text) for name, text in texts.items()]


def test_no_directory_has_no_files(tmp_path: Path) -> None:
    """A node without a prolog of ours."""
    (tmp_path / "file").touch()

    assert MapDirectory(str(tmp_path / "none")).read() == []
    assert MapDirectory(str(tmp_path / "file" / "below")).read() == []


def test_files_are_read_again_only_when_they_change(maps: Path) -> None:
    """By inode, size and time of change, also where they are written over in place."""
    path = write(maps / "12.gw0", "a", 100.0)
    directory = MapDirectory(str(maps), ME)
    first = directory.read()[0]

    assert directory.read()[0] is first
    write(path, "b", 101.0)
    assert ["b"] == [each.text for each in directory.read()]


def test_what_is_no_file_is_refused(maps: Path) -> None:
    """A link may lead anywhere, and a FIFO would hold up the agent."""
    write(maps / "1.gw0", "x", 100.0)
    (maps / "2.gw0").symlink_to("/etc/passwd")
    os.mkfifo(maps / "3.gw0", 0o644)
    (maps / "4.gw0").mkdir()
    write(maps / ".5.gw0.99", "x", 100.0)
    directory = MapDirectory(str(maps), ME)

    assert {"1.gw0"} == names(directory)
    assert dict.fromkeys(("2.gw0", "3.gw0", "4.gw0"), "is no regular file") == directory.refusals


def test_file_that_is_too_large_is_refused(maps: Path) -> None:
    """A gap in it costs nothing to make."""
    with write(maps / "1.gw0", "", 100.0).open("r+b") as file:
        file.truncate(1 << 40)
    directory = MapDirectory(str(maps), ME)

    assert [] == directory.read()
    assert "more than 65536" in directory.refusals["1.gw0"]


def test_more_files_than_there_can_be_jobs_are_not_read(maps: Path) -> None:
    """And that is said."""
    for number in range(4100):
        (maps / f"{number}").touch(mode=0o644)
    directory = MapDirectory(str(maps), ME)

    assert 4096 == len(directory.read())
    assert {str(maps): "has more than 4096 files, the others are not read"} == directory.refusals


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_file_that_others_may_write_is_refused(maps: Path, mode: int) -> None:
    """Any user could have given his devices to another's job."""
    write(maps / "1.gw0", "x", 100.0, mode)
    directory = MapDirectory(str(maps), ME)

    assert [] == directory.read()
    assert {"1.gw0": f"may be written by others, mode {mode:o}"} == directory.refusals


def test_directory_that_others_may_write_is_refused(maps: Path) -> None:
    """Also one with the sticky bit: names can be taken in advance."""
    write(maps / "1.gw0", "x", 100.0)
    maps.chmod(0o1777)
    directory = MapDirectory(str(maps), ME)

    assert [] == directory.read()
    assert {str(maps): "may be written by others, mode 1777"} == directory.refusals


def test_files_and_directories_of_other_users_are_refused(maps: Path) -> None:
    """Whoever owns it may write it."""
    write(maps / "1.gw0", "x", 100.0)
    directory = MapDirectory(str(maps), frozenset({os.geteuid() + 1}))

    assert [] == directory.read()
    assert {str(maps): f"belongs to uid {os.geteuid()}, not to root"} == directory.refusals


def test_own_map() -> None:
    """Of this node, or of none in particular; the name and the content must agree."""
    texts = {
        "12.gw0": "SLURM_JOB_ID=12\nSLURM_JOB_GPUS=0\nSLURM_JOB_SLUID=s8FXKTA79XAR00\n",
        "13.gw1": "SLURM_JOB_ID=13\n",
        "14": "SLURM_JOB_ID=14\n",
        "15.": "SLURM_JOB_ID=15\nSLURM_JOB_SLUID=../..\n",
        "16.gw0": "SLURM_JOB_ID=17\nSLURM_JOB_GPUS=0\n",
        "18.gw0": "\x00\ufffd garbage",
        "019.gw0": "SLURM_JOB_ID=019\n",
        "99999999999.gw0": "SLURM_JOB_ID=99999999999\n",
    }

    found = {each.job_id: each for each in own(files(**texts), "gw0")}
    assert {"12", "14", "15", "16", "18"} == set(found)
    assert {"16", "18"} == {job_id for job_id, each in found.items() if not each.readable}
    assert ["s8FXKTA79XAR00", None] == [found["12"].sluid, found["15"].sluid]
    assert found["12"].variables["SLURM_JOB_GPUS"] == "0"


def test_map_of_jobstats() -> None:
    """A file for each device, with the job and its user in it."""
    texts = {
        "0": "12 1000\n",
        "MIG-265a219d": "13 1000\n",
        "1": "",
        "2": "x 1000\n",
        "../3": "12 1000",
        "4": "0 0",
    }

    found = list(gpustat(files(**texts)))
    assert [
        Mapped("12", 7.0, portions=(("0", 1.0),)),
        Mapped("13", 7.0, portions=(("MIG-265a219d", 1.0),)),
    ] == found


def test_map_of_dcgm_exporter() -> None:
    """A job in each line; several share."""
    texts = {"0": "12\n13\n12\n\n", "1.5": "12\n", "README": "12\n"}

    found = {each.job_id: each.portions for each in dcgm(files(**texts))}
    assert {"12": (("0", 0.5), ("1.5", 1.0)), "13": (("0", 0.5),)} == found


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=60), max_size=6))
def test_garbage_is_never_an_error(texts: dict[str, str]) -> None:
    """Whatever is in the files."""
    read = [MapFile(name, 7.0, (), text) for name, text in texts.items()]

    found = [*own(read, "gw0"), *gpustat(read), *dcgm(read)]
    assert all(each.job_id.isdigit() and each.job_id[0] != "0" for each in found)
