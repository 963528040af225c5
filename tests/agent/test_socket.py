"""The agent's socket: real connections to a real socket, with a made-up agent behind it."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.agent.messages import Declare, Ping, ReportProgress
from gpuwatch.agent.socket import BURST, CONNECTIONS, LINE_BYTES, Bucket, JobSocket, Message, Peer
from gpuwatch.errors import DeclarationError, Forbidden, Locked, Rejected, Unavailable
from gpuwatch.jobs import proc
from tests.agent.listener import Listener, eventually, listening
from tests.jobs.procfs import FakeProcfs


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listener]:
    """A socket that serves."""
    with listening(tmp_path / "run" / "agent.sock") as listener:
        yield listener


def connect(agent: Listener) -> socket.socket:
    """A connection that does not wait for ever."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5.0)
    connection.connect(agent.path)
    return connection


def replies(connection: socket.socket, count: int = 1) -> list[dict[str, Any]]:
    """The next replies; fewer where the connection is closed before."""
    received = b""
    while received.count(b"\n") < count and (more := connection.recv(65536)):
        received += more
    return [json.loads(line) for line in received.splitlines()]


def ask(agent: Listener, *lines: bytes) -> list[dict[str, Any]]:
    """Send lines over a connection of their own."""
    with connect(agent) as connection:
        connection.sendall(b"".join(line + b"\n" for line in lines))
        return replies(connection, len(lines))


def test_message_reaches_the_agent_and_its_reply_the_job(agent: Listener) -> None:
    """One line in, one line out; the peer is who the kernel says."""
    assert ask(agent, b'{"type":"run","name":"x"}') == [{"ok": True, "job_id": "run-1"}]

    me = proc.stat("/proc", os.getpid())
    assert me is not None
    assert Peer(os.getpid(), me.start, os.getuid(), os.getgid()) == agent.heard[0][0]


def test_connection_is_kept_and_replies_are_in_order(agent: Listener) -> None:
    """Several lines at once, and a line in pieces."""
    with connect(agent) as connection:
        connection.sendall(b'{"type":"ping"}\n{"type":"progress","step":1}\nnonsense\n{"type":"pi')
        assert [reply["ok"] for reply in replies(connection, 3)] == [True, True, False]
        connection.sendall(b'ng"}\n')
        assert replies(connection) == [{"ok": True}]
    assert [Ping(), ReportProgress(1.0), Ping()] == agent.messages


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (Rejected("progress: no"), "rejected"),
        (DeclarationError("energy: no"), "rejected"),
        (Forbidden("process: no"), "forbidden"),
        (Unavailable("device: not now"), "unavailable"),
    ],
)
def test_refusal_of_the_agent_is_the_reply(agent: Listener, refusal: Rejected, outcome: str) -> None:
    """With its message, and counted; the connection stays."""
    agent.refusal = refusal

    expected = {"ok": False, "outcome": outcome, "error": str(refusal)}
    assert [expected, expected] == ask(agent, b'{"type":"ping"}', b'{"type":"ping"}')
    assert {("ping", outcome): 2.0, ("connection", "ok"): 1.0} == agent.socket.counters()


def test_long_refusal_is_cut(agent: Listener) -> None:
    """What the agent quotes may be long."""
    agent.refusal = Rejected("x" * 50_000)

    assert len(ask(agent, b'{"type":"ping"}')[0]["error"]) == 1000


@pytest.mark.parametrize(
    "line", [b"", b"\x00\x01\xff", b"[]", b'{"type":5}', b"[" * 60_000, b'{"type":"ping","uid":0}']
)
def test_malformed_line_is_refused_and_the_next_is_served(agent: Listener, line: bytes) -> None:
    """A helpful reply, never a crash."""
    refused, served = ask(agent, line, b'{"type":"ping"}')

    assert (refused["ok"], refused["outcome"], served["ok"]) == (False, "rejected", True)
    assert agent.socket.counters()["invalid", "rejected"] == 1.0


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_line_that_is_too_long_ends_its_connection_only(agent: Listener, end: bytes) -> None:
    """Whether it ends or not, no more than that is kept of it."""
    with connect(agent) as other, connect(agent) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"x" * (3 * LINE_BYTES) + end)
        assert replies(connection)[0]["outcome"] == "oversize"
        other.sendall(b'{"type":"ping"}\n')
        assert replies(other) == [{"ok": True}]
    assert agent.socket.counters()["invalid", "oversize"] == 1.0


def test_line_of_just_the_limit_is_served(agent: Listener) -> None:
    """64 kB are allowed."""
    line = b'{"type":"ping"}'.ljust(LINE_BYTES)

    assert ask(agent, line) == [{"ok": True}]


