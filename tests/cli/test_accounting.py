"""`gpuwatch accounting`, as systemd starts and stops it."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.cli.command import gpuwatch, start
from tests.usage.fake_agent import FakeAgent, document, packed

pytestmark = pytest.mark.integration


def configuration(directory: Path, url: str) -> Path:
    path = directory / "gpuwatch.toml"
    path.write_text(
        f'[accounting]\nlisten = "127.0.0.1:0"\nledger = "sqlite:///{directory / "ledger.db"}"\n'
        f'[usage.agents]\nurls = ["{url}"]\n'
    )
    return path


def fetched(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def test_it_serves_what_it_reads_and_ends_on_sigterm(tmp_path: Path) -> None:
    """/metrics, readiness and the landing page; a second one on the ledger exits 75; SIGTERM ends it with 0."""
    with FakeAgent(lambda _since: packed(document())) as agent:
        config = str(configuration(tmp_path, agent.url))
        process = start("accounting", "--config", config)
        assert process.stderr is not None
        url = re.search(r"serving (\S+)", process.stderr.readline())
        assert url is not None
        deadline = time.monotonic() + 20
        while fetched(url[1] + "/-/ready")[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.05)

        pages = [fetched(url[1] + path) for path in ("/-/ready", "/-/healthy", "/metrics", "/")]
        second = gpuwatch("accounting", "--config", config)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=20)

    assert [200] * 4 == [status for status, _ in pages]
    assert 'gpuwatch_accounting_passes_total{outcome="ok"}' in pages[2][1]
    assert "No job runs" in pages[3][1]
    assert (75, True) == (second.returncode, f"process {process.pid}" in second.stderr)
    assert (0, "") == (process.returncode, told)


def test_a_configuration_that_cannot_be_honoured_exits_78(tmp_path: Path) -> None:
    """An agent's address that is none, a ledger that is no database of ours."""
    config = configuration(tmp_path, "h:1")

    ran = gpuwatch("accounting", "--config", str(config), "--ledger", "postgresql://h/d")

    assert 78 == ran.returncode
    assert "must be http://HOST:PORT" in ran.stderr
