"""SIGHUP: another configuration is taken over while the daemon samples and is scraped, or not at all."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from gpuwatch.cli.daemon import Succession
from gpuwatch.errors import ConfigurationError, GpuwatchError, Unavailable
from gpuwatch.settings import Settings
from gpuwatch.web.server import Lent
from tests.cli.command import start
from tests.usage.fake_agent import FakeAgent, document, packed

INTERVAL_SECONDS = 1.0
LOADED = r"^gpuwatch_agent_config_last_reload_successful 1$"
REFUSED = r"^gpuwatch_agent_config_last_reload_successful 0$"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Scraper:
    """Scrapes again and again, and remembers when it was refused and which samples it was shown."""

    def __init__(self, port: int, sample: str) -> None:
        self._port, self._sample = port, re.compile(sample, re.MULTILINE)
        self.refused: list[str] = []
        self.sampled: set[float] = set()
        self._stop = Event()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(15)

    def page(self) -> str:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def page_with(self, pattern: str) -> str:
        """The page once it has a line of the pattern."""
        deadline = time.monotonic() + 10
        while not re.search(pattern, page := self.page(), re.MULTILINE):
            assert time.monotonic() < deadline, page
            time.sleep(0.05)
        return page

    def _work(self) -> None:
        while not self._stop.wait(0.02):
            try:
                found = self._sample.search(self.page())
            except OSError as exc:
                self.refused.append(repr(exc))
            else:
                self.sampled |= {float(found[1])} if found else set()

    def gap(self) -> float:
        """The longest time between two samples."""
        return max(after - before for before, after in pairwise(sorted(self.sampled)))


class Daemon:
    """A daemon of its own, its configuration and what it says."""

    def __init__(self, command: str, folder: Path, text: str) -> None:
        self.path = folder / "gpuwatch.toml"
        self.path.write_text(text)
        self.said = folder / "said"
        with self.said.open("wb") as said:
            self.process = start(command, "--config", str(self.path), stdout=subprocess.DEVNULL, stderr=said)

    def says(self, words: str, seconds: float = 20.0) -> None:
        """Once it has said the words."""
        deadline = time.monotonic() + seconds
        while words not in self.said.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.05)

    def reload(self, text: str, words: str) -> None:
        """Have it read another text, and wait until it has said the words of it once more."""
        before = self.said.read_text().count(words)
        self.path.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while self.said.read_text().count(words) == before:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.05)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def _agent(folder: Path, port: int) -> str:
    return f"""
[site]
node = "n0"
[agent]
devices = ["demo"]
listen = "127.0.0.1:{port}"
state_directory = "{folder}/state"
socket = "{folder}/agent.sock"
interval_seconds = {INTERVAL_SECONDS}
[devices.demo]
devices = 2
driver_directory = "{folder}/driver"
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[Daemon, int]]:
    """An agent with two simulated devices that ticks, and its port."""
    port = _free_port()
    with Daemon("agent", tmp_path, _agent(tmp_path, port)) as daemon:
        daemon.says("serving")
        yield daemon, port


@pytest.mark.integration
def test_no_tick_is_missed_and_no_scrape_refused_whatever_changes(
    agent: tuple[Daemon, int], tmp_path: Path
) -> None:
    """Thresholds, devices, an output, the address, then the node and its state: two intervals at most."""
    daemon, port = agent
    text = daemon.path.read_text()
    with Scraper(port, r'^gpuwatch_source_last_success_timestamp_seconds\{source="demo"\} (\S+)') as scraper:
        for old, new in (
            ("[devices.demo]", "[meter]\nbusy_ratio = 0.06\n[devices.demo]"),
            ("devices = 2", "devices = 3"),
            ("[devices.demo]", "[sinks.prometheus]\ngrace_seconds = 800\n[devices.demo]"),
            ("127.0.0.1:", ":"),
            ('"n0"', '"n1"'),
        ):
            text = text.replace(old, new)
            daemon.reload(text, "configuration reloaded changed=True")
        time.sleep(2 * INTERVAL_SECONDS)
        page = scraper.page()
    ended = daemon.end()

    assert [] == scraper.refused
    assert scraper.gap() < 2 * INTERVAL_SECONDS
    assert 3 == page.count("gpuwatch_device_up{")
    assert 'nodename="n1"' in page
    assert 0 == ended


@pytest.mark.integration
def test_what_cannot_be_built_leaves_everything_as_it_was(agent: tuple[Daemon, int], tmp_path: Path) -> None:
    """A port that somebody has, a file that is not there, a state that cannot be made: said, and nothing ends."""
    daemon, port = agent
    text = daemon.path.read_text()
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as other, Scraper(port, LOADED.replace("1$", "(1)$")) as scraper:
        for changed, words in (
            (text.replace(f":{port}", f":{other.getsockname()[1]}"), "address in use"),
            (text.replace("[agent]", f'[agent]\nweb_config_file = "{tmp_path}/none"'), f"{tmp_path}/none"),
            (text.replace("/state", "/file/state"), "cannot be made; Not a directory"),
        ):
            daemon.reload(changed, "configuration not reloaded, the old one stays: ")
            assert words in daemon.said.read_text()
            scraper.page_with(REFUSED)
        daemon.reload(text, "configuration reloaded changed=False")
        page = scraper.page_with(LOADED)

    assert [] == scraper.refused
    assert 'nodename="n0"' in page


