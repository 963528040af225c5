"""Google's own client reads the same runtime as we do, and shows the same numbers.

The runtime is the tests' own: no hardware of this kind is to be had here. That Google's client understands it is
what says that it speaks as theirs do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpuwatch.devices.tpu_wire import MESSAGES, ONEOFS
from tests.fake_tpu import GENERATIONS

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".cache" / "tpu-info"
PINNED = "tpu-info==0.14.2"
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--propagation", "private")

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("tpu-info")]

DESCRIBE = """
import json
from tpu_info.proto import tpu_metric_service_pb2 as known
def told(message):
    return {each.name: [each.number, each.type, each.containing_oneof.name if each.containing_oneof else ""]
            for each in message.fields}
found = {name: told(each) for name, each in known.DESCRIPTOR.message_types_by_name.items()}
buckets = known.Distribution.DESCRIPTOR.nested_types_by_name["BucketOptions"]
found["BucketOptions"] = told(buckets)
found["Exponential"] = told(buckets.fields_by_name["exponential_buckets"].message_type)
methods = [each.name for each in known.DESCRIPTOR.services_by_name["RuntimeMetricService"].methods]
print(json.dumps({"messages": found, "methods": methods}))
"""
TYPES = {"double": 1, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9}
OURS = {
    "model": "gpuwatch_device_info",
    "duty": "gpuwatch_device_utilization_ratio",
    "used": "gpuwatch_device_memory_used_bytes",
    "total": "gpuwatch_device_memory_total_bytes",
    "bandwidth": "gpuwatch_device_dram_activity_ratio",
    "idle": "gpuwatch_device_tensor_idle_seconds",
    "queue": "gpuwatch_device_queued_programs",
}


@pytest.fixture(scope="session")
def client() -> Path:
    """Google's client in an environment of its own: it brings libraries that nothing else here needs."""
    if not (VENV / "bin" / "tpu-info").exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(VENV)],
            [str(VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", PINNED],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
            if done.returncode != 0:
                pytest.skip(f"{PINNED} cannot be had; {done.stderr.strip()[-300:]}")
    return VENV


@pytest.fixture(scope="session")
def namespaces() -> tuple[str, ...]:
    """How to run a program at paths and on ports of its own."""
    if os.geteuid() != 0:
        pytest.skip("a TPU host at the real paths needs a mount namespace, and that needs root")
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        pytest.skip(f"no namespaces here; {done.stderr.strip()}")
    return UNSHARE


@pytest.fixture(scope="session", params=["v3", "7x"])
def both(
    request: pytest.FixtureRequest,
    client: Path,
    namespaces: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, dict[str, Any]]:
    """What we and Google's client say of a host of a generation."""
    folder = tmp_path_factory.mktemp(f"tpu-{request.param}")
    program = [sys.executable, "-m", "tests.integration.tpu_guest", str(folder), request.param, str(client)]
    done = subprocess.run(
        [*namespaces, *program],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return request.param, json.loads(done.stdout.splitlines()[-1])


def by_chip(page: str, name: str, label: str = "") -> list[Any]:
    """The values of a metric by address, or those of one of its labels."""
    families = text_string_to_metric_families(page)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    ordered = sorted(samples, key=lambda sample: sample.labels["uuid"])
    return [sample.labels[label] if label else sample.value for sample in ordered]


def folded(values: list[float], devices: int) -> list[list[float]]:
    """Google's client tells devices; so many of them are a chip."""
    return [values[place : place + devices] for place in range(0, len(values), devices)]


def test_both_say_the_same_numbers(both: tuple[str, dict[str, Any]]) -> None:
    """Duty cycle, memory, its bandwidth, idle time and queue, of every chip."""
    generation, found = both
    own, google, page = GENERATIONS[generation], found["google"], found["ours"]
    usage = google["usage"]

    assert own.chips * own.functions == google["functions"]
    assert f"{own.model} chip" == google["model"]
    assert [own.model] * own.chips == by_chip(page, OURS["model"], "model")
    duty = folded([each["duty_cycle_pct"] for each in usage], own.devices)
    assert [sum(each) / len(each) / 100 for each in duty] == by_chip(page, OURS["duty"])
    for ours, theirs in (("used", "memory_usage"), ("total", "total_memory")):
        assert [sum(each) for each in folded([each[theirs] for each in usage], own.devices)] == by_chip(
            page, OURS[ours]
        )
    bandwidth = folded([value for _, value in google["bandwidth"]], own.devices)
    assert [sum(each) / len(each) / 100 for each in bandwidth] == by_chip(page, OURS["bandwidth"])
    assert [min(each) for each in folded([value for _, value in google["idle"]], own.devices)] == by_chip(
        page, OURS["idle"]
    )
    assert [sum(each) for each in folded([value for _, value in google["queue"]], own.devices)] == by_chip(
        page, OURS["queue"]
    )


def test_both_find_the_same_quantiles(both: tuple[str, dict[str, Any]]) -> None:
    """Of the durations of programs, from the same buckets."""
    _, found = both
    theirs = found["google"]["programs"][0]
    families = text_string_to_metric_families(found["ours"])
    ours = {
        sample.labels["q"]: sample.value * 1e6
        for family in families
        for sample in family.samples
        if sample.name == "gpuwatch_device_program_duration_seconds" and sample.labels["uuid"].endswith("05.0")
    }

    assert {"0.5": theirs["p50"], "0.9": theirs["p90"], "0.95": theirs["p95"], "0.999": theirs["p999"]} == (
        pytest.approx(ours, rel=1e-6)
    )


def test_both_see_the_same_owner(both: tuple[str, dict[str, Any]]) -> None:
    """The process that has the nodes open: here the runtime, whose user holds every chip whole."""
    generation, found = both
    own = GENERATIONS[generation]
    shares = by_chip(found["ours"], "gpuwatch_device_job_share", "job_id")

    assert {found["pid"]} == set(found["google"]["owners"].values())
    assert own.chips == len(found["google"]["owners"])
    assert ["user:root"] * own.chips == shares


def test_the_client_shows_what_we_export(both: tuple[str, dict[str, Any]]) -> None:
    """Its table, as an operator sees it."""
    generation, found = both
    own = GENERATIONS[generation]
    gib = own.memory_bytes / 2**30

    assert f"Accelerator type: {generation}" in found["shown"]
    assert f"{gib / 2:.2f} GiB / {gib:.2f} GiB" in found["shown"]
    assert "75.00%" in found["shown"]


def test_check_says_which_port_answered_and_what_it_lists(both: tuple[str, dict[str, Any]]) -> None:
    """And what cannot be seen here, as the agent is in a pid namespace."""
    _, found = both
    findings = {each["what"]: (each["status"], each["detail"]) for each in found["check"]["findings"]}

    assert "ok" == findings["devices.tpu: port 8431"][0]
    assert "tpu.runtime.tensorcore.dutycycle.percent" in findings["devices.tpu: port 8431"][1]
    assert "warning" == findings["devices.tpu: holders"][0]
    assert "devices.tpu: energy" in findings


def test_messages_have_the_numbers_that_google_gives_them(client: Path) -> None:
    """Every field that we read, by number, type and oneof, as Google's generated code describes it."""
    done = subprocess.run(
        [str(client / "bin" / "python"), "-c", DESCRIBE], capture_output=True, text=True, timeout=60, check=True
    )
    google = json.loads(done.stdout)

    assert {"GetRuntimeMetric", "ListSupportedMetrics"} <= set(google["methods"])
    for message, fields in MESSAGES.items():
        for name, (number, kind, _) in fields.items():
            theirs = google["messages"][message][name]
            assert (message, name, number, TYPES.get(kind, 11)) == (message, name, *theirs[:2])
            if message != "BucketOptions":
                assert (message, name, name in ONEOFS.get(message, ())) == (message, name, bool(theirs[2]))
