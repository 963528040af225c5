"""A ledger of several people's jobs, and an API over it that takes a test's word for who asks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from starlette.applications import Starlette

from gpuwatch.ledger import writing
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.rate_file import load_rates
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.store import Store
from gpuwatch.model import Concern
from gpuwatch.schedulers.base import Grant, Live
from gpuwatch.web.api import Gate, api_routes
from gpuwatch.web.exposition import base_app
from gpuwatch.web.identity import Caller, Identity
from gpuwatch.web.names import FixedNames
from gpuwatch.web.roles import Access, Person
from tests.ledger.alerted import alert, raised
from tests.ledger.batch import HOUR, T0, record
from tests.ledger.deliveries import delivery, row, run_started

NOW = T0 + 2 * HOUR
UIDS = {"ada": 1000, "bob": 1001, "grace": 1002, "sam": 1003, "root": 0}
ACCESS = Access(
    "default", admins=("root",), support=("@desk",), coordinators={"vision": ("linus",), "nothing": ("ada",)}
)
OWNERS = {"7": "ada", "8": "bob", "9": "bob", "run-1": "ada", "user:bob": "bob", "66": "ada of another cluster"}
"""The jobs of the ledger, and whose they are."""
ALERTS = (
    ("job:7", "ada", "ml"), ("job:8", "bob", "vision"), ("job:9", "bob", "nlp"), ("campaign:llama", "", ""),
    ("account:ml", "", "ml"),
)  # fmt: skip
"""The alerts that are active, and whose they are: the campaign is of ada's and bob's jobs."""


class Said:
    """A proof of identity that believes the header X-Test-User."""

    challenge = "Test"
    hint = "say who you are"

    async def person(self, caller: Caller) -> Person | None:
        name = caller.header("x-test-user")
        return Person("test", name) if name else None


def fill(store: Store) -> None:
    """Ada's job of account ml, two of bob's, of vision and of ml's part nlp, and two outside of the batch system.

    Grace coordinates ml by the batch system's word; a job of another cluster has an ada's name on it.
    """
    said = Live(float(T0 + 60), "gpuwatch: device-hours=3 campaign=llama")
    records = [
        record("7", said, name="train"),
        record("8", said, user="bob", account="vision", started=float(T0 + 10), name="look"),
        record("9", user="bob", account="nlp", started=float(T0 + 20), name="read"),
        record("66", user="ada", cluster="other", started=float(T0 + 30)),
    ]
    rows = [
        row("7", uuid="GPU-0", started=T0 + 2, last_seen=T0 + HOUR, held_seconds=3600.0),
        row("run-1", uuid="GPU-1", started=T0 + 40, last_seen=T0 + 140.0, open=False),
        row("user:bob", uuid="GPU-2", started=T0 + 50, last_seen=T0 + 150.0, open=False),
    ]
    grants = [
        Grant("default", "ml", "", "gres/gpu", 36_000.0, 7200.0, NOW, coordinators=("grace",), source="slurm"),
        Grant("default", "nlp", "", "gres/gpu", 3600.0, None, NOW, parent="ml", source="slurm"),
        Grant("default", "vision", "", "gres/gpu", 3600.0, None, NOW, source="slurm"),
    ]
    with store.writing() as connection:
        post_records(connection, records)
        post_grants(connection, grants)
        told = delivery(rows, [], [run_started(uid=1000, time=T0 + 39.0)], now=NOW)
        writing.post_all(connection, [writing.Posted(read(told), told.origin)])
    raised(
        store, [(alert(each, "exceeded", Concern(user, account)), "told") for each, user, account in ALERTS], NOW
    )
    for cluster in ("default", "other"):
        catch_up(store, cluster, Tariffs(load_rates(None, UTC), UTC), NOW)


def api(store: Store | None, gate: Gate | None = None, now: float = NOW, **more: Any) -> Starlette:
    """Accounting's application with the API at a time."""
    taken = gate or Gate(Identity([Said()]), FixedNames(UIDS, {"sam": ("desk",)}), ACCESS)
    routes = api_routes(lambda: store, taken, lambda: now, **more)
    return base_app("test", bytes, lambda: True, lambda: True, [], routes)


def as_user(name: str) -> Mapping[str, str]:
    """The header that says who asks."""
    return {"x-test-user": name}
