"""The client module against a real socket: it reports, and whatever happens it leaves the training alone."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.agent.messages import Declare, ReportProgress
from gpuwatch.errors import Forbidden, Rejected
from tests.agent.listener import Listener, eventually, listening

MODULE = Path(__file__).parents[2] / "client" / "gpuwatch_client" / "__init__.py"
BLOCKING_SECONDS = 0.2
"""What a call may take here, on a busy machine; 50 ms is what it waits on purpose."""


@contextmanager
def fresh() -> Iterator[ModuleType]:
    """The module as a new process would have it."""
    spec = importlib.util.spec_from_file_location("fresh_client", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.flush()
    atexit.unregister(module.flush)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The module of a process whose environment names a socket and no file."""
    monkeypatch.setenv("GPUWATCH_SOCKET", str(tmp_path / "s"))
    monkeypatch.delenv("GPUWATCH_PROGRESS_FILE", raising=False)
    with fresh() as module:
        yield module


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listener]:
    """An agent at that socket."""
    with listening(tmp_path / "s") as listener:
        yield listener


def test_progress_reaches_the_agent(client: ModuleType, agent: Listener) -> None:
    """And the total is remembered."""
    client.progress(1, total=10)
    client.progress(10)

    assert eventually(lambda: len(agent.messages) == 2)
    assert [ReportProgress(1.0, 10.0), ReportProgress(10.0, 10.0)] == agent.messages


def test_step_without_a_total_is_sent_as_it_is(client: ModuleType, agent: Listener) -> None:
    """The agent may know the total from elsewhere."""
    client.progress(5)

    assert eventually(lambda: [ReportProgress(5.0, None)] == agent.messages)


def test_reports_are_rate_limited_but_for_the_last_step(client: ModuleType, agent: Listener) -> None:
    """A loop may call at every step; the last step arrives before the call returns."""
    for step in range(1, 1001):
        client.progress(step, total=1000)

    assert [message.step for message in agent.messages if isinstance(message, ReportProgress)] == [1.0, 1000.0]


def test_calls_after_the_last_step_are_rate_limited_again(client: ModuleType, agent: Listener) -> None:
    """A loop that goes on at its total is no reason to send each time."""
    for _ in range(100):
        client.progress(10, total=10)

    assert [ReportProgress(10.0, 10.0)] == agent.messages


def test_call_that_sends_nothing_costs_little(client: ModuleType, agent: Listener) -> None:
    """A few microseconds in a loop."""
    client.progress(0, total=1_000_000)

    began = time.process_time()
    for step in range(10_000):
        client.progress(step)
    assert (time.process_time() - began) / 10_000 < 50e-6


