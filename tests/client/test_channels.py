"""The ways beside the socket: files of the job's directory, and HTTP with the job's token."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from gpuwatch_client import channels

from gpuwatch.errors import Forbidden
from tests.agent.listener import Listener, eventually, listening
from tests.client.test_client import BLOCKING_SECONDS, MODULE, fresh

NAMES = ("GPUWATCH_PROGRESS_FILE", "GPUWATCH_JOB_DIRECTORY", "GPUWATCH_URL", "GPUWATCH_JOB_ID", "GPUWATCH_TOKEN",
         "GPUWATCH_TOKEN_FILE", "SLURM_JOB_ID", "http_proxy", "HTTP_PROXY")  # fmt: skip


class Port(ThreadingHTTPServer):
    """An agent's port with made-up answers; it remembers each request as path, token and message."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.status, self.answer = 200, b'{"ok":true}'
        self.silent_until: threading.Event | None = None
        super().__init__(("127.0.0.1", 0), _Request)

    @property
    def url(self) -> str:
        """As GPUWATCH_URL has it."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Request(BaseHTTPRequestHandler):
    server: Port

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        message = json.loads(self.rfile.read(length))
        self.server.requests.append((self.path, self.headers["Authorization"], message))
        if self.server.silent_until is not None:
            self.server.silent_until.wait(5)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        """The test's output stays its own."""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The module of a process that finds no socket."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPUWATCH_SOCKET", str(tmp_path / "s"))
    with fresh() as module:
        yield module


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of this process's job."""
    path = tmp_path / "job"
    path.mkdir()
    monkeypatch.setenv("GPUWATCH_JOB_DIRECTORY", str(path))
    return path


