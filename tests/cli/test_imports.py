"""`gpuwatch import`: files of sacct and tables of allocations into a ledger."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import typer

from gpuwatch.cli.imports import allocations, local_zone, sacct
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.ledger import tables
from gpuwatch.ledger.record_store import grants_where, records_where
from gpuwatch.ledger.store import open_store, open_to_read
from gpuwatch.schedulers.base import Grant, Record
from tests.cli.command import gpuwatch

HEADER = "JobID|JobIDRaw|State|Submit|Start|End|AllocTRES|User|Account|JobName"
JOB = "7|7|COMPLETED|2026-01-02T00:00:00|2026-01-02T01:00:00|2026-01-02T03:00:00|cpu=4,gres/gpu=2|ada|ml|train"
STEP = JOB.replace("7|7|", "7.batch|7.batch|")
HOUR = 3600.0


def written(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
    return str(path)


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


def run(file: str, ledger: str, **options: Any) -> None:
    sacct(file, **{"fields": None, "delimiter": "|", "timezone": "UTC", "ledger": ledger, **options})


def jobs_in(ledger: str) -> list[Record]:
    store = open_to_read(ledger)
    with store.reading() as connection:
        found = list(records_where(connection, tables.records.c.cluster != ""))
    store.close()
    return found


def grants_in(ledger: str) -> list[Grant]:
    store = open_to_read(ledger)
    with store.reading() as connection:
        found = list(grants_where(connection, tables.grants.c.cluster != ""))
    store.close()
    return found


def dump(ledger: str) -> list[str]:
    with sqlite3.connect(ledger) as connection:
        text = list(connection.iterdump())
    connection.close()
    return text


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_file_with_header_becomes_jobs(tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps are no jobs; the ledger is made where there is none."""
    run(written(tmp_path / "jobs.txt", HEADER, JOB, STEP), ledger)

    (job,) = jobs_in(ledger)
    assert (2.0, 4.0, "ada", at("2026-01-02T01:00")) == (
        job.facts.devices, job.facts.cpus, job.facts.user, job.facts.started,
    )  # fmt: skip
    assert f"1 job taken from {tmp_path}/jobs.txt for cluster default, 1 new or changed\n" == (
        capsys.readouterr().out
    )


