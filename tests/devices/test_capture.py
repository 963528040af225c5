"""A recording of the driver has everything in it that a reader needs, and nothing of the machine it is from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from gpuwatch.devices import capture, interview, questions
from gpuwatch.devices.interview import Asker
from gpuwatch.devices.masking import Mask
from gpuwatch.errors import RestartRequired, Unavailable
from tests.devices.talkative import (
    BUS,
    CLIQUE,
    CLUSTER,
    DOMAIN,
    INSTANCES,
    PART,
    PIDS,
    SERIAL,
    UUID,
    Talkative,
    everything,
)
from tests.fake_nvml import FakeNvml

Drive = Callable[[int], FakeNvml]


def at_once(call: Callable[[], Any]) -> Any:
    """A deadline that nothing misses."""
    return call()


def no_wait(seconds: float) -> None:
    """The window between two samples, for a driver that needs none."""


def recordings() -> list[dict[str, Any]]:
    """What is recorded of the driver that this process sees."""
    return list(capture.record(at_once, no_wait))


@pytest.fixture
def talkative() -> Talkative:
    """A driver that tells who it is at every opportunity."""
    return Talkative()


def recording_of(api: Talkative, deadline: Callable[[Callable[[], Any]], Any] = at_once) -> dict[str, Any]:
    """The only recording of a driver in Python."""
    (recorded,) = capture.each_kind(Asker(api, deadline, no_wait), "575.57.08")
    return recorded


def identities() -> list[str]:
    """Everything that the talkative driver is known by, in every spelling, whole and in parts."""
    uuids = [UUID[4:], UUID[4:].replace("-", ""), *UUID[4:].split("-"), *INSTANCES[0].split("-")[1:]]
    words = ["rack42", "seat7", "abcd:e7", ":e7:", CLUSTER.hex(), str(list(CLUSTER)), SERIAL, PART]
    return [*uuids, *words, *map(str, PIDS)]


def test_nothing_that_identifies_the_machine_is_left(talkative: Talkative) -> None:
    """Every identity that the driver could tell is searched for in the text, and among the numbers."""
    recorded = recording_of(talkative)
    text = (capture.text_of(recorded) + capture.file_name(recorded)).lower()
    numbers: set[int] = set()
    for group in (recorded, *recorded["mig"]):
        everything(group["calls"], lambda each: numbers.add(each) if type(each) is int else None)

    assert [word for word in identities() if word.lower() in text] == []
    assert numbers & {DOMAIN, BUS, *PIDS, *CLUSTER, CLIQUE} == set()
    assert talkative.identities_told == []


def test_what_is_masked_keeps_its_shape_and_its_sameness(talkative: Talkative) -> None:
    """One process is one number in every list; instances differ; addresses can be parsed."""
    recorded = recording_of(talkative)

    pci = interview.value_of(recorded["calls"], "nvmlDeviceGetPciInfo_v3")
    compute, graphics = (
        [each["pid"] for each in interview.value_of(group["calls"], f"nvmlDeviceGet{kind}RunningProcesses_v3")]
        for group, kind in ((recorded, "Compute"), (recorded["mig"][2], "Graphics"))
    )
    assert (compute, graphics) == ([1001, 1002], [1002])
    assert (pci["busId"], pci["busIdLegacy"], pci["domain"], pci["bus"]) == (
        "00000000:01:00.0",
        "0000:01:00.0",
        0,
        1,
    )
    assert recorded["uuid"] == "GPU-00000000-0000-0000-0000-000000000000"
    assert [each["uuid"] for each in recorded["mig"]] == [
        "MIG-00000000-0000-0000-0000-000000000001",
        "MIG-GPU-00000000-0000-0000-0000-000000000000/3/0",
        "MIG-masked-0",
    ]


@pytest.mark.parametrize("uid", ["GPU-0", "0", "GPU-" + "0" * 8, "serial 1650123456789", "a|b.*", ""])
def test_an_identity_of_any_form_is_hidden(uid: str) -> None:
    """Even one that looks like a part of what stands for the others."""
    mask = Mask()
    stands = mask.device(uid)

    assert uid == "" or stands != uid
    assert mask.device(uid) == stands
    assert mask.text(f"<{UUID}>") == "<GPU-00000000-0000-0000-0000-000000000000>"


def test_mig_instances_are_recorded_with_their_place(talkative: Talkative) -> None:
    """Instance ids, slices and memory, from the instance's own handle."""
    recorded = recording_of(talkative)

    second = recorded["mig"][1]
    assert [each["index"] for each in recorded["mig"]] == [0, 1, 2]
    assert interview.value_of(second["calls"], "nvmlDeviceGetGpuInstanceId") == 4
    assert interview.value_of(second["calls"], "nvmlDeviceGetAttributes_v2")["computeInstanceSliceCount"] == 1
    assert interview.value_of(second["calls"], "nvmlDeviceGetMemoryInfo_v2")["total"] == 9984 << 20
    assert capture.file_name(recorded).endswith("-mig__575.57.08.json")


