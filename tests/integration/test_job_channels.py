"""What jobs say beside the socket, to a real agent: over HTTP with their token, and in files of their own."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.agent.tokens import job_token
from tests.cli.command import environment, start
from tests.faults.running import Node
from tests.integration.debian import wait_until

pytestmark = pytest.mark.integration

SECRET = b"a secret of the cluster"
MORE = """\
devices = ["demo"]
jobs = ["local"]
jobs_directory = "{folder}/jobs"
{tokens}
"""
TOKENS = 'job_token_file = "{folder}/secret"'


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A real agent with simulated devices, whose jobs may speak over HTTP."""
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    (tmp_path / "jobs").mkdir(mode=0o755)
    started = Node(tmp_path, None, more=MORE.format(folder=tmp_path, tokens=TOKENS.format(folder=tmp_path)))
    yield started
    started.close()


@pytest.fixture
def job(node: Node) -> Iterator[str]:
    """A job that is running there, by its id."""
    command = ("sh", "-c", "echo $GPUWATCH_JOB_ID; exec sleep 60")
    variables = environment(GPUWATCH_ESTIMATE="device-hours=3 energy=1kWh")
    with start("run", "--socket", str(node.folder / "agent.sock"), "--", *command, env=variables) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def post(node: Node, path: str, message: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
    """Say something over HTTP: the status and the reply."""
    request = urllib.request.Request(
        f"{node.url}/api/v1/jobs/{path}", json.dumps(message).encode(), {"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.loads(exc.read())


def told(node: Node, job_id: str) -> tuple[set[tuple[str, str]], dict[str, Any]]:
    """What accounting would be told of a job: its declarations, and how far it is."""
    document = node.usage()
    declared = {
        (each["channel"], each["text"].strip()) for each in document["declarations"] if each["job_id"] == job_id
    }
    events = [each for each in document["events"] if each.get("job_id") == job_id and each["kind"] == "progress"]
    return declared, events[0] if events else {}


def test_job_speaks_by_environment_token_and_files(node: Node, job: str) -> None:
    """Each through its channel, and none but its own."""
    token = job_token(SECRET, job)
    assert (200, {"job_id": job, "ratio": 0.25, "ok": True}) == post(
        node, f"{job}/progress", {"step": 1, "total": 4}, token
    )
    assert 200 == post(node, f"{job}/declare", {"text": "device-hours=2"}, token)[0]
    assert 401 == post(node, "42/declare", {"text": "device-hours=1"}, token)[0]
    own = node.folder / "jobs" / job
    own.mkdir(mode=0o750)
    (own / "declare").write_text("wall=2h\n")
    (own / "progress.1").write_text('{"step":3,"total":4}')
    (own / "progress.1").replace(own / "progress")

    wait_until(lambda: told(node, job)[1].get("step") == 3.0, 20.0, "the file is read")
    expected = {
        ("environment", "device-hours=3 energy=1kWh"), ("socket", "device-hours=2"), ("file", "wall=2h"),
    }  # fmt: skip
    wait_until(lambda: told(node, job)[0] == expected, 20.0, "all declarations are told")
    metrics = node.metrics()
    counted = {
        kind: metrics.sum("gpuwatch_agent_socket_requests_total", f'type="{kind}",outcome="ok"')
        for kind in ("http", "file", "declare")
    }
    assert {"http": 2.0, "file": 2.0, "declare": 1.0} == counted


def test_agent_without_a_secret_has_no_such_paths(tmp_path: Path) -> None:
    """As for everything that is not there."""
    (tmp_path / "jobs").mkdir()
    node = Node(tmp_path, None, more=MORE.format(folder=tmp_path, tokens=""))
    try:
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            urllib.request.urlopen(f"{node.url}/api/v1/jobs/42/progress", b"{}", timeout=10)
        refused.value.close()
    finally:
        node.close()
