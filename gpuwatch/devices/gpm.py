"""Activity of SMs, tensor units and memory over the time between two samples (GPM; Hopper and later)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from struct import Struct
from threading import Lock
from typing import Any

from gpuwatch.devices.nvml import UNSUPPORTED, Handle, Values

METRICS: Mapping[int, str] = {2: "sm_activity_ratio", 5: "tensor_activity_ratio", 10: "dram_activity_ratio"}
# nvmlGpmMetric_t, unpacked for the reason given at `nvml_fields.ANSWER`.
METRIC = Struct("@IIdPPP")
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 30.0
LOCK_SECONDS = 0.1
# Counters of the two samples are not read in the same instant, so a busy unit may seem to do a little too much.
ROUNDING = 1.01

Take = Callable[[Any], object]
"""The call that fills a sample."""


class Activity:
    """The GPM samples of one device, or of one GPU instance of it; belongs to the thread that reads the device.

    Using one sample object from two places at once can take the kernel down. So nobody else has these two, they
    are freed by their owner only, and an owner that hangs in the driver is still using them.
    `lock` is shared by all that sample the same GPU. Errors cost nothing but the activity.
    """

    def __init__(self, api: Any, whole: Handle, take: Take, lock: Lock, clock: Callable[[], float]) -> None:
        self._api = api
        self._whole = whole
        self._take = take
        self._lock = lock
        self._clock = clock
        self._samples: list[Any] = []
        self._request: Any = None
        self._head: int = api.c_nvmlGpmMetricsGet_t.metrics.offset
        self._taken: float | None = None
        self._off = False

    def read(self, values: Values) -> None:
        """Add what is known since the last sample, which is kept where it is too fresh to measure from."""
        if self._off:
            return
        try:
            self._read(values)
        except self._api.NVMLError as error:
            if error.value in UNSUPPORTED:
                self._off = True
                self.close()

    def close(self) -> None:
        """Free the samples; nobody may be in `read`."""
        samples, self._samples, self._taken = self._samples, [], None
        for sample in samples:
            with suppress(self._api.NVMLError):
                self._api.nvmlGpmSampleFree(sample)

    def _read(self, values: Values) -> None:
        if not self._ready():
            return
        now = self._clock()
        seconds = None if self._taken is None else now - self._taken
        if seconds is not None and 0 <= seconds < SHORTEST_SECONDS:
            return
        if not self._sample():
            return
        self._taken = now
        self._samples.reverse()
        if seconds is not None and 0 <= seconds <= LONGEST_SECONDS:
            self._measure(values)

    def _ready(self) -> bool:
        """Whether the device has GPM and there are samples to fill."""
        api = self._api
        if len(self._samples) == 2:
            return True
        if not api.nvmlGpmQueryDeviceSupport(self._whole).isSupportedDevice:
            self._off = True
            return False
        while len(self._samples) < 2:
            self._samples.append(api.nvmlGpmSampleAlloc())
        self._request = _request(api)
        return True

    def _sample(self) -> bool:
        """Fill the older sample. A neighbour that hangs in the driver must not take this device with it."""
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            return False
        try:
            self._take(self._samples[1])
        finally:
            self._lock.release()
        return True

    def _measure(self, values: Values) -> None:
        request = self._request
        request.sample2, request.sample1 = self._samples
        self._api.nvmlGpmMetricsGet(request)
        for index, name in enumerate(METRICS.values()):
            _, result, percent, *_ = METRIC.unpack_from(request, self._head + index * METRIC.size)
            ratio = percent / 100
            if result == 0 and ratio == ratio:
                values[name] = 1.0 if 1.0 < ratio <= ROUNDING else ratio


def _request(api: Any) -> Any:
    request = api.c_nvmlGpmMetricsGet_t()
    request.version, request.numMetrics = api.NVML_GPM_METRICS_GET_VERSION, len(METRICS)
    for index, number in enumerate(METRICS):
        request.metrics[index].metricId = number
    return request
