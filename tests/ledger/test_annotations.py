"""What a pod or its owner declares by annotation, from the API server into the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuwatch.ledger import queries, writing
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.model import Site
from gpuwatch.schedulers.kubernetes import KubernetesScheduler
from tests.ledger.deliveries import declared, delivery, row
from tests.schedulers.fake_api import FakeApi, serving
from tests.schedulers.pods import RUNNING, at, pod

NOW = at(1000)
SAID = {"gpuwatch.dev/estimate": "device-hours=640 energy=450kWh", "gpuwatch.dev/campaign": "llama"}


@pytest.mark.parametrize("by", ["pod", "owner"])
def test_annotation_reaches_the_ledger_between_socket_and_environment(
    store: Store, tmp_path: Path, by: str
) -> None:
    """With its campaign, and once however many pods repeat it; each quantity by itself."""
    with serving(FakeApi()) as api:
        annotations = {"annotations": SAID}
        owner = api.own("batch/v1", "Job", "train", **(annotations if by == "owner" else {}))
        for name in ("train-0", "train-1"):
            api.pods.append(pod(name, owner=owner, containers=[RUNNING], **(annotations if by == "pod" else {})))
        scheduler = KubernetesScheduler(
            KubernetesScheduler.Settings(kubeconfig=api.kubeconfig(tmp_path)), Site(cluster="default")
        )
        records = scheduler.poll(None, (), NOW).records
    started = int(at(10))
    entries = [
        declared("device-hours=10", "uid-train-0", started=started, time=NOW, channel="environment"),
        declared("energy=1kWh", "uid-train-0", started=started, time=NOW, seq=6),
    ]
    with store.writing() as connection:
        post_records(connection, records)
        told = delivery([row("uid-train-0", started=started, last_seen=NOW)], entries)
        writing.post(connection, read(told), told.origin)

    with store.reading() as connection:
        (job,) = queries.jobs_since(connection, 0.0, NOW)
    assert ("ml/train", "llama") == (job.display, job.campaign)
    estimates = {name: (each.likely, each.channel) for name, each in job.estimates.items()}
    assert {"device-hours": (640 * 3600.0, "comment"), "energy": (3.6e6, "socket")} == estimates
