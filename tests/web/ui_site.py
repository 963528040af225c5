"""A site to look at: a made-up day of 300 jobs, pass by pass, with names, campaigns, budgets and a price."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Grant, Live, Record
from gpuwatch.usage.base import Delivery
from gpuwatch.web.api import api_routes
from gpuwatch.web.desk import Desk, Gate
from gpuwatch.web.exposition import base_app
from gpuwatch.web.identity import Caller, Identity
from gpuwatch.web.names import FixedNames
from gpuwatch.web.page.frame import Passed
from gpuwatch.web.page.routes import page_routes
from gpuwatch.web.roles import Access, Person
from gpuwatch.web.threads import Patient
from tests.accounting import day
from tests.accounting.fakes import FakeSource, everything_told
from tests.integration.debian import UNPACKED
from tests.ledger.batch import HOUR, T0

NAMES = ("llama-ft", "vit-sweep", "protein-fold", "whisper-eval", "diffusion-xl", "rl-agents", "climate-net")
RATES = "kind,model,partition,from,to,value,unit,source,year,country\nprice,,,2020-01-01,,2.10,EUR,,,\n"
ADMIN = "root"
USER = "user07"


class Said:
    """A proof of identity that believes the header X-Test-User; `usually` is who asks without it."""

    challenge = "Test"
    hint = "say who you are; ask at the socket /run/gpuwatch-accounting/api.sock on the accounting host"

    def __init__(self, usually: str = "") -> None:
        self._usually = usually

    async def person(self, caller: Caller) -> Person | None:
        name = caller.header("x-test-user") or self._usually
        return Person("test", name) if name else None


def fill(store: Store, until: float = 12.0, step: float = 0.5) -> float:
    """Make passes up to an hour of the day; the time of the last one."""
    jobs = day.planned()
    rates = Path(tempfile.mkdtemp()) / "rates.csv"
    rates.write_text(RATES)
    source = FakeSource()
    accountant = Accountant(
        store, {"agents": source}, {}, Bounds(0.1, 1.0), policy=everything_told(), tariffs=SiteTariffs(rates, UTC),
        interval_seconds=step * HOUR,
    )  # fmt: skip
    hour = 0.0
    while hour < until:
        hour = round(hour + step, 6)
        with store.writing() as connection:
            post_records(connection, [_named(each) for each in day.records(jobs, hour)])
            if hour == step:
                post_grants(connection, grants())
        source.answers = [_told(jobs, hour, hour - step)]
        accountant.run_pass(T0 + hour * HOUR)
    return T0 + hour * HOUR


def running_longest(hour: float) -> str:
    """The job that has run longest at an hour of the day, does as it should not, and runs on."""
    lively = [job for job in day.planned() if job.does == "overruns" and job.begins < hour < job.ends - 1.0]
    return min(lively, key=lambda job: job.begins).job_id


def chromium() -> dict[str, Any] | None:
    """How Playwright launches Debian's Chromium, installed or unpacked; None where there is neither."""
    installed = shutil.which("chromium")
    root = UNPACKED.parent / "chromium"
    program = Path(installed) if installed else root / "usr/lib/chromium/chromium"
    if not program.is_file():
        return None
    folders = [] if installed else [*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")]
    more = {"LD_LIBRARY_PATH": ":".join(map(str, folders))} if folders else {}
    return {"executable_path": str(program), "args": ["--no-sandbox"], "env": {**os.environ, **more}}


def _told(jobs: list[day.Planned], hour: float, since: float) -> Delivery:
    told = day.told(jobs, hour, since)
    return replace(told, rows=[{**row, "model": "NVIDIA H100 80GB HBM3"} for row in told.rows])


def _named(record: Record) -> Record:
    number = int(record.key.job_id)
    facts = replace(record.facts, name=f"{NAMES[number % len(NAMES)]}-{number % 9}")
    campaign = {0: "llama-pretraining", 1: "vision-ablations", 2: "folding"}.get(number % 5)
    said = Live(facts.started or facts.seen, f"gpuwatch: campaign={campaign}") if campaign else None
    return replace(record, facts=facts, live=said)


def grants() -> list[Grant]:
    """What accounts may use this month."""
    starts, ends = T0 - 13 * 86_400.0, T0 + 17 * 86_400.0
    limits = (900.0, 420.0, 380.0, 2400.0, 610.0, 700.0)
    return [
        Grant(
            "default", f"lab{number}", "", "gres/gpu", limit * HOUR, limit * HOUR * 0.4, float(T0),
            coordinators=(f"user{number:02}",), starts=starts, ends=ends, source="slurm",
        )
        for number, limit in enumerate(limits)
    ]  # fmt: skip


def gate(usually: str = "") -> Gate:
    """Root is admin, user00 to user05 coordinate an account by the batch system's word."""
    uids = {ADMIN: 0, "sam": 1, **{f"user{number:02}": 1000 + number for number in range(60)}}
    return Gate(Identity([Said(usually)]), FixedNames(uids), Access("default", admins=(ADMIN,), support=("sam",)))


def app(
    store: Callable[[], Store | None], gate: Gate, now: Callable[[], float], passed: Callable[[], Passed]
) -> Starlette:
    """Accounting's application with API and page, at a time, with passes as a test says."""
    desk = Desk(store, gate, now, Patient(4))
    routes = [*api_routes(store, desk.gate, now, readers=desk.threads), *page_routes(desk, passed)]
    return base_app("test", bytes, lambda: True, lambda: True, [], routes)