def test_too_many_messages_of_a_user_are_refused_and_counted(agent: Listener) -> None:
    """The burst passes; then the reason is said, and the connection closed."""
    with connect(agent) as connection:
        connection.sendall(b'{"type":"ping"}\n' * 60)
        answers = replies(connection, 60)

    passed = [answer for answer in answers if answer["ok"]]
    assert BURST <= len(passed) <= BURST + 2
    assert answers[-1]["outcome"] == "rate_limited"
    assert agent.socket.counters()["invalid", "rate_limited"] == 1.0


@given(st.lists(st.floats(0, 3), max_size=200))
def test_bucket_passes_no_more_than_burst_and_rate(pauses: list[float]) -> None:
    """Over any sequence of messages: at most burst + rate × time."""
    bucket = Bucket(rate=20.0, burst=50.0, tokens=50.0, filled_at=0.0)
    now, passed = 0.0, 0

    for pause in pauses:
        now += pause
        passed += bucket.take(now)
    assert passed <= 50 + 20 * now + 1e-6


def test_bucket_fills_up_and_is_then_like_new() -> None:
    """After burst / rate seconds nothing is left to remember."""
    bucket = Bucket(rate=20.0, burst=2.0, tokens=2.0, filled_at=0.0)

    assert [bucket.take(now) for now in (0.0, 0.0, 0.0, 0.06)] == [True, True, False, True]
    assert [bucket.full(now) for now in (0.07, 0.2)] == [False, True]


def test_busiest_user_makes_room_for_a_new_connection(agent: Listener) -> None:
    """The one that was silent longest goes; the others are served."""
    connections = [connect(agent) for _ in range(CONNECTIONS)]
    assert eventually(lambda: agent.socket.counters().get(("connection", "ok")) == CONNECTIONS)
    connections[0].sendall(b'{"type":"ping"}\n')
    assert replies(connections[0]) == [{"ok": True}]

    connections.append(connect(agent))
    for each in (connections[0], connections[-1]):
        each.sendall(b'{"type":"ping"}\n')
        assert replies(each) == [{"ok": True}]
    assert connections[1].recv(1) == b""
    assert agent.socket.counters()["connection", "evicted"] == 1.0
    for each in connections:
        each.close()


@pytest.mark.parametrize("said", [b"", b'{"type":'])
def test_silent_connection_is_closed(tmp_path: Path, said: bytes) -> None:
    """Half a line is silence, too."""
    agent = Listener(tmp_path / "s")
    agent.socket = JobSocket(agent.path, agent.handle, idle_seconds=0.05)
    agent.socket.start()
    try:
        with connect(agent) as connection:
            connection.sendall(said)
            assert connection.recv(1) == b""
    finally:
        agent.socket.stop()
    assert agent.socket.counters()["connection", "idle"] == 1.0


def test_who_reads_no_replies_is_not_read_from(agent: Listener) -> None:
    """What is kept for it is bounded, and the others are served."""
    with connect(agent) as deaf:
        deaf.setblocking(False)
        with suppress(OSError):
            for _ in range(100_000):
                deaf.send(b"x\n" * 1000)
        assert ask_when_allowed(agent) == [{"ok": True}]


def ask_when_allowed(agent: Listener) -> list[dict[str, Any]]:
    """Ping until the rate limit lets it pass."""
    answers: list[dict[str, Any]] = []
    assert eventually(
        lambda: bool(answers.clear() or answers.extend(ask(agent, b'{"type":"ping"}')) or answers[0]["ok"])
    )
    return answers


def test_mistake_of_the_agent_ends_one_connection_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bug behind the socket is logged, and the next job is served."""

    def handle(peer: Peer, message: Message) -> Mapping[str, Any]:
        if isinstance(message, Declare):
            raise ZeroDivisionError("a bug")
        return {}

    path = tmp_path / "s"
    agent = Listener(path)
    agent.socket = JobSocket(str(path), handle)
    agent.socket.start()
    try:
        assert ask(agent, b'{"type":"declare","text":"x"}') == []
        assert ask(agent, b'{"type":"ping"}') == [{"ok": True}]
    finally:
        agent.socket.stop()
    assert "a bug" in caplog.text
    assert agent.socket.counters()["invalid", "error"] == 1.0


def test_process_that_the_agent_cannot_see_may_only_ping(tmp_path: Path) -> None:
    """In another pid namespace, or gone before it was looked at: whose word it is cannot be known."""
    agent = Listener(tmp_path / "s")
    agent.socket = JobSocket(agent.path, agent.handle, procfs=str(tmp_path / "empty"))
    agent.socket.start()
    try:
        ping, progress = ask(agent, b'{"type":"ping"}', b'{"type":"progress","step":1}')
    finally:
        agent.socket.stop()

    assert (ping["ok"], progress["outcome"]) == (True, "forbidden")
    assert "cannot see" in progress["error"]
    assert agent.heard == []


def test_process_that_took_over_the_pid_may_say_nothing(tmp_path: Path) -> None:
    """A connection can outlive the process that made it, in a child; its word is then nobody's."""
    procfs = FakeProcfs(tmp_path / "proc")
    procfs.add(os.getpid(), start=1000)
    agent = Listener(tmp_path / "s")
    agent.socket = JobSocket(agent.path, agent.handle, procfs=str(procfs.root))
    agent.socket.start()
    try:
        with connect(agent) as connection:
            connection.sendall(b'{"type":"ping"}\n')
            assert replies(connection) == [{"ok": True}]
            procfs.add(os.getpid(), start=2000)
            connection.sendall(b'{"type":"ping"}\n')
            assert replies(connection)[0]["outcome"] == "forbidden"
    finally:
        agent.socket.stop()
    assert [peer.pid_start for peer, _ in agent.heard] == [1000]


