"""Google's library in a process of its own: what it says is used, and nothing it does holds anybody up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuwatch.devices import tpu_runtime as runtime
from gpuwatch.devices.tpu import TpuDevices
from gpuwatch.devices.tpu_sdk import RESTART_SECONDS, STALE_SECONDS, Sdk, answer_of
from gpuwatch.devices.tpu_wire import Sample
from tests.devices.tpus import Host, Ticks

SAID = (
    b'{"tensorcore_util": ["12.5", "50.0"], "tpu_throttle_score": ["0-0", "1-3"], '
    b'"ici_link_health": ["tray1.chip0.ici0.int: 0", "tray1.chip1.ici0.int: 7", "tray1.chip1.ici1.int: 1"]}'
)


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def said(sdk: Sdk, condition: Callable[[str], bool]) -> str:
    """What it says once it is so."""
    deadline = time.monotonic() + 10
    while not condition(answer := f"{sdk.ask().state}: {sdk.ask().detail}"):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


def test_a_line_is_read_by_metric() -> None:
    """Tensor utilization in the order of the chips, links and throttling by their number."""
    answer = answer_of(SAID)

    assert (Sample(0, 12.5), Sample(1, 50.0)) == answer.samples[runtime.TENSOR]
    assert (Sample(0, 0), Sample(1, 7), Sample(1, 1)) == answer.samples[runtime.LINKS]
    assert (Sample(0, 0), Sample(1, 3)) == answer.samples[runtime.THROTTLE]


@pytest.mark.parametrize("line", [b"", b"x", b"[]", b"3", b'{"tensorcore_util": 3}', b"[" * 5000, b"\xff"])
def test_a_line_that_is_none_is_counted(line: bytes) -> None:
    """Nothing is known, and nothing raised."""
    assert ("silent", {"malformed": 1}) == (answer_of(line).state, answer_of(line).rejected)


def test_values_reach_the_readings(tpu_host: Host, tpu_ticks: Ticks) -> None:
    """The worst link of each chip, and throttling as a ratio."""
    node = tpu_host("v4", 2)
    command = program(f"import sys, time; print({SAID.decode()!r}, flush=True); time.sleep(60)")
    source = TpuDevices(
        TpuDevices.Settings(ports=(1,), libtpu=True),
        node.site(),
        clock=tpu_ticks,
        directory=str(node.dev),
        sdk=lambda: Sdk(command, tpu_ticks),
    )
    devices = source.scan(1.0)
    deadline = time.monotonic() + 10
    readings = []
    while not readings or readings[0].tensor_activity_ratio is None:
        assert time.monotonic() < deadline
        tpu_ticks.now += 0.01
        readings = [source.read(device, tpu_ticks.now) for device in devices]
    source.close()

    assert [(0.125, 0.0, 0.0), (0.5, 7.0, 0.3)] == [
        (each.tensor_activity_ratio, each.link_health, pytest.approx(each.throttle_ratio)) for each in readings
    ]


def test_a_library_that_says_nothing_any_more_is_not_repeated(tpu_ticks: Ticks) -> None:
    """What it said last stands for some seconds; a process that hangs is waited for by nobody."""
    sdk = Sdk(program(f"import time; print({SAID.decode()!r}, flush=True); time.sleep(60)"), tpu_ticks)
    said(sdk, lambda answer: answer.startswith("answers"))
    tpu_ticks.now += STALE_SECONDS + 1
    began = time.monotonic()
    answer = sdk.ask()
    took = time.monotonic() - began
    sdk.close()

    assert ("silent", "says nothing any more") == (answer.state, answer.detail)
    assert took < 0.5


def test_a_process_that_ended_is_started_again_after_a_while(tmp_path: Path, tpu_ticks: Ticks) -> None:
    """Not at once, and not for ever: what it said last is why."""
    log = tmp_path / "starts"
    text = f"open({str(log)!r}, 'a').write('x'); print('{{\"error\": \"no library\"}}', flush=True)"
    sdk = Sdk(program(text), tpu_ticks)
    answer = said(sdk, lambda answer: "no library" in answer)
    deadline = time.monotonic() + 10
    while sdk._process is not None:
        assert time.monotonic() < deadline
        sdk.ask()
        time.sleep(0.02)
    for _ in range(5):
        sdk.ask()
    once = log.read_text()
    tpu_ticks.now += RESTART_SECONDS + 1
    sdk.ask()
    while len(log.read_text()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    sdk.close()

    assert ("silent: no library", "x") == (answer, once)


def test_the_module_says_that_the_library_is_missing(tpu_ticks: Ticks) -> None:
    """As it is on nearly every node."""
    try:
        import libtpu  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("libtpu is installed here")
    sdk = Sdk(clock=tpu_ticks)
    answer = said(sdk, lambda answer: "libtpu" in answer)
    sdk.close()

    assert answer.startswith("silent: libtpu cannot be loaded; ModuleNotFoundError")