def test_gpm_is_recorded_for_the_whole_and_for_each_instance(talkative: Talkative) -> None:
    """Two samples each, taken apart and given back; what a metric has no number for is text or a code."""
    recorded = recording_of(talkative)

    for gpm in (recorded["gpm"], *(each["gpm"] for each in recorded["mig"])):
        first, second = gpm["metrics"]
        assert gpm["window_seconds"] == 0.2
        assert gpm["sample"]["seconds"] >= 0
        assert first["values"] == [
            {"id": 2, "return": 0, "value": 2.5},
            {"id": 5, "return": 0, "value": 5.5},
            {"id": 10, "return": 0, "value": "nan"},
        ]
        assert {"id": 248, "return": 3} in second["values"]
    assert len(talkative.samples) == len(talkative.freed) == 8


def test_a_sample_in_which_a_call_hangs_is_left_alone(talkative: Talkative) -> None:
    """Two calls on one sample can bring the kernel down: neither is it used again, nor freed."""
    taken: list[str] = []

    def deadline(call: Callable[[], Any]) -> Any:
        name = getattr(call.args[1], "__qualname__", "")  # type: ignore[attr-defined]
        taken.append(name)
        if "_metrics" in name:
            raise Unavailable("no answer within 1 s")
        return call()

    recorded = recording_of(talkative, deadline)

    assert recorded["gpm"]["metrics"] == [
        {"return": None, "failure": "no answer within 1 s", "asked": list(questions.GPM_METRICS[0])}
    ]
    assert talkative.freed == []


def test_what_pynvml_cannot_decode_costs_one_answer(talkative: Talkative) -> None:
    """The error's text is left out: it would quote what could not be read."""
    assert recording_of(talkative)["calls"]["nvmlDeviceGetBrand"] == [
        {"args": [], "return": None, "failure": "UnicodeDecodeError"}
    ]


def test_questions_only_ask() -> None:
    """No function that sets or clears anything, none that blocks, none that names the board."""
    asked = {call for call, _ in (*questions.QUESTIONS, *questions.MIG_QUESTIONS)} | {*questions.SYSTEM_QUESTIONS}

    assert all(re.match(r"nvml(Device|System)Get|nvmlGpmQuery", call) for call in asked)
    assert not {call for call in asked if re.search(r"Throughput|Serial|PartNumber|UUID|Name|Set|Clear", call)}


def test_the_driver_is_asked_and_never_told(fake: FakeNvml) -> None:
    """Nothing is set, nothing that blocks is called, and the driver is let go of."""
    recordings()

    assert fake.forbidden_calls == 0
    assert "nvmlDeviceGetSerial" not in fake.all_calls


def test_answers_have_their_cost(fake: FakeNvml) -> None:
    """Wall and processor time, the median of several calls; a failure has none."""
    fake.devices[0].fail("nvmlDeviceGetPowerUsage", 3)
    (recorded,) = recordings()

    (told,) = recorded["calls"]["nvmlDeviceGetUtilizationRates"]
    assert recorded["calls"]["nvmlDeviceGetPowerUsage"] == [{"args": [], "return": 3}]
    assert (told["return"], told["repeats"]) == (0, 15)
    assert 0 < told["seconds"] < 1
    assert 0 < told["cpu_seconds"] < 1


def test_a_slow_call_is_not_repeated_to_tedium(fake: FakeNvml) -> None:
    """Fifteen calls of a driver that takes 30 ms for each would be half a second for each question."""
    fake.slow("nvmlDeviceGetUtilizationRates", 0.03)
    (recorded,) = recordings()

    assert recorded["calls"]["nvmlDeviceGetUtilizationRates"][0]["repeats"] <= 2


def test_every_field_is_recorded_with_its_own_result(fake: FakeNvml) -> None:
    """All ids, power and energy by scope, NVLink over all links; type and value of those that are known."""
    fake.devices[0].field(82, 61, 1)
    fake.devices[0].fail_field(185, 3)
    (recorded,) = recordings()
    fields = {(each["id"], each["scope"]): each for each in recorded["fields"]}

    assert {number for number, scope in fields if scope == 0} == set(range(1, 321))
    assert {(191, 1), (186, 3), (138, 0xFFFFFFFF)} <= set(fields)
    assert fields[185, 0] == {"id": 185, "scope": 0, "return": 3}
    memory_temperature = fields[82, 0]
    assert (memory_temperature["return"], memory_temperature["type"], memory_temperature["value"]) == (0, 1, 61)
    assert {"latency_usec", "seconds", "cpu_seconds"} <= set(memory_temperature)


def test_a_driver_that_refuses_the_whole_call_is_told_from_one_that_refuses_a_field(fake: FakeNvml) -> None:
    """Played back, they take different ways through gpuwatch."""
    fake.devices[0].fail("nvmlDeviceGetFieldValues", 13)
    (recorded,) = recordings()

    assert recorded["fields"][0] == {"id": 1, "scope": 0, "return": 13, "refused": True}


