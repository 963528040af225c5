"""The job_submit example for Slurm, by itself: what it counts, and what it takes for a declaration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from gpuwatch.declaration import from_comment
from gpuwatch.errors import DeclarationError
from tests.deploy.chart import REPOSITORY
from tests.deploy.lua import Lua

SCRIPT = REPOSITORY / "deploy" / "slurm" / "job_submit.lua"
SLURM = """\
said, logged = "", ""
slurm = {SUCCESS = 0, ERROR = -1}
function slurm.log_user(form, ...) said = said .. string.format(form, ...) end
function slurm.log_info(form, ...) logged = logged .. string.format(form, ...) end
"""
PARTITIONS = """{
    gpu = {flag_default = 1, default_time = 60, max_time = 0xffffffff},
    long = {flag_default = 0, default_time = 0xfffffffe, max_time = 6000},
    free = {flag_default = 0, default_time = 0xfffffffe, max_time = 0xffffffff},
}"""
NO_VALUE = 0xFFFFFFFE

Submit = Callable[..., tuple[int, str]]


@pytest.fixture
def submit() -> Submit:
    """Submits a job with these fields; the code that Slurm is told, and what the user is told."""
    try:
        lua = Lua()
    except OSError as exc:
        pytest.skip(f"no Lua: {exc}; `sh tests/integration/packages.sh` says why")

    def submitted(refuse: bool = False, **fields: object) -> tuple[int, str]:
        script = SCRIPT.read_text().replace("REFUSE = false", f"REFUSE = {str(refuse).lower()}")
        lua.run(f"{SLURM}\nlocal function file()\n{script}\nend\nfile()")
        answer = lua.run(
            f"local code = slurm_job_submit({_table(fields)}, {PARTITIONS}, 1000)\n"
            "if logged ~= '' then error(logged) end\nreturn code .. ' ' .. said"
        )
        code, _, said = answer.partition(" ")
        return int(code), said

    return submitted


def _table(fields: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in fields.items()) + "}"


def _hours(said: str) -> int | None:
    words = said.split()
    return int(words[words.index("device-hours") - 1]) if "may take" in said else None


@pytest.mark.parametrize(
    ("hours", "fields"),
    [
        (384, {"tres_per_node": "gres:gpu:4", "min_nodes": 2, "time_limit": 2880}),
        (384, {"gres": "gpu:h100:4(S:0-1)", "min_nodes": 2, "time_limit": 2880}),
        (384, {"tres_per_node": "gres/gpu=4", "min_nodes": 2, "time_limit": 2880}),
        (192, {"tres_per_job": "gres:gpu:4", "min_nodes": 4, "time_limit": 2880}),
        (144, {"tres_per_task": "gres/gpu:h100:1", "num_tasks": 3, "time_limit": 2880}),
        (192, {"tres_per_node": "gres:gpu:a100:2,gres:gpu:h100:2", "time_limit": 2880}),
        (400, {"tres_per_node": "gpu:4", "array_inx": "0-99%4", "time_limit": 60}),
        (408, {"tres_per_node": "gpu:4", "array_inx": "0-199:2,7,8%1", "time_limit": 60}),
        (200, {"tres_per_node": "gpu:2", "partition": "long,gpu", "time_limit": NO_VALUE}),
        (120, {"tres_per_node": "gpu", "min_nodes": 120, "time_limit": NO_VALUE}),
    ],
)
def test_large_jobs_that_declare_nothing_are_told_of(
    submit: Submit, hours: int, fields: dict[str, object]
) -> None:
    """Devices of the whole job, times its limit or the partition's, times the elements of an array."""
    code, said = submit(**fields)

    assert (0, hours) == (code, _hours(said))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"time_limit": 999_999},
        {"tres_per_node": "gres:shard:400,gres:gpumem:9", "time_limit": 2880},
        {"tres_per_node": "gpu:1", "time_limit": 6000},
        {"tres_per_node": "gpu:8", "partition": "free", "time_limit": NO_VALUE},
        {
            "tres_per_node": "gpu:8",
            "partition": "not there",
            "time_limit": 2880,
            "comment": "gpuwatch: campaign=a",
        },
        {"tres_per_node": 7, "array_inx": 3, "comment": 5, "partition": 2, "time_limit": "x"},
    ],
)
def test_small_jobs_and_what_cannot_be_worked_out_pass_in_silence(
    submit: Submit, fields: dict[str, object]
) -> None:
    """Also where jobs are refused otherwise."""
    assert (0, "") == submit(refuse=True, **fields)


def test_jobs_are_refused_where_the_site_says_so(submit: Submit) -> None:
    """And taken once they declare something."""
    large = {"tres_per_node": "gpu:8", "time_limit": 2880}

    assert (-1, 384) == ((refused := submit(refuse=True, **large))[0], _hours(refused[1]))
    assert (0, "") == submit(refuse=True, **large, comment="nightly; gpuwatch: device-hours=200..300..380h")


COMMENTS = [
    "gpuwatch: device-hours=640",
    "gpuwatch:device-hours=640h energy=450kWh campaign=llama-ft",
    "x;gpuwatch: wall=36h; y=z",
    "a,gpuwatch: carbon=180kg basis=flops",
    "gpuwatch: cost=1200EUR tag=team:nlp",
    "gpuwatch: for=campaign:llama device-hours=7680",
    "gpuwatch: energy=1..2..3kWh",
    "gpuwatch: device-hours=1e3 charge=5000",
    "gpuwatch: facility-energy=1.5MWh",
    "gpuwatch: device-hour=640",
    "gpuwatch: device-hours=many",
    "gpuwatch: device-hours=-4",
    "gpuwatch: device-hours=0",
    "gpuwatch: device-hours=1d",
    "gpuwatch: energy=450",
    "gpuwatch: energy=1..2..3",
    "gpuwatch: energy=1..2",
    "gpuwatch: hello",
    "gpuwatch: device-hours=",
    "agpuwatch: nothing of ours",
    "gpu watch",
]


@pytest.mark.parametrize("comment", COMMENTS)
def test_what_is_understood_is_what_accounting_understands(submit: Submit, comment: str) -> None:
    """The same comments are declarations, mistakes, or none of ours, as the one parser of gpuwatch says."""
    try:
        found = from_comment(comment)
        expected = "" if found and (found.amounts or found.campaign) else "declares nothing"
    except DeclarationError:
        expected = "is not understood"

    _, said = submit(tres_per_node="gpu:8", time_limit=2880, comment=comment)
    assert (expected in said, expected == "") == (True, said == ""), said