@pytest.mark.integration
def test_accounting_answers_and_counts_on_over_a_reload(tmp_path: Path) -> None:
    """Another one in the same process: no scrape is refused, what was counted is shown until it counts on."""
    port = _free_port()
    with FakeAgent(lambda _since: packed(document())) as reporting:
        text = (
            f'[accounting]\nlisten = "127.0.0.1:{port}"\nledger = "sqlite:///{tmp_path / "ledger.db"}"\n'
            f'interval_seconds = 1.0\n[usage.agents]\nurls = ["{reporting.url}"]\n'
        )
        passes = r'^gpuwatch_accounting_passes_total\{outcome="ok"\} (\S+)$'
        with Daemon("accounting", tmp_path, text) as daemon, Scraper(port, passes) as scraper:
            daemon.says("serving")
            scraper.refused.clear()  # before it was there
            deadline = time.monotonic() + 20
            while not scraper.sampled and time.monotonic() < deadline:
                time.sleep(0.05)
            before = max(scraper.sampled)
            daemon.reload(text + "[alerts]\ntolerance_ratio = 0.2\n", "configuration reloaded changed=True")
            at_once = re.search(passes, scraper.page(), re.MULTILINE)
            daemon.reload(text.replace("ledger.db", "gpuwatch.toml/ledger.db"), "the old one stays: ")
            time.sleep(2.0)
            refused, counted = [*scraper.refused], max(scraper.sampled)
            ended = daemon.end()

    assert [] == refused
    assert at_once is not None and before <= float(at_once[1]) < counted
    assert 0 == ended


class Fake:
    """A daemon that notes what is done with it."""

    def __init__(self, settings: Settings, before: Fake | None, story: list[str]) -> None:
        self.name, self.story = settings.site.cluster, story
        self.url = f"http://{self.name}"
        story.append(f"make {self.name}" + (f" after {before.name}" if before else ""))

    def prepared(self, settings: Settings) -> Any:
        if settings.alerts.tell:
            return lambda: self._refuse(settings.alerts.tell[0])
        return None if settings.site.cluster != self.name else (lambda: self.story.append("take over"))

    def _refuse(self, why: str) -> None:
        raise Unavailable(why)

    def start(self, lent: Lent | None = None) -> None:
        self.story.append(f"start {self.name}" + (f" at {lent.listen}" if lent else ""))
        if self.name.startswith("bad"):
            raise Unavailable("no such luck")
        if self.name.startswith("broken"):
            raise ZeroDivisionError("a mistake of a plugin")

    def stop(self) -> None:
        self.story.append(f"stop {self.name}")

    def lend(self) -> Lent:
        return Lent(self.name, socket.socket())

    def tick(self, now: float) -> None:
        self.story.append(f"tick {self.name}")

    def reloaded(self, successfully: bool) -> None:
        self.story.append(f"{self.name} reloaded {successfully}")

    def status(self) -> str:
        return self.name

    def missed(self, count: int) -> None:
        pass


def _after(*configurations: Settings | GpuwatchError) -> list[str]:
    """What happens to the daemon of cluster `a` when it is reloaded with each of these in turn."""
    story: list[str] = []
    coming: list[Settings | GpuwatchError] = [_settings("a"), *configurations]

    def load() -> Settings:
        settings = coming.pop(0)
        if isinstance(settings, GpuwatchError):
            raise settings
        return settings

    succession = Succession(load, lambda settings, before: Fake(settings, before, story))
    succession.start()
    story.clear()
    for _ in configurations:
        succession.reload()
        assert succession._thread is not None
        succession._thread.join(10)
        succession.tick(0.0)
    succession.close()
    return story


def _settings(cluster: str, **alerts: Any) -> Settings:
    return Settings.model_validate({"site": {"cluster": cluster}, "alerts": alerts})


def test_change_is_taken_over_between_two_ticks() -> None:
    """The daemon goes on; the same configuration once more changes nothing."""
    changed = _settings("a", tolerance_ratio=0.5)

    assert ["take over", "a reloaded True", "tick a", "a reloaded True", "tick a", "stop a"] == _after(
        changed, changed
    )


def test_daemon_that_cannot_change_makes_way_for_another() -> None:
    """The other is made before this one ends, begins where it listened, and ticks at once."""
    story = _after(_settings("b"))

    assert ["make b after a", "stop a", "start b at a", "tick b", "b reloaded True", "tick b", "stop b"] == story


@pytest.mark.parametrize("name", ["bad", "broken"])
def test_daemon_that_cannot_begin_leaves_the_old_one(name: str) -> None:
    """The old one is started again where it was, whatever a plugin raised."""
    story = _after(_settings(name))

    assert [f"make {name} after a", "stop a", f"start {name} at a", "make a after a", "start a at a"] == story[:5]
    assert ["tick a", "a reloaded False", "tick a", "stop a"] == story[5:]


@pytest.mark.parametrize("wrong", [ConfigurationError(["one", "two"]), _settings("a", tell=["nobody hears"])])
def test_what_cannot_be_loaded_or_taken_over_is_said(
    wrong: Settings | GpuwatchError, caplog: pytest.LogCaptureFixture
) -> None:
    """Each mistake has a line, and the daemon ticks on."""
    story = _after(wrong)

    assert ["a reloaded False", "tick a", "stop a"] == story
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    expected = ["one", "two"] if isinstance(wrong, ConfigurationError) else ["nobody hears"]
    assert [f"configuration not reloaded, the old one stays: {each}" for each in expected] == told