def test_everybody_may_connect_whatever_the_umask(tmp_path: Path) -> None:
    """The kernel says who it is; a missing directory is made so that all users get through."""
    before = os.umask(0o077)
    try:
        with listening(tmp_path / "new" / "agent.sock") as agent:
            modes = [stat.S_IMODE(each.stat().st_mode) for each in (Path(agent.path), Path(agent.path).parent)]
    finally:
        os.umask(before)
    assert modes == [0o666, 0o755]


def test_socket_file_of_a_dead_agent_is_replaced(tmp_path: Path) -> None:
    """Nobody listens there any more."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "s"))
    dead.close()

    with listening(tmp_path / "s") as agent:
        assert ask(agent, b'{"type":"ping"}') == [{"ok": True}]


def test_socket_of_a_living_agent_is_left_alone(agent: Listener) -> None:
    """The second agent is told, and the first goes on."""
    with pytest.raises(Locked, match="another agent"):
        JobSocket(agent.path, agent.handle).start()

    assert ask(agent, b'{"type":"ping"}') == [{"ok": True}]


def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A mistyped path must not cost anybody a file."""
    (tmp_path / "s").write_text("precious")

    with pytest.raises(Unavailable, match="no socket"):
        JobSocket(str(tmp_path / "s"), Listener(tmp_path).handle).start()
    assert (tmp_path / "s").read_text() == "precious"


@pytest.mark.parametrize("name", ["x" * 120, "file/s"])
def test_path_that_cannot_be_used_is_unavailable(tmp_path: Path, name: str) -> None:
    """Too long for a socket, or below a file: the message names the path and the setting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(Unavailable, match=r"agent\.socket"):
        JobSocket(str(tmp_path / name), Listener(tmp_path).handle).start()


def test_stop_closes_everything_and_removes_the_file(tmp_path: Path) -> None:
    """And twice is as good as once."""
    threads = threading.active_count()
    with listening(tmp_path / "s") as agent:
        connection = connect(agent)
    agent.socket.stop()

    assert (False, threads) == ((tmp_path / "s").exists(), threading.active_count())
    assert connection.recv(1) == b""
    connection.close()


def test_stop_leaves_the_file_of_a_successor(tmp_path: Path) -> None:
    """Somebody removed the file and another agent made its own."""
    with listening(tmp_path / "s") as agent:
        (tmp_path / "s").unlink()
        with listening(tmp_path / "s") as successor:
            agent.socket.stop()
            assert ask(successor, b'{"type":"ping"}') == [{"ok": True}]


@pytest.mark.integration
def test_peer_is_the_process_that_connected() -> None:
    """Not its parent, and not whom it claims to be: where this test is root, the child is another user."""
    code = (
        "import os, socket, sys\n"
        "if os.getuid() == 0: os.setgid(65534), os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        's.sendall(b\'{"type":"ping"}\\n\'); s.recv(100)\n'
    )
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        with listening(Path(directory, "s")) as agent:
            child = subprocess.Popen([sys.executable, "-c", code, agent.path])
            assert child.wait(10) == 0

    peer, _ = agent.heard[0]
    assert (child.pid, 65534 if os.getuid() == 0 else os.getuid()) == (peer.pid, peer.uid)


@pytest.mark.integration
def test_many_jobs_at_once_are_all_served(agent: Listener) -> None:
    """Threads as jobs: every message gets its own reply."""

    def speak(number: int) -> None:
        with connect(agent) as connection:
            for step in range(4):
                connection.sendall(json.dumps({"type": "progress", "step": number * 10 + step}).encode() + b"\n")
                served.append(replies(connection)[0]["ok"])

    served: list[bool] = []
    threads = [threading.Thread(target=speak, args=(number,)) for number in range(12)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert served == [True] * 48
    assert {number * 10 + step for number in range(12) for step in range(4)} == {
        int(message.step) for message in agent.messages if isinstance(message, ReportProgress)
    }
    assert time.monotonic() - began < 5
