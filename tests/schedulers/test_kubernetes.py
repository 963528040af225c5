"""One record for each pod with accelerators, from an API server over real HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpuwatch import declaration
from gpuwatch.errors import Unavailable
from gpuwatch.model import Site
from gpuwatch.schedulers.base import Facts, Live, Poll, Record, RecordId
from gpuwatch.schedulers.kubernetes import LOOK_BACK_SECONDS, KubernetesScheduler
from tests.schedulers.fake_api import FakeApi, serving, status
from tests.schedulers.pods import RUNNING, at, ended, pod

NOW = at(1000)


@pytest.fixture
def server() -> Iterator[FakeApi]:
    """An API server without pods."""
    with serving(FakeApi()) as api:
        yield api


@pytest.fixture
def scheduler(server: FakeApi, tmp_path: Path) -> KubernetesScheduler:
    """The scheduler that reads it."""
    return made(server, tmp_path)


def made(server: FakeApi, folder: Path, **settings: object) -> KubernetesScheduler:
    """A scheduler with settings of the test."""
    own = KubernetesScheduler.Settings(kubeconfig=server.kubeconfig(folder), **settings)
    return KubernetesScheduler(own, Site(cluster="hydra"))


def by_name(poll: Poll) -> dict[str, Facts]:
    """Name of the pod to its facts."""
    return {each.facts.name: each.facts for each in poll.records}


def test_pod_is_a_record_of_its_job(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """Every field, for a pod of a PyTorchJob with two containers."""
    owner = server.own("kubeflow.org/v1", "PyTorchJob", "llama", annotations={"gpuwatch.dev/campaign": "llama-ft"})
    spec = {
        "containers": [
            {"resources": {"requests": {"nvidia.com/gpu": "8", "cpu": "64"}}},
            {"resources": {"requests": {"cpu": "500m"}}},
        ],
        "nodeSelector": {"cloud.google.com/gke-nodepool": "h100"},
        "priorityClassName": "high",
        "serviceAccountName": "trainer",
        "activeDeadlineSeconds": 86400,
    }
    server.pods = [pod("llama-worker-0", owner=owner, spec=spec, containers=[RUNNING]), pod("web", {"cpu": "1"})]

    facts = Facts(
        NOW, "RUNNING", at(10), None, 8.0, "requests nvidia.com/gpu", "", 64.5, ("n1",), "uid-llama", "ml/llama",
        "llama-worker-0", "serviceaccount:trainer", "ml", "h100", "high", 86400.0,
    )  # fmt: skip
    key = RecordId("hydra", "uid-llama-worker-0", int(at(0)))
    expected = Poll((Record(key, facts, Live(NOW, "gpuwatch: campaign=llama-ft")),), NOW)
    assert expected == scheduler.poll(None, (), NOW)


def test_bare_pod_is_its_own_job(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """Everybody's service account says nothing of its user."""
    server.pods = [pod("p", spec={"serviceAccountName": "default"})]

    found = by_name(scheduler.poll(None, (), NOW))["p"]
    assert ("uid-p", "ml/p", "", "ml") == (found.whole, found.display, found.user, found.account)


def test_user_is_whom_the_sites_annotation_says(server: FakeApi, tmp_path: Path) -> None:
    """In place of the service account, also where it is missing."""
    server.pods = [
        pod("a", annotations={"example.org/user": "ada"}, spec={"serviceAccountName": "trainer"}),
        pod("b", spec={"serviceAccountName": "trainer"}),
    ]

    found = by_name(made(server, tmp_path, user_annotation="example.org/user").poll(None, (), NOW))
    assert ("ada", "") == (found["a"].user, found["b"].user)


@pytest.mark.parametrize(
    ("own", "owners", "expected"),
    [
        ({"estimate": "device-hours=640"}, {}, "device-hours=640"),
        ({"estimate": "gpuwatch: device-hours=640", "campaign": "x"}, {}, "device-hours=640 campaign=x"),
        ({}, {"estimate": "device-hours=640", "campaign": "x"}, "device-hours=640 campaign=x"),
        (
            {"campaign": "mine"},
            {"estimate": "device-hours=640", "campaign": "x"},
            "device-hours=640 campaign=mine",
        ),
        ({"estimate": "device-hours=1 campaign=y", "campaign": "x"}, {}, "device-hours=1 campaign=y"),
    ],
)
def test_annotations_declare(
    server: FakeApi, scheduler: KubernetesScheduler, own: dict[str, str], owners: dict[str, str], expected: str
) -> None:
    """In the one grammar; the pod's own go before its owner's."""

    def named(said: dict[str, str]) -> dict[str, str]:
        return {f"gpuwatch.dev/{key}": value for key, value in said.items()}

    server.pods = [
        pod("p", owner=server.own("batch/v1", "Job", "j", annotations=named(owners)), annotations=named(own))
    ]

    (record,) = scheduler.poll(None, (), NOW).records
    assert declaration.parse(expected) == declaration.from_comment(record.live.comment)