def test_importing_twice_changes_nothing(tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not one byte of any table, whole or in parts, in any order."""
    jobs = [JOB.replace("7|7|", f"{number}|{number}|") for number in range(20)]
    run(written(tmp_path / "all.txt", HEADER, *jobs), ledger)
    before = dump(ledger)

    run(written(tmp_path / "all.txt", HEADER, *jobs), ledger)
    run(written(tmp_path / "part.txt", HEADER, *reversed(jobs[5:]), *jobs[:8]), ledger)

    assert before == dump(ledger)
    assert " 0 new or changed" in capsys.readouterr().out


def test_fields_name_those_of_a_file_without_header(tmp_path: Path, ledger: str) -> None:
    """In sacct's own names; a header in the file knows better."""
    names = HEADER.replace("|", ",")
    run(written(tmp_path / "bare.txt", JOB), ledger, fields=names)
    first = dump(ledger)

    run(written(tmp_path / "headed.txt", HEADER, JOB), ledger, fields="JobID,User")

    assert 1 == len(jobs_in(ledger))
    assert first == dump(ledger)


def test_another_delimiter_and_cluster(tmp_path: Path, ledger: str) -> None:
    """Jobs of two clusters with one id are two jobs."""
    run(written(tmp_path / "a.txt", HEADER.replace("|", ";"), JOB.replace("|", ";")), ledger, delimiter=";")
    run(written(tmp_path / "b.txt", HEADER, JOB), ledger, cluster="other")

    assert ["default", "other"] == sorted(job.key.cluster for job in jobs_in(ledger))


def test_local_times_are_those_of_the_time_zone(tmp_path: Path, ledger: str) -> None:
    """sacct prints local time and no zone; in winter Berlin is an hour ahead."""
    run(written(tmp_path / "jobs.txt", HEADER, JOB), ledger, timezone="Europe/Berlin")

    (job,) = jobs_in(ledger)
    assert at("2026-01-02T00:00") == job.facts.started


@pytest.mark.parametrize(("environment", "zone"), [({"TZ": "Asia/Tokyo"}, "Asia/Tokyo"), ({"TZ": ":UTC"}, "UTC")])
def test_the_machines_time_zone_is_that_of_its_environment(environment: dict[str, str], zone: str) -> None:
    """As for every other program."""
    assert ZoneInfo(zone) == local_zone(environment)


def test_a_job_without_devices_has_none_where_others_have(tmp_path: Path, ledger: str) -> None:
    """Where no job of the file has any it is not known whether the cluster accounts for them."""
    bare = JOB.replace(",gres/gpu=2", "").replace("7|7|", "8|8|")

    run(written(tmp_path / "cpu.txt", HEADER, bare), ledger, cluster="cpu")
    run(written(tmp_path / "gpu.txt", HEADER, bare, JOB), ledger, cluster="gpu")

    assert {("cpu", "8"): None, ("gpu", "8"): 0.0, ("gpu", "7"): 2.0} == {
        job.key[:2]: job.facts.devices for job in jobs_in(ledger)
    }


def test_a_compressed_file_is_recognised(tmp_path: Path, ledger: str) -> None:
    """By its content, whatever it is called."""
    path = tmp_path / "jobs.txt"
    path.write_bytes(gzip.compress(f"{HEADER}\n{JOB}\n".encode()))

    run(str(path), ledger)

    assert 1 == len(jobs_in(ledger))


def test_a_file_cut_short_is_damaged(tmp_path: Path, ledger: str) -> None:
    """A compressed one says so of itself."""
    path = tmp_path / "jobs.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{JOB}\n".encode())[:-12])

    with pytest.raises(Rejected, match="is damaged"):
        run(str(path), ledger)


def test_standard_input_is_a_file(ledger: str) -> None:
    """As another process sees it: words, exit code."""
    done = gpuwatch("import", "sacct", "-", "--ledger", ledger, "--json", input=f"{HEADER}\n{JOB}\n")

    assert (0, "") == (done.returncode, done.stderr)
    expected = {
        "file": "standard input", "cluster": "default", "taken": 1, "changed": 1, "skipped": {}, "examples": [],
    }  # fmt: skip
    assert expected == json.loads(done.stdout)


def test_json_of_sacct_is_taken_too(tmp_path: Path, ledger: str) -> None:
    """Numbers as objects, states as lists."""
    job = {
        "job_id": 7, "state": {"current": ["COMPLETED"]}, "user": "ada", "account": "ml",
        "time": {"submission": 1767312000, "start": 1767315600, "end": 1767322800,
                 "limit": {"set": True, "infinite": False, "number": 60}},
        "tres": {"allocated": [{"type": "cpu", "name": "", "id": 1, "count": 4},
                               {"type": "gres", "name": "gpu", "id": 1001, "count": 2}]},
    }  # fmt: skip

    run(written(tmp_path / "jobs.json", json.dumps({"jobs": [job]}, indent=1)), ledger)

    (found,) = jobs_in(ledger)
    assert ("7", 2.0, 2 * HOUR) == (
        found.key.job_id, found.facts.devices, (found.facts.ended or 0.0) - (found.facts.started or 0.0),
    )  # fmt: skip