@pytest.fixture
def port(client: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    """An agent's port, and the environment that leads there."""
    with Port() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("GPUWATCH_URL", server.url)
        monkeypatch.setenv("GPUWATCH_JOB_ID", "123456")
        monkeypatch.setenv("GPUWATCH_TOKEN", "secret")
        yield server
        server.shutdown()
        thread.join()


def test_progress_goes_into_the_jobs_directory(
    client: ModuleType, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, readable for the agent whatever the umask is, and nothing beside it; nothing is said."""
    before = os.umask(0o077)
    try:
        client.progress(1, total=10)
        client.progress(10)
    finally:
        os.umask(before)

    (file,) = directory.iterdir()
    document = json.loads(file.read_text())
    assert ("progress", 0o644) == (file.name, stat.S_IMODE(file.stat().st_mode))
    assert (10, 10) == (document["step"], document["total"])
    assert "" == capfd.readouterr().err


def test_directory_of_a_slurm_job_is_found_at_its_usual_place(
    client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a variable but Slurm's own."""
    monkeypatch.setattr(channels, "JOBS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    (tmp_path / "77").mkdir()
    client.progress(5, total=5)

    assert ["progress"] == [each.name for each in (tmp_path / "77").iterdir()]


@pytest.mark.parametrize("job", ["", "../77", "/77"])
def test_job_id_that_is_no_name_leads_nowhere(monkeypatch: pytest.MonkeyPatch, job: str) -> None:
    """It would lead out of the directory."""
    monkeypatch.delenv("GPUWATCH_JOB_DIRECTORY", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", job)

    assert "" == channels.job_directory()


def test_declaration_goes_into_the_jobs_directory(client: ModuleType, directory: Path) -> None:
    """A second one is added to the first, so that neither is lost to a reader that comes by now and then."""
    assert client.declare(device_hours=640, tags={"model": "a", "data": "c4"})
    assert client.declare(device_hours=700, campaign="x", tags={"model": "b"})

    text = (directory / "declare").read_text()
    assert "tag=data:c4 device-hours=700 campaign=x tag=model:b\n" == text


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ("", "wall=1h", "wall=1h"),
        ("wall=2h energy=1kWh", "wall=1h", "energy=1kWh wall=1h"),
        ("wall=2h", "wall=1h for=campaign:x", "wall=1h for=campaign:x"),
        ("wall=2h for=campaign:x", "cost=1EUR for=campaign:x", "wall=2h cost=1EUR for=campaign:x"),
        ("wall=2h for=campaign:x", "cost=1EUR", "cost=1EUR"),
        ("tag=a:1 tag=b:1", "tag=a:2", "tag=b:1 tag=a:2"),
    ],
)
def test_words_take_the_place_of_those_about_the_same(before: str, words: str, after: str) -> None:
    """Amounts for another scope would become this one's."""
    assert after == channels.words_with(before, words)


def test_declaration_is_written_beside_the_progress_file(
    client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One variable is enough for both."""
    monkeypatch.setenv("GPUWATCH_PROGRESS_FILE", str(tmp_path / "progress"))

    assert client.declare("wall=2d")
    assert "wall=2d\n" == (tmp_path / "declare").read_text()


@pytest.mark.parametrize("by_file", [False, True])
def test_progress_and_declaration_are_posted_with_the_jobs_token(
    client: ModuleType, port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_file: bool
) -> None:
    """The last step before the call returns; a token file comes before a token in the environment."""
    if by_file:
        (tmp_path / "token").write_text("of-the-file\n")
        monkeypatch.setenv("GPUWATCH_TOKEN_FILE", str(tmp_path / "token"))
    assert client.declare(device_hours=640) is True
    client.progress(10, total=10)

    assert eventually(lambda: len(port.requests) == 2)
    token = "Bearer of-the-file" if by_file else "Bearer secret"
    assert [
        ("/api/v1/jobs/123456/declare", token, {"text": "device-hours=640"}),
        ("/api/v1/jobs/123456/progress", token, {"step": 10, "total": 10, "pid": os.getpid()}),
    ] == port.requests


def test_file_that_cannot_be_written_leaves_http(
    client: ModuleType, port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume that is gone is no reason to go quiet."""
    monkeypatch.setenv("GPUWATCH_PROGRESS_FILE", str(tmp_path / "missing" / "progress"))
    client.progress(10, total=10)

    assert eventually(lambda: ["/api/v1/jobs/123456/progress"] == [path for path, _, _ in port.requests])
    assert client.declare(wall="1h") is True


def test_server_that_does_not_answer_holds_nothing_up(client: ModuleType, port: Port) -> None:
    """Reports meanwhile are dropped, and the latest is posted once it answers again."""
    port.silent_until = threading.Event()
    client.progress(1, total=9)
    began = time.monotonic()
    for step in (2, 3, 9):
        client._current._due_at = 0.0
        client.progress(step)
    took = time.monotonic() - began
    port.silent_until.set()

    assert took < BLOCKING_SECONDS
    assert eventually(lambda: [1, 9] == [message["step"] for _, _, message in port.requests])


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (401, b'{"ok":false,"outcome":"forbidden","error":"token: wrong"}', "progress is refused: token: wrong"),
        (404, b"no", "answers 404, but is not gpuwatch's agent"),
        (302, b"", "answers 302"),
        (200, b"[]", "answers 200"),
    ],
)
def test_answer_that_is_no_yes_is_said_once(
    client: ModuleType, port: Port, capfd: pytest.CaptureFixture[str], status: int, answer: bytes, told: str
) -> None:
    """With the agent's words, where it is one."""
    port.status, port.answer = status, answer
    client.progress(8, total=9)
    client.progress(9)

    assert eventually(lambda: len(port.requests) == 2)
    client._current._courier.wait(5)
    said = capfd.readouterr().err.splitlines()
    assert (1, True) == (len(said), told in said[0])


def test_refused_declaration_over_http_is_a_value_error(client: ModuleType, port: Port) -> None:
    """As at the socket."""
    port.status, port.answer = 400, b'{"ok":false,"outcome":"rejected","error":"energy: no unit"}'

    with pytest.raises(ValueError, match="energy: no unit"):
        client.declare(energy=450)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("GPUWATCH_URL", "gpu-node-07", "no address as http://"),
        ("GPUWATCH_URL", "http://[::1", "no address as http://"),
        ("GPUWATCH_URL", "http://127.0.0.1:99999", "no address as http://"),
        ("GPUWATCH_URL", "http://127.0.0.1:1", "refused"),
        ("GPUWATCH_URL", "http://", "no agent at http://"),
        ("GPUWATCH_JOB_ID", "", "without GPUWATCH_JOB_ID"),
        ("GPUWATCH_TOKEN", "", "GPUWATCH_TOKEN_FILE"),
        ("GPUWATCH_TOKEN", "a\r\nb", "no line of plain text"),
        ("GPUWATCH_TOKEN_FILE", "/nowhere", "No such file"),
    ],
)
def test_environment_that_is_wrong_is_said_and_raises_nothing(
    client: ModuleType, port: Port, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    variable: str, value: str, told: str,
) -> None:  # fmt: skip
    """Neither into the training nor out of a declaration; and a token is never shown."""
    monkeypatch.setenv(variable, value)
    client.progress(9, total=9)
    assert client.declare(wall="1h") is False

    client._current._courier.wait(5)
    said = capfd.readouterr().err.splitlines()
    assert [True, True] == [told in each for each in said]
    assert "secret" not in "".join(said)