def test_annotation_without_end_is_refused_as_too_long(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """And is not kept."""
    server.pods = [pod("p", annotations={"gpuwatch.dev/estimate": "tag=a:b " * 30_000})]

    (record,) = scheduler.poll(None, (), NOW).records
    with pytest.raises(declaration.DeclarationError, match="longer than"):
        declaration.from_comment(record.live.comment)
    assert len(record.live.comment) < 2 * declaration.MAX_TEXT_BYTES


def test_deleted_pod_has_ended_when_it_is_missed(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """Told once, with what was known of it; one that had ended before is not told again."""
    server.pods = [
        pod("a"),
        pod("b", phase="Succeeded", containers=[ended(50)]),
        pod("c", phase="Pending", start=None),
    ]
    before = by_name(scheduler.poll(None, (), NOW))
    server.pods = []

    gone, nothing = scheduler.poll(NOW, (), NOW + 60), scheduler.poll(NOW + 60, (), NOW + 120)
    missed = {"seen": NOW + 60, "state": "CANCELLED", "ended": NOW + 60}
    doubt = "deleted between two looks, the end is when it was missed"
    assert {name: replace(before[name], **missed, doubt=doubt) for name in "ac"} == by_name(gone)
    assert (0, NOW + 120) == (len(nothing.records), nothing.until)


def test_pod_is_not_missed_where_its_namespace_could_not_be_read(server: FakeApi, tmp_path: Path) -> None:
    """A right that was taken away ends nothing; the history is not read to the end then."""
    scheduler = made(server, tmp_path, namespaces=("ml", "bio"))
    server.pods = [pod("a"), pod("b", namespace="bio")]
    scheduler.poll(None, (), NOW)
    server.pods = []
    server.refuse = lambda path: status(403, "forbidden") if "/ml/" in path else None

    found = scheduler.poll(NOW, (), NOW + 60)
    assert (["b"], None) == ([*by_name(found)], found.until)
    assert 1 == len(found.failures)
    server.refuse = lambda path: None
    assert ["a"] == [*by_name(scheduler.poll(NOW, (), NOW + 1200))]


def test_old_ends_are_not_told_for_ever(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """A day before `since` is enough, unless the pod was seen alive."""
    late = NOW + LOOK_BACK_SECONDS + 2000
    server.pods = [pod("a", phase="Succeeded", containers=[ended(50)]), pod("b")]
    first = scheduler.poll(None, (), NOW)
    server.pods[1] = pod("b", phase="Succeeded", containers=[ended(60)])

    assert [["a", "b"], ["b"], []] == [
        [*by_name(each)] for each in (first, scheduler.poll(late, (), late), scheduler.poll(late, (), late + 60))
    ]


def test_owner_that_may_not_be_read_costs_no_record(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """The pod belongs to the owner that it names, and the history counts as read."""
    server.pods = [pod("p", owner=server.own("batch/v1", "Job", "j"))]
    server.refuse = lambda path: status(403, "no right") if "/jobs/" in path else None

    found = scheduler.poll(None, (), NOW)
    assert ("uid-j", NOW) == (found.records[0].facts.whole, found.until)
    assert found.failures[0].endswith("answered 403; no right")


def test_server_that_fails_is_left_alone_for_longer_and_longer(
    server: FakeApi, scheduler: KubernetesScheduler
) -> None:
    """15 s, 30 s and so on; until then it is not asked, and afterwards nothing is lost."""
    server.pods = [pod("p")]
    server.refuse = lambda path: status(500, "etcd is away")
    asked = []
    for second in range(0, 120, 5):
        with pytest.raises(Unavailable, match="answered 500; etcd is away"):
            scheduler.poll(None, (), NOW + second)
        asked.append(len(server.asked))
    server.refuse = lambda path: None

    assert [second for second, (a, b) in enumerate(zip([0, *asked], asked)) if b > a] == [0, 3, 9, 21]  # noqa: B905
    assert ["p"] == [*by_name(scheduler.poll(None, (), NOW + 1000))]


def test_server_that_asks_for_patience_has_it(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """Retry-After goes before what is usual."""
    server.refuse, server.retry_after = (lambda path: status(429, "busy")), "300"

    for second in (0, 299):
        with pytest.raises(Unavailable, match="answered 429"):
            scheduler.poll(None, (), NOW + second)
    assert 1 == len(server.asked)


def test_slow_server_is_asked_less_often(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """A tenth of the time at most; in between nothing is new, and nothing is missed."""
    server.pods = [pod("p")]
    server.drip_seconds = 0.001
    scheduler.poll(None, (), NOW)
    asked = len(server.asked)

    assert Poll() == scheduler.poll(NOW, (), NOW + 0.5)
    assert asked == len(server.asked)
    assert ["p"] == [*by_name(scheduler.poll(NOW, (), NOW + 900))]


def test_many_pods_are_read_page_by_page(server: FakeApi, tmp_path: Path) -> None:
    """5,000 pods of which every tenth has GPUs, in fifty pages."""
    owner = server.own("batch/v1", "Job", "array")
    server.pods = [pod(f"p-{n}", None if n % 10 == 0 else {"cpu": "1"}, owner=owner) for n in range(5000)]
    scheduler = made(server, tmp_path, page_size=100)

    began = time.monotonic()
    found = scheduler.poll(None, (), NOW)
    assert (500, NOW) == (len(found.records), found.until)
    assert 50 == sum("/pods" in each for each in server.asked)
    assert time.monotonic() - began < 30


def test_nonsense_among_pods_is_left_out(server: FakeApi, scheduler: KubernetesScheduler) -> None:
    """What has no uid or was never made is no record."""
    server.pods = [
        {"metadata": {"namespace": "ml"}},
        pod("a", metadata={"uid": ""}),
        pod("b", metadata={"creationTimestamp": "never"}),
        pod("c", metadata={"annotations": 1, "ownerReferences": "x"}, conditions=[1], containers=[{}]),
    ]

    assert ["c"] == [*by_name(scheduler.poll(None, (), NOW))]
