"""The programs of other projects that the integration tests drive, and a Prometheus server of one's own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
UNPACKED = REPOSITORY / ".cache" / "debian" / "root"
"""Where packages.sh unpacks what the machine does not have."""

ANSWER_SECONDS = 10.0
READY_SECONDS = 20.0
STOP_SECONDS = 5.0


def binary(name: str) -> Path | None:
    """The program of that name, installed or unpacked; None where there is neither."""
    installed = shutil.which(name)
    if installed is not None:
        return Path(installed)
    places = (UNPACKED / folder / name for folder in ("usr/bin", "bin", "usr/sbin", "sbin"))
    return next((place for place in places if place.is_file()), None)


def environment(program: Path) -> dict[str, str]:
    """The environment to run a program in: an unpacked one needs to find its libraries and units."""
    if not program.is_relative_to(UNPACKED):
        return dict(os.environ)
    folders = [*UNPACKED.glob("usr/lib/*-linux-*"), *UNPACKED.glob("lib/*-linux-*")]
    libraries = [*(folder / "systemd" for folder in folders), *folders]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(str(folder) for folder in libraries),
        "SYSTEMD_UNIT_PATH": f"{UNPACKED}/lib/systemd/system:{UNPACKED}/usr/lib/systemd/system",
    }


def run(
    program: Path, *arguments: object, cwd: Path | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, within a minute, and keep all that it says."""
    return subprocess.run(
        [str(program), *(str(argument) for argument in arguments)],
        cwd=cwd,
        env=environment(program),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def free_port() -> int:
    """A loopback port that nobody listens on now, and that no connection going out takes before it is used."""
    while True:
        # Below the ports that Linux gives to connections, and by chance that no seed of a test repeats.
        port = secrets.choice(range(20_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(true: Callable[[], Any], seconds: float, what: str, pause: float = 0.1) -> Any:
    """What `true` returns, once that is truthy; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
    return found


def stop(process: subprocess.Popen[Any], seconds: float = STOP_SECONDS) -> int:
    """End a process that we started: asked first, killed if it will not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(seconds)


class Prometheus:
    """A real Prometheus on a free loopback port, with its files in `folder`."""

    def __init__(self, program: Path, folder: Path, config: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(config)
        self._log = folder / "prometheus.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(program),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(program),
                start_new_session=True,
            )
        try:
            wait_until(self._ready, READY_SECONDS, "Prometheus is ready")
        except AssertionError:
            self.stop()
            raise

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"Prometheus ended: {self._log.read_text()[-2000:]}")
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=ANSWER_SECONDS).status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API; fails with what it says where it is an error."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=ANSWER_SECONDS).json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each series that an expression gives now."""
        data = self.get("query", query=expression)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def targets(self) -> list[Mapping[str, Any]]:
        """What it scrapes, with the health and the last error of each."""
        active: list[Mapping[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return active

    def stop(self) -> None:
        """End the server."""
        stop(self._process)


def scrape_config(targets: Mapping[str, Sequence[str]], interval: str = "1s") -> str:
    """A Prometheus configuration that scrapes `targets`, job name to addresses."""
    jobs = "\n".join(
        f"  - job_name: {name}\n    static_configs: [{{targets: {list(addresses)}}}]"
        for name, addresses in targets.items()
    )
    return f"global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\nscrape_configs:\n{jobs}\n"
