"""Pages of exporters whose counters move, served to whoever scrapes them."""

from __future__ import annotations

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGES = Path(__file__).parents[1] / "captures" / "exporters"

MOVING = {
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 1e3,
    "dcgm_total_energy_consumption": 1e3,
    "nvidia_smi_energy_joules_total": 1.0,
    "gpu_energy_consumed": 1e6,
}
"""Counters of energy, and how much of them is a joule."""

WATTS = (412.5, 98.0)
"""What the boards of every page draw, in the order of their lines."""


def moved(page: str, seconds: float) -> str:
    """A page as it is `seconds` later."""
    boards: dict[str, int] = {}
    lines = []
    for line in page.splitlines():
        match = re.fullmatch(r"(\w+)(\{.*\}) (\S+)", line)
        if match is not None and match[1] in MOVING:
            board = boards[match[1]] = boards.get(match[1], -1) + 1
            line = f"{match[1]}{match[2]} {float(match[3]) + WATTS[board] * seconds * MOVING[match[1]]!r}"
        lines.append(line)
    return "\n".join(lines) + "\n"


class Exporter:
    """Serves a page at `address`; its energy counters rise as time goes on."""

    def __init__(self, page: str) -> None:
        text, began = (PAGES / page).read_text(), time.time()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = moved(text, time.time() - began).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = f"127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._http.shutdown()
        self._thread.join(5.0)
        self._http.server_close()
