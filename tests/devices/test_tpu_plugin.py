"""GKE's device plugin: its page is read for TPUs, first of all, and whatever else is on it is left alone."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuwatch.devices import tpu_runtime as runtime
from gpuwatch.devices.tpu import TpuDevices
from gpuwatch.devices.tpu_plugin import parsed
from gpuwatch.devices.tpu_wire import Sample
from gpuwatch.errors import ConfigurationError
from tests.devices.tpus import Connect, Host, Serve, read, runtime_of

LABELS = 'container="w",make="cloud-tpu",model="tpu-v6e-slice",namespace="n",pod="p-1",tpu_topology="2x4"'


def line(name: str, index: object, value: object) -> str:
    return f'{name}{{accelerator_id="4371783459163393063-{index}",{LABELS}}} {value}\n'


PAGE = "".join(
    [
        "# HELP duty_cycle Percent of time in which it was active\n# TYPE duty_cycle gauge\n",
        *(line("duty_cycle", chip, 10 * (chip + 1)) for chip in range(2)),
        *(line("tensorcore_utilization", chip, 30.5) for chip in range(2)),
        *(line("memory_bandwidth_utilization", chip, 20) for chip in range(2)),
        *(line("memory_used", chip, "1.073741824e+09") for chip in range(2)),
        *(line("memory_total", chip, "3.4359738368e+10") for chip in range(2)),
        'duty_cycle{accelerator_id="GPU-1592a165-0721",container="c",make="nvidia",model="A100",pod="p"} 13\n',
        "go_memstats_sys_bytes 5.6448264e+07\nduty_cycle_gpu_node 3\n",
    ]
)


class Page:
    """A server with one page."""

    def __init__(self) -> None:
        self.text, self.status, self.hold = PAGE, 200, threading.Event()
        self.hold.set()
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.hold.wait(5)
                body = page.text.encode()
                self.send_response(page.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                return None

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.hold.set()
    made.server.shutdown()
    made.server.server_close()


def test_the_page_comes_first_and_the_runtime_fills_in(
    page: Page, tpu_host: Host, tpu_runtime: Serve, tpu_source: Connect
) -> None:
    """Duty cycle, tensor and memory activity, memory; what the page has not is what a port says."""
    node = tpu_host("v6e", 2)
    service = runtime_of(node, tpu_runtime)
    service.load(99.0, 1)
    service.says[runtime.IDLE] = {0: 7.0, 1: 8.0}
    readings = read(tpu_source(node, service.port, device_plugin_url=page.url))

    assert [0.1, 0.2] == pytest.approx([each.utilization_ratio for each in readings.values()])
    assert {(0.305, 0.2, 2**30, 2**35)} == {
        (each.tensor_activity_ratio, each.dram_activity_ratio, each.memory_used_bytes, each.memory_total_bytes)
        for each in readings.values()
    }
    assert [7.0, 8.0] == [each.tensor_idle_seconds for each in readings.values()]


def test_the_page_alone_is_enough(page: Page, tpu_host: Host, tpu_source: Connect) -> None:
    """A pod has a loopback of its own: no port is in reach, and its chips are read all the same."""
    node = tpu_host("v6e", 2)
    node.hold(100, 0, 1)
    readings = read(tpu_source(node, 1, device_plugin_url=page.url))

    assert [0.1, 0.2] == pytest.approx([each.utilization_ratio for each in readings.values()])


@pytest.mark.parametrize("fault", ["status", "slow", "gone"])
def test_a_page_that_does_not_come_is_counted(fault: str, page: Page, tpu_host: Host, tpu_source: Connect) -> None:
    """Chips that are held are unknown, and the report says why."""
    node = tpu_host("v6e", 1)
    node.hold(100, 0)
    if fault == "status":
        page.status = 500
    elif fault == "slow":
        page.hold.clear()
    else:
        page.server.shutdown()
        page.server.server_close()
    source = tpu_source(node, 1, device_plugin_url=page.url)
    (reading,) = read(source).values()
    (told,) = [each for each in source.report() if each.what == "device plugin"]

    assert (None, {"no_answer": 1}) == (reading.utilization_ratio, dict(reading.rejected))
    assert not told.ok
    assert told.detail


def test_values_that_cannot_be_are_dropped() -> None:
    """One that is no number is counted; a device without a number is nobody's."""
    text = line("duty_cycle", 0, "many") + line("duty_cycle", 1, "NaN") + line("duty_cycle", "x", 5)
    answer = parsed(text)

    assert {"malformed": 1} == answer.rejected
    assert [1, None] == [each.device for each in answer.samples[runtime.DUTY]]


def test_a_pod_cannot_pretend_to_be_another_device() -> None:
    """Labels that others write may contain what looks like a label of the plugin's."""
    hostile = 'duty_cycle{accelerator_id="1-0",pod="x accelerator_id=\\"1-1\\"",make="cloud-tpu"} 5\n'

    assert (Sample(0, 5.0),) == parsed(hostile).samples[runtime.DUTY]


@given(st.text(max_size=300) | st.text('duty_cycle{}="-,0123456789\n cloud-tpumakeaccelerator_id', max_size=300))
def test_whatever_is_on_the_page_it_is_read_or_left(text: str) -> None:
    """No page makes an error."""
    assert "answers" == parsed(text).state


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@h/metrics", "file:///etc/passwd"])
def test_an_address_that_is_none_is_a_mistake_of_the_configuration(url: str) -> None:
    """Found at the start."""
    with pytest.raises(ValidationError):
        TpuDevices.Settings(device_plugin_url=url)


@pytest.mark.parametrize(("address", "shown"), [("10.0.0.7", "10.0.0.7"), ("fd00::7", "[fd00::7]")])
def test_the_address_of_the_node_may_come_from_the_environment(
    address: str, shown: str, tpu_host: Host, tpu_source: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One configuration is that of all pods; without the variable it is a mistake."""
    node, url = tpu_host("v6e", 1), "http://{HOST_IP}:2112/metrics"
    monkeypatch.setenv("HOST_IP", address)
    source = tpu_source(node, device_plugin_url=url)
    monkeypatch.delenv("HOST_IP")

    assert f"http://{shown}:2112/metrics" == source._plugin.url
    with pytest.raises(ConfigurationError, match="HOST_IP is not in the environment"):
        tpu_source(node, device_plugin_url=url)