def test_unreachable_agent_is_said_once(client: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """With what would help; and nothing is raised."""
    for step in range(3):
        client.progress(step, total=2)

    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert re.search(r"no agent at .*/s \(.*No such file.*start gpuwatch-agent.*GPUWATCH_PROGRESS_FILE", said[0])


def test_progress_file_takes_over(
    client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One JSON line with the latest report, nothing beside it, and nothing is said."""
    monkeypatch.setenv("GPUWATCH_PROGRESS_FILE", str(tmp_path / "out" / "progress.json"))
    (tmp_path / "out").mkdir()
    client.progress(1, total=10)
    client.progress(10)

    (file,) = (tmp_path / "out").iterdir()
    document = json.loads(file.read_text())
    assert abs(time.time() - document.pop("time")) < 60
    assert {"type": "progress", "step": 10, "total": 10, "pid": os.getpid()} == document
    assert capfd.readouterr().err == ""


def test_socket_comes_before_the_file(
    client: ModuleType, agent: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is for where there is no socket."""
    monkeypatch.setenv("GPUWATCH_PROGRESS_FILE", str(tmp_path / "progress.json"))
    client.progress(10, total=10)

    assert ([ReportProgress(10.0, 10.0)], False) == (agent.messages, (tmp_path / "progress.json").exists())


def test_file_that_cannot_be_written_is_said_once(
    client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And nothing is raised."""
    monkeypatch.setenv("GPUWATCH_PROGRESS_FILE", str(tmp_path / "missing" / "progress.json"))
    client.progress(1, total=2)
    client.progress(2)

    assert capfd.readouterr().err.count("progress is not reported: FileNotFoundError") == 1


def test_program_with_very_many_open_files_reports(
    client: ModuleType, agent: Listener, capfd: pytest.CaptureFixture[str]
) -> None:
    """As one has whose loaders of data hand over descriptors; select() ends at 1023."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, limits[1]), limits[1]))
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        client.progress(9, total=9)
        client.flush()
    finally:
        for each in descriptors:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert "" == capfd.readouterr().err
    assert [ReportProgress(9.0, 9.0)] == agent.messages


def test_agent_that_was_restarted_is_found_again(client: ModuleType, tmp_path: Path) -> None:
    """The old connection is closed; the next report makes a new one."""
    with listening(tmp_path / "s") as agent:
        client.progress(1, total=10)
        assert eventually(lambda: len(agent.messages) == 1)
    with listening(tmp_path / "s") as agent:
        client.progress(10)

        assert [ReportProgress(10.0, 10.0)] == agent.messages


def test_refusal_is_said_once(client: ModuleType, agent: Listener, capfd: pytest.CaptureFixture[str]) -> None:
    """The agent's own words."""
    agent.refusal = Rejected("total: not known yet")
    client.progress(10, total=10)

    assert capfd.readouterr().err == "gpuwatch: progress is refused: total: not known yet\n"


def test_agent_that_hangs_does_not_hold_up_the_training(client: ModuleType, tmp_path: Path) -> None:
    """It listens and never answers: no call waits for it, but for 50 ms at the last step."""
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen(0)
        began = time.monotonic()
        client.progress(1, total=2)
        client.progress(2)

        assert time.monotonic() - began < BLOCKING_SECONDS
        client.flush()


def test_agent_that_has_a_full_queue_does_not_hold_up_the_training(client: ModuleType, tmp_path: Path) -> None:
    """The kernel would let a connect wait; this one does not."""
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as other:
        full.bind(str(tmp_path / "s"))
        full.listen(0)
        other.connect(str(tmp_path / "s"))
        began = time.monotonic()
        client.progress(2, total=2)

        assert time.monotonic() - began < BLOCKING_SECONDS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(
    st.none() | st.floats() | st.integers() | st.text() | st.lists(st.none()),
    st.none() | st.floats() | st.integers() | st.text(),
)
def test_progress_never_raises(client: ModuleType, step: object, total: object) -> None:
    """Whatever it is given."""
    client.progress(step, total)


@pytest.mark.parametrize("step", [float("nan"), -1, "many", None, object()])
def test_what_is_no_number_of_steps_is_said_once(
    client: ModuleType, agent: Listener, capfd: pytest.CaptureFixture[str], step: object
) -> None:
    """And a later number is sent all the same."""
    client.progress(step, total=10)
    client.progress(10, total=10)

    assert [ReportProgress(10.0, 10.0)] == agent.messages
    assert capfd.readouterr().err.count("progress is not reported") == 1


class Tensor:
    """A number on a device: looking at it is dear."""

    looked_at = 0

    def __float__(self) -> float:
        self.looked_at += 1
        return 7.0


def test_tensor_is_looked_at_only_when_it_is_sent(client: ModuleType, agent: Listener) -> None:
    """Not at each step: that would make the training wait for its device."""
    tensor = Tensor()
    for _ in range(100):
        client.progress(tensor, total=10)

    assert eventually(lambda: [ReportProgress(7.0, 10.0)] == agent.messages)
    assert tensor.looked_at == 1


def test_threads_may_report_at_once(client: ModuleType, agent: Listener) -> None:
    """Nothing is raised, and every line arrives whole."""
    threads = [
        threading.Thread(target=lambda n=n: [client.progress(n * 100 + i, total=800) for i in range(100)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.progress(800)

    assert eventually(lambda: ReportProgress(800.0, 800.0) in agent.messages)
    assert agent.socket.counters().keys() == {("connection", "ok"), ("progress", "ok")}


@pytest.mark.parametrize(
    ("arguments", "keywords", "text"),
    [
        (("device-hours=640 energy=450kWh",), {}, "device-hours=640 energy=450kWh"),
        ((), {"device_hours": 640, "energy": "450kWh"}, "device-hours=640 energy=450kWh"),
        (("wall=2d",), {"campaign": "x"}, "wall=2d campaign=x"),
        ((), {"device_hours": (500, 640, 900)}, "device-hours=500..640..900"),
        ((), {"for_": "campaign:x", "cost": "9EUR"}, "for=campaign:x cost=9EUR"),
        ((), {"tags": {"team": "a", "phase": "b"}, "wall": "1h"}, "tag=team:a tag=phase:b wall=1h"),
        ((), {"wall": "1h", "energy": None}, "wall=1h"),
    ],
)
def test_declaration_is_sent_as_text(
    client: ModuleType, agent: Listener, arguments: tuple[str, ...], keywords: dict[str, object], text: str
) -> None:
    """In the one grammar, whichever way it was written."""
    assert client.declare(*arguments, **keywords) is True
    assert [Declare(text)] == agent.messages


@pytest.mark.parametrize("keywords", [{}, {"campaign": "my run"}, {"campaign": ""}, {"energy": "450 kWh"}])
def test_declaration_that_would_say_something_else_is_a_value_error(
    client: ModuleType, agent: Listener, keywords: dict[str, object]
) -> None:
    """A blank would make two words of one."""
    with pytest.raises(ValueError, match=r"blanks|nothing declared"):
        client.declare(**keywords)
    assert agent.messages == []


def test_refused_declaration_is_a_value_error(client: ModuleType, agent: Listener) -> None:
    """With the agent's own words, which say what there is."""
    agent.refusal = Rejected("energy: '450' has no unit; as in 450kWh")

    with pytest.raises(ValueError, match="has no unit; as in 450kWh"):
        client.declare(energy=450)


def test_declaration_without_an_agent_is_said_and_false(
    client: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    """The script must also run where there is no gpuwatch."""
    assert [client.declare(device_hours=1), client.declare(device_hours=1)] == [False, False]
    assert capfd.readouterr().err.count("nothing is declared: no agent at") == 1


def test_declaration_that_is_no_mistake_of_the_script_is_said_and_false(
    client: ModuleType, agent: Listener, capfd: pytest.CaptureFixture[str]
) -> None:
    """The agent could not see the process, say."""
    agent.refusal = Forbidden("process: cannot be seen")

    assert client.declare(device_hours=1) is False
    assert "process: cannot be seen" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("answer", "told"),
    [(b"", "without a reply"), (b"HTTP/1.0 400\r\n\r\n", "not gpuwatch"), (b"[1]\n", "not gpuwatch"),
     (b"x" * 200_000, "without a reply"), (None, "timed out")],
)  # fmt: skip
def test_server_that_is_no_agent_is_an_os_error(
    client: ModuleType, tmp_path: Path, answer: bytes | None, told: str
) -> None:
    """Whatever listens there: a reply in time, or an OSError."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(100)
            if answer is None:
                done.wait(5)
            else:
                connection.sendall(answer)

    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(OSError, match=told):
            client.ask(str(tmp_path / "s"), {"type": "ping"}, timeout=0.1 if answer is None else 5.0)
        done.set()
        thread.join(5)


def test_message_that_is_too_long_is_answered(client: ModuleType, agent: Listener) -> None:
    """The agent closes before all is sent; its reason is the reply all the same."""
    reply = client.ask(agent.path, {"type": "declare", "text": "x" * 1_000_000})

    assert (reply["ok"], reply["outcome"]) == (False, "oversize")


def interpreters() -> list[str]:
    """The Python interpreters from 3.8 on that this machine has, each version once."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found: dict[str, str] = {}
    for minor in range(8, 16):
        name = f"python3.{minor}"
        candidates = [*map(str, root.glob(f"versions/3.{minor}.*/bin/{name}")), shutil.which(name)]
        real = [each for each in candidates if each and "shims" not in Path(each).parts]
        if real:
            found[name] = real[0]
    return list(found.values())


def run(python: str, code: str, path: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code that may import the client."""
    known = {"PYTHONPATH": str(MODULE.parents[1]), "GPUWATCH_SOCKET": path, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [python, "-c", code], env={**known, **environment}, capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.integration
@pytest.mark.parametrize("python", interpreters() or [None], ids=lambda python: Path(python or "none").name)
def test_every_python_from_3_8_on_can_use_it(agent: Listener, python: str | None) -> None:
    """The same module, with no dependency: declare, report, and report at exit what was held back."""
    if python is None:
        pytest.skip("no other Python interpreter on this machine")
    code = (
        "from gpuwatch_client import declare, progress\n"
        "assert declare(device_hours=640, campaign='x') is True\n"
        "for step in range(1, 6): progress(step, total=9)\n"
    )

    finished = run(python, code, agent.path)
    assert (finished.returncode, finished.stderr) == (0, "")
    expected = [Declare("device-hours=640 campaign=x"), ReportProgress(1.0, 9.0), ReportProgress(5.0, 9.0)]
    assert expected == agent.messages


@pytest.mark.integration
def test_child_of_a_fork_speaks_for_itself(agent: Listener) -> None:
    """With a connection of its own, and the total that its parent gave; the parent's goes on."""
    code = (
        "import os\nfrom gpuwatch_client import progress\n"
        "progress(1, total=9)\n"
        "child = os.fork()\n"
        "if child == 0: progress(2)\n"
        "else:\n    os.waitpid(child, 0); progress(9)\n"
    )

    finished = run(sys.executable, code, agent.path)
    assert (finished.returncode, finished.stderr) == (0, "")
    parents = [peer.pid for peer, message in agent.heard if message != ReportProgress(2.0, 9.0)]
    children = [peer.pid for peer, message in agent.heard if message == ReportProgress(2.0, 9.0)]
    assert (len(parents), len(set(parents)), len(children)) == (2, 1, 1)
    assert children[0] not in parents


@pytest.mark.integration
def test_training_without_standard_error_or_with_lethal_sigpipe_goes_on(tmp_path: Path) -> None:
    """Nothing to say it to, and an agent that goes away between two reports."""
    code = (
        "import signal, sys\nfrom gpuwatch_client import progress\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "sys.stderr = None\n"
        "import socket, os\n"
        "path = os.environ['GPUWATCH_SOCKET']\n"
        "server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen(5)\n"
        "progress(1, total=9)\n"
        "server.accept()[0].close(); server.close()\n"
        "progress(9)\n"
        "progress('x')\n"
        "print('trained')\n"
    )

    finished = run(sys.executable, code, str(tmp_path / "s"), PYTHONWARNINGS="ignore")
    assert (finished.returncode, finished.stdout) == (0, "trained\n")


def test_gpuwatch_gives_out_the_same_functions() -> None:
    """`gpuwatch.progress` is `gpuwatch_client.progress`."""
    import gpuwatch_client

    import gpuwatch

    assert (gpuwatch_client.progress, gpuwatch_client.declare) == (gpuwatch.progress, gpuwatch.declare)


@pytest.mark.skipif(Path("/run/gpuwatch/agent.sock").exists(), reason="an agent of this node is running")
def test_the_socket_of_ones_own_up_is_found_where_the_node_has_none(
    client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPUWATCH_SOCKET, then the node's agent, then this user's `gpuwatch up`; nothing there is the node's."""
    monkeypatch.delenv("GPUWATCH_SOCKET", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    own = tmp_path / "gpuwatch" / "agent.sock"
    nobody = client.socket_path()
    own.parent.mkdir()
    own.touch()
    mine = client.socket_path()
    monkeypatch.setenv("GPUWATCH_SOCKET", "/given")

    assert [nobody, mine, client.socket_path()] == ["/run/gpuwatch/agent.sock", str(own), "/given"]


def test_home_directory_is_looked_into_once(
    client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be on a server that hangs, and a training is never to wait for it where no agent is."""
    looked: list[str] = []
    monkeypatch.delenv("GPUWATCH_SOCKET", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(os.path, "exists", lambda path: looked.append(str(path)))
    client.progress(1, total=9)
    client.progress(9)
    client.flush()

    assert [str(tmp_path / "gpuwatch" / "agent.sock")] == [path for path in looked if str(tmp_path) in path]