def test_a_function_that_the_library_lacks_is_recorded_as_missing(fake: FakeNvml) -> None:
    """An old driver has no symbol for it; the rest goes on."""
    (recorded,) = recordings()

    assert recorded["calls"]["nvmlDeviceGetMarginTemperature"] == [{"args": [], "return": 13}]


def test_a_recording_is_named_by_vendor_model_and_driver(fake: FakeNvml) -> None:
    """The name of the file says what it is of, and a model cannot lead out of the folder."""
    fake.devices[0].name = "NVIDIA H100 80GB HBM3"
    (recorded,) = recordings()

    assert capture.file_name(recorded) == "nvidia-h100-80gb-hbm3__570.86.15.json"
    assert capture.file_name(recorded | {"model": "../../etc/x"}) == "nvidia-etc-x__570.86.15.json"
    assert capture.file_name(recorded | {"model": "…", "driver": "/"}) == "nvidia-unknown__unknown.json"


def test_equal_devices_are_recorded_once(driver: Drive) -> None:
    """Of eight boards of two models the first of each is asked, and the others left alone."""
    node = driver(8)
    for device in node.devices[4:]:
        device.name = "NVIDIA A100-SXM4-40GB"

    names = [each["model"] for each in recordings()]

    assert names == ["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"]
    assert node.calls("nvmlDeviceGetTemperatureV") == 2 * interview.REPEATS


def test_a_lost_device_does_not_hide_the_others(driver: Drive) -> None:
    """It is passed over; where there is nothing else, its error is told."""
    node = driver(2)
    node.devices[0].lose()
    others = recordings()
    node.devices[1].lose()

    assert len(others) == 1
    with pytest.raises(Unavailable, match="device 1: the GPU has fallen off the bus"):
        recordings()


def test_a_node_without_devices_is_unavailable(driver: Drive) -> None:
    """An empty list is no recording."""
    driver(1).reorder([])

    with pytest.raises(Unavailable, match=r"driver 570\.86\.15 is loaded but lists no GPU"):
        recordings()


@pytest.mark.parametrize(("result", "error"), [(9, Unavailable), (18, RestartRequired), (999, Unavailable)])
def test_a_driver_that_cannot_be_opened_says_why(fake: FakeNvml, result: int, error: type[Unavailable]) -> None:
    """As the agent would say it."""
    fake.fail_everything(result)

    with pytest.raises(error, match=r"^nvidia: "):
        recordings()


def test_a_driver_that_hangs_is_given_up_after_a_few_calls(fake: FakeNvml) -> None:
    """What was answered before is kept; every question has an answer, if only that it was not asked."""
    calls = 0

    def deadline(call: Callable[[], Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise Unavailable("no answer within 1 s")
        return call()

    (recorded,) = capture.record(deadline, no_wait)

    assert calls == 30 + interview.PATIENCE
    failures = [each["failure"] for each in recorded["fields"]]
    assert set(failures) == {"not asked, because the driver hangs"}
    assert capture.unanswered(recorded) > len(failures)
    assert interview.value_of(recorded["calls"], "nvmlDeviceGetCudaComputeCapability") == [9, 0]


def test_a_device_that_hangs_does_not_hide_another_kind(driver: Drive) -> None:
    """The other is asked everything; the driver is not let go of while a call hangs in it."""
    node = driver(2)
    node.devices[1].name = "NVIDIA L4"
    calls = 0
    closed = False

    def deadline(call: Callable[[], Any]) -> Any:
        nonlocal calls, closed
        calls += 1
        closed = closed or getattr(call, "__name__", "") == "close"
        if 10 < calls <= 10 + interview.PATIENCE:
            raise Unavailable("no answer within 1 s")
        return call()

    hanging, healthy = capture.record(deadline, no_wait)

    assert capture.unanswered(hanging) > 300
    assert (healthy["model"], capture.unanswered(healthy)) == ("NVIDIA L4", 0)
    assert not closed


def test_a_driver_that_hangs_at_once_is_unavailable(fake: FakeNvml) -> None:
    """Not even its version is known."""

    def deadline(call: Callable[[], Any]) -> Any:
        raise Unavailable("no answer within 1 s")

    with pytest.raises(Unavailable, match=r"^nvidia: the driver gives no answer within 1 s"):
        list(capture.record(deadline, no_wait))


def test_a_driver_that_hangs_at_its_end_costs_nothing(fake: FakeNvml) -> None:
    """All that was asked has been answered by then."""

    def deadline(call: Callable[[], Any]) -> Any:
        if getattr(call, "__name__", "") == "close":
            raise Unavailable("no answer within 1 s")
        return call()

    (recorded,) = capture.record(deadline, no_wait)

    assert capture.unanswered(recorded) == 0


def test_the_text_reads_back_and_has_an_answer_on_a_line(fake: FakeNvml) -> None:
    """So that two recordings can be compared by diff."""
    (recorded,) = recordings()
    text = capture.text_of(recorded)

    assert json.loads(text) == json.loads(json.dumps(recorded))
    assert sum('"scope": ' in line for line in text.splitlines()) == len(recorded["fields"])
