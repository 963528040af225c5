"""A node of TPUs without any: a PCI bus in a folder, device nodes, and the metric service of a runtime.

The service speaks gRPC and writes its messages byte by byte: it shares no description of them with what it tests.
"""

from __future__ import annotations

from tests.fake_tpu.node import GENERATIONS, FakeNode, Generation
from tests.fake_tpu.runtime import (
    BANDWIDTH,
    DUTY,
    IDLE,
    PROGRAMS,
    QUEUE,
    TOTAL,
    UPTIME,
    USED,
    Distribution,
    FakeRuntime,
)

__all__ = [
    "BANDWIDTH", "DUTY", "GENERATIONS", "IDLE", "PROGRAMS", "QUEUE", "TOTAL", "UPTIME", "USED", "Distribution",
    "FakeNode", "FakeRuntime", "Generation",
]  # fmt: skip
