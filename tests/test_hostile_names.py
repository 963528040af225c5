"""Names that others chose, from the node to every output: each stays text, on its own line, and valid UTF-8."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpuwatch import hygiene
from gpuwatch.accounting import landing, metrics
from gpuwatch.accounting.accountant import Accountant, Report
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.agent.messages import Declare, ReportProgress, StartRun
from gpuwatch.agent.socket import Peer
from gpuwatch.cli.jobs import jobs, show
from gpuwatch.errors import Unavailable
from gpuwatch.ledger.store import open_store
from gpuwatch.model import Site
from gpuwatch.notifiers.log import LogNotifier
from gpuwatch.sinks.prometheus import PrometheusSink
from gpuwatch.usage.base import Delivery
from gpuwatch.web.exposition import base_app
from gpuwatch.web.usage_api import usage_routes
from tests.accounting.fakes import FakeSource, everything_told
from tests.agent.fakes import FakeNode
from tests.web.asking import ask

HOSTILE = {
    "newline": "x\n# TYPE evil counter\nevil 1",
    "carriage return": "x\r<3>forged",
    "quotes": 'x"} 1\nevil{a="b',
    "backslash at the end": "x\\",
    "surrogate": b"bad\xff\xfename".decode("utf-8", "surrogateescape"),
    "NUL": "x\x00y",
    "terminal": "x\x1b[2J\x1b]0;owned\x07",
    "C1 control": "x\x9b2Jy\x85z",
    "line separators": "x\u2028y\u2029z",
    "right to left": "x\u202eexe.fdp",
    "markup": "<script>alert(1)</script><!channel>[red]",
    "emoji and marks": "🔥" * 40 + "e" + "\u0301" * 40,
    "long": "y" * 100_000,
    "blank": " ",
    "line protocol": "a,b=c d\\ =e",
    "assignment": "x\nREADY=1\nMAINPID=1",
}
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")


@pytest.fixture(params=HOSTILE.values(), ids=[name.replace(" ", "_") for name in HOSTILE])
def name(request: pytest.FixtureRequest) -> str:
    """One hostile name."""
    return str(request.param)


@pytest.fixture
def node(tmp_path: Path, name: str) -> Iterator[FakeNode]:
    """A node whose job is called that, and whose job source fails with it as the reason."""
    made = FakeNode(tmp_path / "state")
    made.jobs.pids[77] = name
    made.jobs.holders = {"fake:0": name}
    made.tick()
    peer = Peer(pid=77, pid_start=1, uid=1000, gid=1000)
    made.agent.handle(peer, ReportProgress(1, 100))
    made.agent.handle(peer, Declare("device-hours=0.0001 campaign=c"))
    if hygiene.label(name) == name or name.isprintable():
        made.agent.handle(Peer(pid=78, pid_start=1, uid=1000, gid=1000), StartRun(name))
    made.tick(30)
    made.jobs.error = Unavailable(name)
    made.tick()
    yield made
    made.stop()


def document(node: FakeNode) -> dict[str, object]:
    """What the usage API sends, as whoever reads it gets it."""
    app = base_app("t", bytes, lambda: True, lambda: True, [], usage_routes(node.agent))
    answer = ask(app, "GET", "/api/v1/usage")
    assert answer.status_code == 200
    return dict(json.loads(answer.content.decode("utf-8")))


def passed(document: dict[str, object], store: object) -> Report:
    """A pass of accounting over it."""
    delivery = Delivery(
        "c", "node", str(document["epoch"]), int(str(document["seq"])), float(str(document["now"])),
        document["rows"], document["declarations"], document["events"], "http://node:9838",
    )  # type: ignore[arg-type] # fmt: skip
    notifier = LogNotifier(LogNotifier.Settings(), Site())
    accountant = Accountant(
        store, {"agents": FakeSource([delivery])}, {"log": notifier}, Bounds(0.1, 0.0), policy=everything_told()
    )  # type: ignore[arg-type]
    return accountant.run_pass(float(str(document["now"])))


def assert_harmless(text: str) -> None:
    assert CONTROLS.search(text) is None
    assert text.encode("utf-8")


def test_metrics_of_the_agent_have_one_cleaned_job_and_no_series_of_its_making(node: FakeNode, name: str) -> None:
    """As an independent parser reads them."""
    sink = PrometheusSink(PrometheusSink.Settings(), Site(), clock=lambda: node.clock.wall)
    sink.take(node.sink.snapshots[-2])
    text = sink.render().decode("utf-8")
    families = list(text_string_to_metric_families(text))

    found = {s.labels["job_id"] for f in families for s in f.samples if "job_id" in s.labels}
    assert {hygiene.label(name)} == found
    assert all(len(value) <= 128 for f in families for s in f.samples for value in s.labels.values())
    assert all(family.name.startswith("gpuwatch_") for family in families)
    assert_harmless(text.replace("\n", ""))


def test_every_view_of_accounting_stays_text(
    node: FakeNode, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The tables and JSON of the commands, the page, the metrics, and the log of alerts."""
    caplog.set_level(logging.INFO)
    store = open_store(str(tmp_path / "ledger.db"))
    report = passed(document(node), store)
    page, exposition = landing.body(report), metrics.render(report, metrics.at_start()).decode("utf-8")
    store.close()
    ledger = f"sqlite:///{store.path}"
    jobs(ledger=ledger, days=100_000)
    jobs(ledger=ledger, days=100_000, as_json=True)
    for each in report.current.jobs:
        show(each.scope.name, ledger=ledger)

    assert "<script>" not in page
    assert {"gpuwatch"} == {f.name.partition("_")[0] for f in text_string_to_metric_families(exposition)}
    for text in (page, exposition, capsys.readouterr().out, *caplog.messages):
        assert_harmless(text.replace("\n", ""))
    assert all("\n" not in message for message in caplog.messages if message.startswith("alert"))


def test_status_and_health_stay_on_their_lines(node: FakeNode) -> None:
    """The reason of a failing source reaches an operator as one line."""
    assert "local down: " in node.agent.status()
    assert "\n" not in node.agent.status()
