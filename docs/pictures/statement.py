"""Makes statement.png: the first page of the compute statement of a made-up campaign, as Chromium shows it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIZE = "1000,1560"


def make(folder: Path) -> list[Path]:
    """Write the picture into a folder; nothing where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        return []
    target = folder / "statement.png"
    with tempfile.TemporaryDirectory() as where:
        page = Path(where, "statement.html")
        page.write_text(_page(where), encoding="utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={SIZE}")
        command = [browser, *options, f"--user-data-dir={where}/profile", f"--screenshot={target}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    return [target]


def _page(where: str) -> str:
    from gpuwatch.ledger.store import open_store
    from gpuwatch.reports import html, making, reading
    from gpuwatch.reports.material import Asked
    from tests.reports import campaigns

    purpose = "Fine-tuning of an 8B model, tables 1 to 3"
    asked = Asked(
        "campaign", campaigns.NAME, author="A. Author", licence="CC-BY-4.0", purpose=purpose, tag="table"
    )
    store = open_store(str(Path(where, "ledger.db")))
    try:
        now = campaigns.fill(store)
        with store.reading() as connection:
            first = making.statement_of(reading.read(connection, asked, now))
        campaigns.foretell(store, first.total.device_seconds, first.begins or now, first.ends or now)
        with store.reading() as connection:
            return html.html(making.statement_of(reading.read(connection, asked, now)))
    finally:
        store.close()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(*make(Path(__file__).parent))