def test_process_that_the_agent_cannot_see_takes_another_way(
    client: ModuleType, directory: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A mounted socket is no use where the agent cannot tell whose process speaks; its directory is."""
    with listening(tmp_path / "s") as agent:
        agent.refusal = Forbidden("process: cannot be seen")
        assert client.declare(wall="1h") is True
        client.progress(9, total=9)

        assert {"declare", "progress"} == {each.name for each in directory.iterdir()}
        assert "" == capfd.readouterr().err
        client.progress(3)
        client.flush()
    assert 3 == json.loads((directory / "progress").read_text())["step"]


def test_unreachable_agent_is_said_once_with_what_to_mount(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was tried, and the words for each kind of container."""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    for step in range(3):
        client.progress(step, total=2)

    (said,) = capfd.readouterr().err.splitlines()
    for part in (
        "no directory /run/gpuwatch-jobs/77", "no GPUWATCH_URL", "-v /run/gpuwatch:/run/gpuwatch",
        "--bind /run/gpuwatch", "hostPath /run/gpuwatch", "GPUWATCH_TOKEN_FILE",
    ):  # fmt: skip
        assert part in said


def test_socket_comes_before_the_other_ways(
    client: ModuleType, port: Port, directory: Path, tmp_path: Path
) -> None:
    """They are for where there is none."""
    with listening(tmp_path / "s") as agent:
        assert client.declare(wall="1h") is True
        client.progress(9, total=9)

        assert 2 == len(agent.messages)
    assert ([], []) == (port.requests, list(directory.iterdir()))


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code that may import the client and finds no socket."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(MODULE.parents[1]), "GPUWATCH_SOCKET": "/nowhere/s", **environment},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


@pytest.mark.integration
def test_report_held_back_is_posted_at_exit_and_children_post_their_own(port: Port) -> None:
    """After a fork the thread of the parent is not there."""
    code = (
        "import os\nfrom gpuwatch_client import flush, progress\n"
        "progress(1, total=9); progress(2)\n"
        "child = os.fork()\n"
        "if child == 0:\n    progress(3); progress(4); flush(); os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    finished = python(code, GPUWATCH_URL=port.url, GPUWATCH_JOB_ID="7", GPUWATCH_TOKEN="t")

    assert (0, "") == (finished.returncode, finished.stderr)
    steps = [message["step"] for _, _, message in port.requests]
    assert ([1, 2], [3, 4], {9}) == (
        [each for each in steps if each in (1, 2)], [each for each in steps if each in (3, 4)],
        {message["total"] for _, _, message in port.requests},
    )  # fmt: skip


@pytest.mark.integration
def test_server_that_hangs_up_kills_no_training_with_lethal_sigpipe() -> None:
    """The thread that posts gets no signals: not SIGPIPE, and none that the training waits for."""
    code = (
        "import signal, sys, time, os\nfrom gpuwatch_client import channels, progress\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "courier = channels.Courier(print)\n"
        "out, into = os.pipe(); os.close(out)\n"
        "seen = []\n"
        "courier.send(lambda: seen.append(os.write(into, b'x')))\n"
        "courier.wait(5)\n"
        "print('trained')\n"
    )
    finished = python(code)

    assert (0, "[Errno 32] Broken pipe\ntrained\n") == (finished.returncode, finished.stdout)


@pytest.mark.integration
def test_process_ends_at_once_while_its_server_is_silent() -> None:
    """It waits 50 ms for the report to arrive, not for the server."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        began = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        finished = python(
            "from gpuwatch_client import progress; progress(1, 9)",
            GPUWATCH_URL=url, GPUWATCH_JOB_ID="7", GPUWATCH_TOKEN="t",
        )  # fmt: skip

        assert (0, True) == (finished.returncode, time.monotonic() - began < 1.5)


def test_file_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """As one that is a mount of its own."""
    (tmp_path / "progress").mkdir()
    with pytest.raises(OSError, match="directory"):
        channels.replace(str(tmp_path / "progress"), b"{}")

    assert ["progress"] == os.listdir(tmp_path)


def test_task_that_takes_too_long_is_an_os_error() -> None:
    """A resolver knows no time limit."""
    forever = threading.Event()

    with pytest.raises(OSError, match=r"no answer within 0\.01 seconds"):
        channels.within(0.01, lambda: forever.wait(5))
    forever.set()


def test_listener_is_what_the_other_tests_say(tmp_path: Path) -> None:
    """`ask` of the channels is the one of the package."""
    with listening(tmp_path / "s") as agent:
        assert isinstance(agent, Listener)
        assert {"ok": True} == channels.ask(agent.path, {"type": "declare", "text": "wall=1h"})
