"""Reading a thousand agents: accounting's usage source and as many addresses, each with a full node's answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuwatch.usage.base import Delivery

AGENTS = 1000
READINGS = 4
_TIMEOUT_SECONDS = 60


def measure() -> Mapping[str, float]:
    """The median time of reading all agents once; the agents are another process, the reader is one as well."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.many_agents", "read"],
        check=True, stdout=subprocess.PIPE, text=True, timeout=10 * _TIMEOUT_SECONDS,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(told.stdout)
    return figures


def read() -> dict[str, float]:
    """Read them all some times, as accounting does."""
    from gpuwatch.model import Site
    from gpuwatch.usage.agents import AgentsUsage
    from gpuwatch.usage.base import Asking, Delivery

    serving = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.many_agents", "serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert serving.stdout is not None
        urls = tuple(f"http://127.0.0.1:{port}" for port in json.loads(serving.stdout.readline()))
        source = AgentsUsage(AgentsUsage.Settings(urls=urls), Site("bench"))
        took, used = [], []
        for _ in range(READINGS):
            began, before = time.perf_counter(), time.process_time()
            rows = sum(len(each.rows) for each in source.collect(Asking(0.0)) if isinstance(each, Delivery))
            took.append(time.perf_counter() - began)
            used.append(time.process_time() - before)
            if rows != 64 * AGENTS:
                raise SystemExit(f"benchmarks: {rows} rows read")
    finally:
        serving.terminate()
        serving.wait(_TIMEOUT_SECONDS)
    return {
        "usage_read_seconds_per_1000_agents": round(median(took[1:]), 2),
        "usage_read_cpu_seconds_per_1000_agents": round(median(used[1:]), 2),
    }


def serve() -> None:
    """A thousand ports of loopback with an agent's answer; the ports are printed."""
    asyncio.run(_serve())


async def _serve() -> None:
    from tests.benchmarks.large_ledger import deliveries

    told = zip(deliveries(1), range(AGENTS), strict=False)
    servers = [await asyncio.start_server(_answering(_packed(each)), "127.0.0.1", 0) for each, _ in told]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


def _packed(delivery: Delivery) -> bytes:
    document = {
        "schema": 1, "cluster": delivery.cluster, "node": delivery.node, "epoch": delivery.epoch, "boot_id": "b",
        "seq": delivery.seq, "now": delivery.now, "rows": delivery.rows, "declarations": [], "events": [],
    }  # fmt: skip
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), 1)


def _answering(body: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]:
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\nconnection: close\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()

    return answer


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        print(json.dumps(read()))