def test_what_is_not_taken_is_counted_by_reason(
    tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With examples; the rest is taken."""
    broken = JOB.replace("2026-01-02T00:00:00", "yesterday\x1b[31m")
    late = JOB.replace("7|7|", "9|9|").replace("2026-01-02T03:00:00", "9999-01-02T03:00:00")

    run(written(tmp_path / "jobs.txt", HEADER, broken, late, JOB), ledger)

    head, *others = capsys.readouterr().out.splitlines()
    assert head.startswith("1 job taken from")
    assert "1 not taken: a number or time is out of range, or an end lies before its start" in others
    assert "1 not taken: rows that cannot be read" in others
    assert any("yesterday" in line for line in others)
    assert not any("\x1b" in line for line in others)


def test_a_file_of_which_nothing_can_be_taken_is_bad_data(tmp_path: Path, ledger: str) -> None:
    """Exit code 65."""
    with pytest.raises(Rejected, match="nothing could be taken"):
        run(written(tmp_path / "jobs.txt", HEADER, JOB.replace("COMPLETED", "")), ledger)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("root:x:0:0",), "names no JobID; say with --fields"),
        (("JobID|User|State", "7|ada|COMPLETED"), "has no field submit or eligible or start"),
        (("JobID|Submit", "7|2026-01-02T00:00:00"), "has no field state"),
    ],
)
def test_a_file_that_is_none_of_sacct_says_what_it_lacks(
    tmp_path: Path, ledger: str, lines: tuple[str, ...], message: str
) -> None:
    """And no ledger is made for it."""
    with pytest.raises(Rejected, match=message):
        run(written(tmp_path / "jobs.txt", *lines), ledger)

    assert not Path(ledger).exists()


def test_an_empty_file_has_no_jobs(tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A day on which nobody computed."""
    run(written(tmp_path / "jobs.txt"), ledger)

    assert capsys.readouterr().out.startswith("0 jobs taken from")


@pytest.mark.parametrize("name", ["none.txt", "."])
def test_a_file_that_cannot_be_read_is_unavailable(tmp_path: Path, ledger: str, name: str) -> None:
    """With the reason."""
    with pytest.raises(Unavailable, match="cannot be read"):
        run(str(tmp_path / name), ledger)


@pytest.mark.parametrize("options", [{"delimiter": "||"}, {"delimiter": ""}, {"timezone": "Mars"}])
def test_what_cannot_be_meant_is_a_usage_error(tmp_path: Path, ledger: str, options: dict[str, str]) -> None:
    """Said before anything is read."""
    with pytest.raises(typer.BadParameter):
        run(written(tmp_path / "jobs.txt", HEADER), ledger, **options)


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path, ledger: str) -> None:
    """A name in another encoding, and a line without end."""
    path = tmp_path / "jobs.txt"
    path.write_bytes(f"{HEADER}\n{JOB}".encode() + b"\xff\xfe\n" + b"x" * 3_000_000)

    run(str(path), ledger)

    assert ["train\ufffd\ufffd"] == [job.facts.name for job in jobs_in(ledger)]


def test_accounting_may_write_meanwhile(tmp_path: Path, ledger: str) -> None:
    """The ledger is not locked for anybody."""
    store = open_store(ledger)

    run(written(tmp_path / "jobs.txt", HEADER, JOB), ledger)

    with store.writing() as connection:
        assert 1 == len(list(records_where(connection, tables.records.c.job_id == "7")))
    store.close()


def test_more_lines_than_a_batch_are_all_imported(tmp_path: Path, ledger: str) -> None:
    """With what 20,000 jobs have in their fields."""
    lines = [
        f"{number}|{number}|COMPLETED|2026-01-02T00:00:00|2026-01-02T01:00:00|2026-01-02T03:00:00"
        f"|billing=100,cpu=16,gres/gpu:h100=4,gres/gpu=4,mem=320.5G,node=2|user{number % 99}|ml|train-{number}"
        for number in range(20_000)
    ]
    file = written(tmp_path / "jobs.txt", HEADER, *lines)

    run(file, ledger)

    assert 20_000 == len(jobs_in(ledger))


TABLE = "account,user,resource,amount,unit,starts,ends,parent"


def take(file: str, ledger: str, **options: Any) -> None:
    allocations(file, **{"timezone": "UTC", "ledger": ledger, **options})


