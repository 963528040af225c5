"""Quantities, Kubernetes' rule for init containers and sidecars, and devices by resource."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.schedulers.kubernetes import KubernetesScheduler
from gpuwatch.schedulers.kubernetes_requests import Count, amount, count, part, requested

GPU = "nvidia.com/gpu"
SETTINGS = KubernetesScheduler.Settings()
TABLE = tuple(part(each) for each in SETTINGS.devices)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2", 2), (2, 2), ("500m", 0.5), ("1.5", 1.5), (".5", 0.5), ("2.", 2), ("1k", 1000), ("1Ki", 1024),
        ("1e3", 1000), ("1E3", 1000), ("1E", 1e18), ("3Gi", 3 * 2**30), ("100u", 1e-4), ("5n", 5e-9), ("0", 0),
        ("", None), ("-1", None), ("1 ", None), ("1KB", None), ("e3", None), ("1e999", None), ("9" * 99, None),
        ("nan", None), (None, None), (1.5, None), ([], None),
    ],
)  # fmt: skip
def test_quantity_is_read_as_kubernetes_writes_it(written: object, expected: float | None) -> None:
    """Decimal and binary suffixes, exponents; what is none is unknown."""
    actual = amount(written)
    assert (pytest.approx(expected) if expected is not None else None) == actual


@given(st.one_of(st.text(max_size=20), st.integers(), st.none()))
def test_any_quantity_is_a_number_or_none(written: object) -> None:
    """Never negative, never an error."""
    found = amount(written)

    assert found is None or found >= 0


@given(st.integers(0, 10**12), st.sampled_from(["m", "", "k", "Mi"]))
def test_quantity_scales_with_its_number(number: int, suffix: str) -> None:
    """A thousand times the number is a thousand times the amount."""
    assert pytest.approx((amount(f"{number}{suffix}") or 0) * 1000) == amount(f"{number * 1000}{suffix}")


def container(gpus: int, always: bool = False) -> dict[str, object]:
    """A container that asks for GPUs; a sidecar where it is always restarted."""
    return {"resources": {"limits": {GPU: str(gpus)}}, **({"restartPolicy": "Always"} if always else {})}


@pytest.mark.parametrize(
    ("inits", "containers", "expected"),
    [
        ([], [container(2), container(1)], 3),
        ([container(4)], [container(2), container(1)], 4),
        ([container(1), container(2)], [container(4)], 4),
        ([container(1, always=True)], [container(2)], 3),
        ([container(1, always=True), container(3)], [container(2)], 4),
        ([container(3), container(1, always=True)], [container(2)], 3),
        ([container(1, always=True), container(1, always=True), container(5)], [container(1)], 7),
        ([], [], 0),
    ],
)
def test_pod_is_given_what_it_takes_at_its_most(
    inits: list[object], containers: list[object], expected: int
) -> None:
    """The larger of running and starting; a sidecar is there in both, from when it is started."""
    found = requested({"initContainers": inits, "containers": containers})

    assert expected == found.get(GPU, 0)


def test_request_goes_before_limit() -> None:
    """They can differ for CPUs."""
    spec = {"containers": [{"resources": {"limits": {"cpu": "4"}, "requests": {"cpu": "500m"}}}]}

    assert {"cpu": 0.5} == requested(spec)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"containers": 1},
        {"containers": [None, {"resources": []}]},
        {"containers": [{"resources": {"limits": ["x"], "requests": {"a": None}}}]},
    ],
)
def test_nonsense_asks_for_nothing(spec: dict[str, object]) -> None:
    """Custom API servers exist."""
    assert {} == requested(spec)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ({GPU: 8.0}, Count(8, f"requests {GPU}")),
        ({"google.com/tpu": 4.0}, Count(4, "requests google.com/tpu")),
        ({"amd.com/gpu": 1.0, GPU: 1.0}, Count(2, f"requests amd.com/gpu+{GPU}")),
        ({"nvidia.com/mig-1g.10gb": 2.0}, Count(2 / 7, "requests nvidia.com/mig-1g.10gb")),
        ({"nvidia.com/mig-1c.3g.40gb": 1.0}, Count(1 / 7, "requests nvidia.com/mig-1c.3g.40gb")),
        ({"nvidia.com/mig-7g.80gb": 1.0}, Count(1, "requests nvidia.com/mig-7g.80gb")),
        ({"nvidia.com/mig-1g.10gb.me": 1.0}, Count(1 / 7, "requests nvidia.com/mig-1g.10gb.me")),
        ({"nvidia.com/mig-2g.12gb": 1.0}, Count(2 / 4, "requests nvidia.com/mig-2g.12gb")),
        ({"nvidia.com/gpu.shared": 1.0}, Count(None, "", "nvidia.com/gpu.shared is in no table")),
        ({"nvidia.com/mig-9g.99gb": 1.0}, Count(None, "", "nvidia.com/mig-9g.99gb is in no table")),
        ({"cpu": 4.0, GPU: 0.0}, None),
        ({"nvidia.com/hostdev": 1.0}, None),
    ],
)  # fmt: skip
def test_devices_are_counted_by_resource(amounts: dict[str, float], expected: Count | None) -> None:
    """What one is stands in the table or in its name; else the number is unknown, and why is said."""
    assert expected == count(amounts, TABLE, SETTINGS.others)


def test_site_says_what_a_shared_device_is() -> None:
    """Also for slices, and for resources of its own; the first entry that fits counts."""
    table = [part(each) for each in ("nvidia.com/gpu.shared=1/4", "nvidia.com/mig-*=0.25", "example.com/*=2")]

    asked = {"nvidia.com/gpu.shared": 2.0, "nvidia.com/mig-1g.24gb": 1.0, "example.com/duo": 1.0}
    assert 2.75 == count(asked, table, SETTINGS.others).devices


@pytest.mark.parametrize("written", ["", "x", "=1", "x=", "x=0", "x=-1", "x=1/0", "x=many", "x=" + "9" * 50])
def test_entry_that_says_nothing_is_refused(written: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValueError, match="is not RESOURCE=NUMBER or RESOURCE=N/M"):
        KubernetesScheduler.Settings(devices=(written,))
