"""The object at the top of a pod's owners, with and without the right to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.schedulers.kubernetes_api import Refused
from gpuwatch.schedulers.kubernetes_owners import Owner, Owners
from tests.schedulers.fake_api import FakeApi, status
from tests.schedulers.pods import pod

NOW = 1e9


class Direct:
    """Asks the fake without HTTP."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.down = False

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """What is at a path."""
        self.api.asked.append(path)
        if self.down:
            raise Unavailable(f"{path}: connection refused")
        code, document = self.api.answer(path)
        if code != 200:
            raise Refused(f"{path}: answered {code}", code, document, 0.0)
        return document


@pytest.fixture
def api() -> FakeApi:
    """A server without objects."""
    return FakeApi()


@pytest.fixture
def owners(api: FakeApi) -> Owners:
    """Owners by that server, in a pass at `NOW`."""
    made = Owners(Direct(api))
    made.begin(NOW)
    return made


def chain(api: FakeApi, *kinds: tuple[str, str]) -> dict[str, Any]:
    """Objects of which each owns the next; the reference to the last."""
    reference: dict[str, Any] = {}
    for version, kind in kinds:
        owned = {"ownerReferences": [reference]} if reference else {}
        reference = api.own(version, kind, f"the-{kind.lower()}", **owned)
    return reference


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([("batch/v1", "Job")], "Job"),
        ([("kubeflow.org/v1", "PyTorchJob")], "PyTorchJob"),
        ([("jobset.x-k8s.io/v1alpha2", "JobSet"), ("batch/v1", "Job")], "JobSet"),
        ([("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet")], "Deployment"),
        ([("batch/v1", "CronJob"), ("batch/v1", "Job")], "Job"),
        ([("v1", "Node")], None),
        ([], None),
    ],
)
def test_pod_belongs_to_the_uppermost_owner(
    api: FakeApi, owners: Owners, kinds: list[tuple[str, str]], expected: str | None
) -> None:
    """Each job that a CronJob makes is a job; a pod of the node itself is its own."""
    found = owners.top(pod("p", owner=chain(api, *kinds) or None))

    assert expected == (found.kind if found else None)
    assert {} == owners.failures


def test_owner_that_does_not_control_is_none(api: FakeApi, owners: Owners) -> None:
    """It only keeps the pod from being deleted first."""
    reference = {**api.own("batch/v1", "Job", "j"), "controller": False}

    assert owners.top(pod("p", owner=reference)) is None


def test_owner_that_may_not_be_read_is_the_last(api: FakeApi, owners: Owners) -> None:
    """Its name and uid stand in the pod; what owns it stays unknown, and why is said once."""
    reference = chain(api, ("jobset.x-k8s.io/v1alpha2", "JobSet"), ("batch/v1", "Job"))
    api.refuse = lambda path: status(403) if "/jobs/" in path else None

    found = [owners.top(pod(f"p-{number}", owner=reference)) for number in range(3)]
    assert [Owner("uid-the-job", "Job", "the-job")] * 3 == found
    assert ["/apis/batch/v1/namespaces/ml/jobs/the-job: answered 403"] == [*owners.failures]
    assert 2 == len(api.asked)


def test_kind_that_the_server_does_not_know_is_the_last(api: FakeApi, owners: Owners) -> None:
    """Of an operator that was removed."""
    reference = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "r", "uid": "uid-r", "controller": True}

    assert Owner("uid-r", "RayJob", "r") == owners.top(pod("p", owner=reference))


def test_object_of_the_same_name_is_not_taken_for_it(api: FakeApi, owners: Owners) -> None:
    """The owner was deleted and made again: pods of before belong to the one of before."""
    reference = {**api.own("batch/v1", "Job", "j", annotations={"gpuwatch.dev/campaign": "x"}), "uid": "uid-old"}

    assert Owner("uid-old", "Job", "j") == owners.top(pod("p", owner=reference))


def test_owners_are_looked_up_once_in_ten_minutes(api: FakeApi, owners: Owners) -> None:
    """Then again, since annotations change; what was known stands where it is gone by then."""
    reference = api.own("batch/v1", "Job", "j", annotations={"gpuwatch.dev/campaign": "x", "other": "y"})
    first = [owners.top(pod(f"p-{number}", owner=reference)) for number in range(100)]
    asked = len(api.asked)
    api.objects.clear()
    owners.begin(NOW + 700)
    later = owners.top(pod("p-0", owner=reference))

    expected = Owner("uid-j", "Job", "j", {"gpuwatch.dev/campaign": "x"})
    assert ([expected] * 101, 2) == ([*first, later], asked)


def test_server_that_is_down_is_asked_once_in_a_pass(api: FakeApi) -> None:
    """Everything then belongs to the owner that it names, until the next pass."""
    direct = Direct(api)
    owners, references = Owners(direct), [api.own("batch/v1", "Job", f"j-{number}") for number in range(5)]
    direct.down = True
    owners.begin(NOW)
    found = [owners.top(pod("p", owner=each)) for each in references]
    asked = len(api.asked)
    direct.down = False
    owners.begin(NOW + 60)
    owners.top(pod("p", owner=references[0]))

    assert ([f"j-{number}" for number in range(5)], 1) == ([each.name for each in found if each], asked)
    assert {} == owners.failures


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../../secrets/x"}, {"name": ".."}, {"name": ""}, {"apiVersion": "../v1"}, {"apiVersion": ""},
        {"apiVersion": "batch/v1/namespaces"}, {"kind": "Job/../Secret"},
    ],
)  # fmt: skip
def test_reference_that_names_a_path_is_not_followed(api: FakeApi, owners: Owners, wrong: dict[str, str]) -> None:
    """Whoever makes a pod writes its references."""
    reference = {**api.own("batch/v1", "Job", "j"), **wrong}

    found = owners.top(pod("p", owner=reference))
    assert found is not None
    assert "uid-j" == found.uid
    assert {"/apis/batch/v1"} >= set(api.asked)


def test_circle_of_owners_ends(api: FakeApi, owners: Owners) -> None:
    """Objects that own each other."""
    a = api.own("batch/v1", "Job", "a")
    b = api.own("apps/v1", "ReplicaSet", "b", ownerReferences=[a])
    api.own("batch/v1", "Job", "a", ownerReferences=[b])

    assert owners.top(pod("p", owner=a)) is not None
