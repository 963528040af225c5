"""What Google's device plugin on GKE says of the TPUs that pods hold, on its page for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpuwatch.devices import tpu_runtime as runtime
from gpuwatch.devices.tpu_runtime import Answer
from gpuwatch.devices.tpu_wire import Sample
from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Access, Client

TIMEOUT_SECONDS = 0.3
NAMES: Mapping[str, str] = {
    "duty_cycle": runtime.DUTY,
    "tensorcore_utilization": runtime.TENSOR,
    "memory_bandwidth_utilization": runtime.BANDWIDTH,
    "memory_used": runtime.USED,
    "memory_total": runtime.TOTAL,
}
_MOST_LINES = 4096
_LINE = re.compile(
    rf"^({'|'.join(NAMES)})\{{([^\n]*)\}} (\S{{1,64}})(?: -?\d{{1,20}})?[ \t\r]*$", re.MULTILINE | re.ASCII
)
_DEVICE = re.compile(r'(?:^|,)accelerator_id="(?:[^"\\\n]{0,200}-)?(\d{1,4})"')
_MAKE = re.compile(r'(?:^|,)make="cloud-tpu"')


def parsed(page: str) -> Answer:
    """What a page says of TPUs, as a runtime would; lines about other devices are skipped."""
    samples: dict[str, list[Sample]] = {}
    rejected: dict[str, int] = {}
    for count, line in enumerate(_LINE.finditer(page)):
        name, labels, text = line.groups()
        if count >= _MOST_LINES or not _MAKE.search(labels):
            continue
        device = _DEVICE.search(labels)
        try:
            sample = Sample(None if device is None else int(device[1]), float(text))
        except ValueError:
            rejected["malformed"] = rejected.get("malformed", 0) + 1
        else:
            samples.setdefault(NAMES[name], []).append(sample)
    told = {name: tuple(each) for name, each in samples.items()}
    return Answer("answers", f"tells {len(told)} metrics", frozenset(told), told, rejected)


class DevicePlugin:
    """The page of a device plugin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = Client(Access(timeout_seconds=TIMEOUT_SECONDS), most_values=1_000_000)

    def ask(self) -> Answer:
        """What it says now."""
        try:
            body = self._client.get(self.url).body
        except Unavailable as exc:
            return Answer("silent", str(exc), rejected={"no_answer": 1})
        return parsed(body.decode("utf-8", "replace"))
