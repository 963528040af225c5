"""What each NVML call costs on this machine, idle and beside a load: wall time, and processor time of the caller.

    python -m tests.benchmarks --calls [--repeats 1000] [--load 'COMMAND'] [--fake]

Calls are made back to back: a single one a second costs more, because it finds processor and driver asleep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from gpuwatch.devices import questions
from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import Unavailable
from gpuwatch.model import Site
from tests.benchmarks import driver
from tests.benchmarks.load import Load
from tests.benchmarks.node import quantile
from tests.fake_nvml import FakeNvml

REPEATS = 1000
SETTLE_SECONDS = 10.0
WINDOW_SECONDS = 0.2
TEN_FIELDS = ((83, 0), (185, 0), (186, 0), (74, 0), (76, 0), (269, 0), (270, 0), (271, 0), (82, 0), (230, 0))
ONCE = ("nvmlDeviceGetNvLinkState", "nvmlDeviceGetMaxClockInfo")
"""Functions of many arguments that cost the same with each."""

Calls = Mapping[str, Callable[[], Any]]


def measure(
    fake: FakeNvml | None, *, load: str | None = None, repeats: int = REPEATS, settle: float = SETTLE_SECONDS
) -> Mapping[str, Any]:
    """The costs by call on the first device: `idle`, and `loaded` where there is a load; who refused, and how."""
    with driver.opened(fake) as api:
        handle = api.nvmlDeviceGetHandleByIndex(0)
        with _calls(api, handle) as calls:
            working, refused = _sorted_out(api, calls)
            figures = driver.about(api, handle) | {"repeats": repeats, "refused": refused}
            figures["idle"] = _costs(working, repeats)
            figures["loaded"] = None
            if load is not None:
                with Load(load) as running:
                    running.wait()
                    time.sleep(settle)
                    figures["loaded"] = _costs(working, repeats)
                    running.check()
    return figures


@contextmanager
def _calls(api: Any, handle: Any) -> Iterator[Calls]:
    """Every call by name, ready to be made, the whole reading of gpuwatch last."""
    calls: dict[str, Callable[[], Any]] = {
        ",".join([call, *map(str, arguments)]): partial(questions.ask, api, handle, (call, arguments))
        for call, arguments in questions.QUESTIONS
        if call not in ONCE or arguments == (0,)
    }
    uuid = api.nvmlDeviceGetUUID(handle)
    calls["nvmlDeviceGetHandleByUUID"] = partial(api.nvmlDeviceGetHandleByUUID, uuid)
    calls["nvmlDeviceGetFieldValues of 1 id"] = partial(api.nvmlDeviceGetFieldValues, handle, list(TEN_FIELDS[:1]))
    calls["nvmlDeviceGetFieldValues of 10 ids"] = partial(api.nvmlDeviceGetFieldValues, handle, list(TEN_FIELDS))
    samples: list[Any] = []
    source = NvidiaDevices(NvidiaDevices.Settings(), Site())
    try:
        with suppress(api.NVMLError):
            calls |= _gpm(api, handle, samples)
        with suppress(Unavailable):
            device = next(each for each in source.scan(time.time()) if each.uid == uuid)
            calls["gpuwatch reading"] = lambda: source.read(device, time.time())
        yield calls
    finally:
        for sample in samples:
            api.nvmlGpmSampleFree(sample)
        source.close()


def _gpm(api: Any, handle: Any, samples: list[Any]) -> Calls:
    if not api.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
        return {}
    for wait in (0.0, WINDOW_SECONDS, 0.0):
        time.sleep(wait)
        samples.append(api.nvmlGpmSampleAlloc())
        api.nvmlGpmSampleGet(handle, samples[-1])
    wanted = api.c_nvmlGpmMetricsGet_t()
    wanted.version, wanted.numMetrics = api.NVML_GPM_METRICS_GET_VERSION, len(questions.GPM_METRICS[0])
    wanted.sample1, wanted.sample2 = samples[:2]
    for position, number in enumerate(questions.GPM_METRICS[0]):
        wanted.metrics[position].metricId = number
    return {
        "nvmlGpmSampleGet": partial(api.nvmlGpmSampleGet, handle, samples[2]),
        "nvmlGpmMetricsGet of 3 metrics": partial(api.nvmlGpmMetricsGet, wanted),
    }


def _sorted_out(api: Any, calls: Calls) -> tuple[Calls, Mapping[str, int]]:
    working, refused = {}, {}
    for name, call in calls.items():
        try:
            call()
        except api.NVMLError as error:
            refused[name] = error.value
        else:
            working[name] = call
    return working, refused


def _costs(calls: Calls, repeats: int) -> Mapping[str, Mapping[str, float]]:
    return {name: _cost(call, repeats) for name, call in calls.items()}


def _cost(call: Callable[[], Any], repeats: int) -> Mapping[str, float]:
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.thread_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
    return {
        f"{clock}_seconds_{name}": round(quantile(seconds, q), 7)
        for clock, seconds in (("wall", walls), ("cpu", cpus))
        for name, q in (("p50", 0.5), ("p99", 0.99))
    }
