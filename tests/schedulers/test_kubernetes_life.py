"""When a pod holds its devices, and how it ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.schedulers.base import RUNNING as RUNNING_STATES
from gpuwatch.schedulers.base import WAITING as WAITING_STATES
from gpuwatch.schedulers.kubernetes_life import Life, life, moment
from tests.schedulers.pods import MIDNIGHT, RUNNING, at, ended, pod, written

SCHEDULED = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": written(5)}]
WAITING = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}


def disrupted(reason: str) -> list[dict[str, str]]:
    """The condition that says why a pod was ended from outside."""
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": written(90)}]


def deleted(when: float, grace: int = 30) -> dict[str, Any]:
    """Metadata of a pod that somebody deleted at that time."""
    return {"deletionTimestamp": written(when + grace), "deletionGracePeriodSeconds": grace}


CASES = {
    "waits for a node": (pod("p", phase="Pending", start=None, conditions=[]), Life("PENDING")),
    "was sent to a node": (
        pod("p", phase="Pending", start=None, spec={"nodeName": "n1"}, conditions=SCHEDULED),
        Life("RUNNING", at(5)),
    ),
    "pulls its image": (pod("p", phase="Pending", containers=[WAITING]), Life("RUNNING", at(10))),
    "runs": (pod("p", containers=[RUNNING, ended(50)]), Life("RUNNING", at(10))),
    "is restarted after a crash": (pod("p", containers=[WAITING]), Life("RUNNING", at(10))),
    "node silent": (
        pod("p", phase="Unknown", containers=[RUNNING]),
        Life("RUNNING", at(10), doubt="its node does not answer"),
    ),
    "succeeded": (
        pod("p", phase="Succeeded", containers=[ended(70), ended(100)]),
        Life("COMPLETED", at(10), at(100), 0),
    ),
    "failed": (
        pod("p", phase="Failed", containers=[ended(70, 3, "Error"), ended(100, 137, "Error")]),
        Life("FAILED", at(10), at(100), 3),
    ),
    "init failed": (
        pod("p", phase="Failed", containers=[WAITING], initContainerStatuses=[ended(40, 1, "Error")]),
        Life("FAILED", at(10), at(40), 1),
    ),
    "out of memory": (
        pod("p", phase="Failed", containers=[ended(100, 137, "OOMKilled")]),
        Life("OUT_OF_MEMORY", at(10), at(100), 137),
    ),
    "evicted, no statuses left": (
        pod("p", phase="Failed", reason="Evicted", conditions=disrupted("TerminationByKubelet")),
        Life("PREEMPTED", at(10), at(90)),
    ),
    "preempted": (
        pod("p", phase="Failed", containers=[ended(95, 143)], conditions=disrupted("PreemptionByScheduler")),
        Life("PREEMPTED", at(10), at(95), 143),
    ),
    "node shut down": (
        pod("p", phase="Failed", reason="Terminated", containers=[ended(95, 143)]),
        Life("NODE_FAIL", at(10), at(95), 143),
    ),
    "too long": (
        pod("p", phase="Failed", reason="DeadlineExceeded", containers=[ended(95, 143)]),
        Life("TIMEOUT", at(10), at(95), 143),
    ),
    "turned away by the node": (
        pod("p", phase="Failed", reason="UnexpectedAdmissionError"),
        Life("FAILED", at(10), at(10)),
    ),
    "being taken down": (
        pod("p", containers=[RUNNING, ended(60)], metadata=deleted(50)),
        Life("RUNNING", at(10)),
    ),
    "taken down": (
        pod("p", containers=[ended(61, 143), ended(60)], metadata=deleted(50)),
        Life("CANCELLED", at(10), at(61), 143),
    ),
    "deleted while it ran": (
        pod("p", phase="Failed", containers=[ended(61, 143)], metadata=deleted(50)),
        Life("CANCELLED", at(10), at(61), 143),
    ),
    "failed, then deleted": (
        pod("p", phase="Failed", containers=[ended(61, 1)], metadata=deleted(90)),
        Life("FAILED", at(10), at(61), 1),
    ),
    "nobody knows when a container ended": (
        pod(
            "p",
            phase="Failed",
            containers=[ended(40), {"state": {"terminated": {"exitCode": 137, "finishedAt": None}}}],
            conditions=[{"type": "Ready", "status": "False", "lastTransitionTime": written(80)}],
        ),
        Life("FAILED", at(10), at(80), 137),
    ),
    "succeeded, and nothing else is known": (pod("p", phase="Succeeded", start=None), Life("COMPLETED")),
    "finished before it began": (
        pod("p", phase="Succeeded", containers=[ended(2)]),
        Life("COMPLETED", at(10), at(10), 0),
    ),
}


@pytest.mark.parametrize(("document", "expected"), CASES.values(), ids=CASES)
def test_life_of_a_pod(document: dict[str, Any], expected: Life) -> None:
    """It holds its devices from admission until the last container has ended."""
    assert expected == life(document)


@pytest.mark.parametrize("document", [{}, {"status": 1}, {"status": {"containerStatuses": [1, {"state": "x"}]}}])
def test_nonsense_waits(document: dict[str, Any]) -> None:
    """There is nothing that it holds."""
    assert Life("PENDING") == life(document)


TIMES = st.integers(0, 100)
CONTAINERS = st.lists(st.one_of(st.just(RUNNING), st.just(WAITING), st.builds(ended, TIMES, st.integers(0, 255))))


@given(
    st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown", "new"]),
    st.none() | TIMES,
    CONTAINERS,
    st.none() | TIMES,
)
def test_pod_waits_runs_or_has_ended(
    phase: str, start: float | None, containers: list[dict[str, Any]], gone: float | None
) -> None:
    """Whatever the server says: it ends after it began, and what runs has begun and has no end."""
    metadata = deleted(gone) if gone is not None else {}
    found = life(pod("p", phase=phase, start=start, containers=containers, metadata=metadata))

    if found.state in WAITING_STATES:
        assert (None, None) == (found.started, found.ended)
    elif found.state in RUNNING_STATES:
        assert (True, None) == (found.started is not None, found.ended)
    elif found.started is not None:
        assert found.started <= found.ended


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01T00:00:01Z", MIDNIGHT + 1),
        ("2026-05-01T00:00:01.250000Z", MIDNIGHT + 1.25),
        ("2026-05-01T02:00:00+02:00", MIDNIGHT),
        ("2026-05-01T00:00:00", MIDNIGHT),
        ("yesterday", None),
        ("", None),
    ],
)
def test_time_is_utc(text: str, expected: float | None) -> None:
    """With and without a fraction."""
    assert expected == moment(text)
