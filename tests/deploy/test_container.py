"""The container image: what its file promises, its health check, and its build stage run without an engine."""

from __future__ import annotations

import http.server
import importlib.util
import os
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme

from tests.deploy import containerfile
from tests.integration.debian import free_port

STEPS = containerfile.steps()
HEALTHY = containerfile.FILE.parent / "healthy.py"
NOBODY = 65534


def last(name: str) -> containerfile.Step:
    return [step for step in STEPS if step.name == name and step.stage == max(each.stage for each in STEPS)][-1]


def test_the_base_of_both_stages_is_an_argument() -> None:
    """So that a site pins it by its digest, or takes its own."""
    assert ["${BASE} AS build", "${BASE}"] == [step.text for step in STEPS if step.name == "FROM"]
    assert [] == [
        step for step in STEPS if step.name == "COPY" and step.stage == 1 and "--from=build" not in step.text
    ]


def test_the_image_runs_as_nobody_without_a_shell() -> None:
    """By number, as the kubelet wants it; entry point, command and health check are in exec form."""
    health = last("HEALTHCHECK").text.partition("CMD ")[2]

    assert (f"{NOBODY}:{NOBODY}", "SIGTERM") == (last("USER").text, last("STOPSIGNAL").text)
    assert (["gpuwatch"], ["agent"]) == (last("ENTRYPOINT").words, last("CMD").words)
    assert "/opt/gpuwatch/healthy.py" == containerfile.Step(1, "CMD", health).words[-1]
    assert [] == [step for step in STEPS if step.name == "RUN" and step.stage == 1]


def test_everything_that_is_installed_has_its_hash_and_nothing_is_compiled() -> None:
    """pip takes wheels of the lock files alone, and the wheel that was built beside it."""
    installs = [
        part for step in STEPS if step.name == "RUN" for part in step.text.split("&&") if "pip install" in part
    ]

    assert 3 == len(installs)
    for each in installs:
        assert "--require-hashes --only-binary :all: -r" in each or "--no-deps --no-index /dist/" in each


def test_what_is_sent_to_the_engine_is_there_and_has_no_secrets(tmp_path: Path) -> None:
    """The context is a short list: what a step copies or the wheel wants, nothing of git or tests."""
    containerfile.context(tmp_path)
    sent = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}

    assert {"README.md", "LICENSE", "pyproject.toml", "requirements.lock", "gpuwatch", "client", "docs",
            "systemd", "deploy"} == sent  # fmt: skip


@pytest.fixture(scope="module")
def healthy() -> ModuleType:
    """deploy/container/healthy.py."""
    spec = importlib.util.spec_from_file_location("healthy", HEALTHY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def answering(status: int, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on loopback that always answers so; its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/-/healthy" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, address: Any) -> None:
            request.close()

    with Quiet(("127.0.0.1", 0), Answer) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield str(server.server_address[1])
        server.shutdown()
        thread.join()


def tls(client_certificates: bool) -> ssl.SSLContext:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("gpuwatch").configure_cert(context)
    if client_certificates:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("status", [200, 401, 503])
def test_health_is_what_the_daemon_says_of_its_main_loop(healthy: ModuleType, status: int) -> None:
    """One that wants to know who asks is alive; 503 is not."""
    with answering(status) as port:
        assert (status >= 500) == healthy.main([port])


@pytest.mark.parametrize("client_certificates", [False, True])
def test_a_daemon_that_speaks_tls_is_heard(healthy: ModuleType, client_certificates: bool) -> None:
    """Whatever its certificate names; one that wants a certificate of ours has heard us."""
    with answering(200, tls(client_certificates)) as port:
        assert 0 == healthy.main([port])


def test_where_nobody_listens_it_is_said(healthy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """With the port, on one line; of two ports one is enough."""
    nobody = str(free_port())
    with answering(200) as port:
        assert (1, 0) == (healthy.main([nobody]), healthy.main([nobody, port]))
    assert f"port {nobody}: [Errno 111] Connection refused\n" == capsys.readouterr().err


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """What the build stage makes, in a folder: a minute, and downloads of all that the image has."""
    if not os.environ.get("GPUWATCH_IMAGE"):
        pytest.skip("the build stage of the image was NOT run: `make image` does (a minute)")
    if os.geteuid() != 0:
        pytest.skip("the build stage of the image was NOT run: it gives files to another user, as root")
    with others_may_enter() as folder:
        containerfile.build(folder, {"VERSION": "1.2.3"})
        yield folder


@contextmanager
def others_may_enter() -> Iterator[Path]:
    """A folder that is not below pytest's, which no other user may enter."""
    with tempfile.TemporaryDirectory(prefix="gpuwatch-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(root: Path, *arguments: str) -> list[str]:
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    return [
        *drop,
        "env",
        "-i",
        "PYTHONDONTWRITEBYTECODE=1",
        "HOME=/",
        *(f"{root}/{each}" if each.startswith("opt/") else each for each in arguments),
    ]


@pytest.mark.integration
def test_what_is_built_is_the_version_and_all_its_plugins_load(root: Path) -> None:
    """As the image's user; pip is gone, and every module is compiled."""
    program = (
        "import apprise, grpc, kubernetes, psycopg, gpuwatch; print(gpuwatch.__version__, gpuwatch.__cached__)"
    )
    done = subprocess.run(
        as_nobody(root, "opt/gpuwatch/bin/python", "-I", "-c", program), capture_output=True, text=True, timeout=60
    )
    version, _, compiled = done.stdout.strip().partition(" ")

    assert ("1.2.3", "") == (version, done.stderr)
    assert Path(compiled).is_file() and (root / "opt/gpuwatch/healthy.py").is_file()
    assert not list((root / "opt/gpuwatch/lib").glob("python3*/site-packages/pip"))


@pytest.mark.integration
def test_what_is_built_runs_as_nobody_is_healthy_and_ends_when_told(root: Path) -> None:
    """An agent with simulated devices, its state in the directory that the image gives to its user."""
    port = free_port()
    (root / "gpuwatch.toml").write_text('[agent]\ndevices = ["demo"]\njobs = ["local"]\n')
    settings = [
        f"--config={root}/gpuwatch.toml",
        f"--listen=127.0.0.1:{port}",
        f"--state-directory={root}/state/var/lib/gpuwatch",
        f"--socket={root}/state/run/gpuwatch/agent.sock",
    ]
    command = as_nobody(root, "opt/gpuwatch/bin/gpuwatch", "agent", *settings)
    agent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    check = as_nobody(root, "opt/gpuwatch/bin/python", "-I", f"{root}/opt/gpuwatch/healthy.py", str(port))
    deadline = time.monotonic() + 30
    while (
        code := subprocess.run(check, capture_output=True, timeout=20).returncode
    ) and time.monotonic() < deadline:
        time.sleep(0.2)
    agent.terminate()
    _, told = agent.communicate(timeout=30)

    assert (0, 0) == (code, agent.returncode), told