def test_a_table_of_allocations_becomes_grants(
    tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours to seconds; the last day of a period is part of it; nothing is no limit."""
    file = written(
        tmp_path / "a.csv", TABLE, "ml,,gres/gpu,5000,,2026-10-01,2026-12-31,root",
        "ml,ada,GRES/GPU,90,min,,,", '"ph,ys",,billing,,,,,', "",
    )  # fmt: skip
    seen = Path(file).stat().st_mtime

    take(file, ledger)

    first, second, third = grants_in(ledger)
    assert Grant(
        "default", "ml", "", "gres/gpu", 5000 * HOUR, None, seen, "root",
        starts=at("2026-10-01"), ends=at("2027-01-01"), source="csv",
    ) == first  # fmt: skip
    assert ("ada", 5400.0, None) == (second.user, second.limit_seconds, second.starts)
    assert ("ph,ys", None) == (third.account, third.limit_seconds)
    assert "3 allocations taken from" in capsys.readouterr().out


def test_periods_stand_beside_each_other(tmp_path: Path, ledger: str) -> None:
    """One quarter does not replace another; the same file again changes nothing."""
    rows = ("ml,,gres/gpu,10,,2026-07-01,2026-09-30,", "ml,,gres/gpu,20,,2026-10-01,2026-12-31,")
    file = written(tmp_path / "a.csv", TABLE, *rows)
    take(file, ledger)
    before = dump(ledger)

    take(file, ledger)

    assert [10 * HOUR, 20 * HOUR] == [each.limit_seconds for each in grants_in(ledger)]
    assert before == dump(ledger)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("account,amount", "ml,5"), "lacks resource"),
        (("account,resource,amount,colour", "ml,cpu,5,red"), "has 'colour'"),
        (("account,resource,amount,amount", "ml,cpu,5,5"), "each once"),
        ((TABLE, "ml,,cpu,lots,,,,"), "line 2: amount 'lots' is no number"),
        ((TABLE, "ml,,cpu,-5,,,,"), "line 2: amount '-5' is no number"),
        ((TABLE, "ml,,cpu,nan,,,,"), "line 2: amount 'nan' is no number"),
        ((TABLE, "ml,,cpu,5,days,,,"), "line 2: unknown unit 'days'; there is: h"),
        ((TABLE, "ml,,cpu,5,,soon,,"), "line 2: 'soon' is no time"),
        ((TABLE, "ml,,cpu,5,,2026-02-01,2026-01-01,"), "line 2: a number is out of range"),
        ((TABLE, ",,cpu,5,,,,"), "line 2: account or resource is empty"),
        ((TABLE, "ml,,cpu,5,,,,", "ml,,cpu,6,,,,"), "account 'ml' has 'cpu' of one period twice"),
        ((TABLE, '"ml,,cpu,5,,,,'), "line 2"),
        ((), "lacks account"),
    ],
)
def test_a_table_with_a_mistake_is_not_taken_at_all(
    tmp_path: Path, ledger: str, lines: tuple[str, ...], message: str
) -> None:
    """Half of a table is another table."""
    file = written(tmp_path / "a.csv", *lines)

    with pytest.raises(Rejected, match=message):
        take(file, ledger)
    assert not Path(ledger).exists()


def test_every_mistake_is_told_at_once(tmp_path: Path, ledger: str) -> None:
    """As far as anybody reads them."""
    file = written(tmp_path / "a.csv", TABLE, *(["ml,,cpu,lots,,,,"] * 30))

    with pytest.raises(Rejected) as refused:
        take(file, ledger)

    lines = str(refused.value).splitlines()
    assert (21, f"{file}: and 10 more") == (len(lines), lines[-1])


def test_allocations_from_standard_input(ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are as of now."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{TABLE}\nml,,cpu,1,,,,\n".encode())))

    take("-", ledger)

    (found,) = grants_in(ledger)
    assert abs(time.time() - found.seen) < 60
