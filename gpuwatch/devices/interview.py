"""Ask one NVIDIA device all `questions`, each with a deadline, and write the answers down masked."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from gpuwatch.devices import nvml, questions
from gpuwatch.devices.masking import Mask
from gpuwatch.devices.questions import Question
from gpuwatch.errors import Unavailable

Answer = dict[str, Any]
Deadline = Callable[[Callable[[], Any]], Any]
"""Makes a call in a thread of its own, and raises `Unavailable` where it does not return in time."""

REPEATS = 15
FIELD_REPEATS = 5
ENOUGH_SECONDS = 0.05
PATIENCE = 3
GPM_WINDOW_SECONDS = 0.2


class Asker:
    """Asks one thing at a time, and a device nothing more after `PATIENCE` calls that did not return.

    `silent` counts those calls: where there are any, the driver must not be let go of.
    """

    def __init__(self, api: Any, deadline: Deadline, sleep: Callable[[float], None]) -> None:
        self.api = api
        self.sleep = sleep
        self.silent = 0
        self._deadline = deadline
        self._patience = PATIENCE

    def next_device(self) -> None:
        """Have patience again: what hangs may be one device."""
        self._patience = PATIENCE

    def answer(self, question: Callable[[], Any], repeats: int = 1) -> Answer:
        """`return`, and after a success `value`, as pynvml gave it, and its cost over `repeats` calls."""
        if not self._patience:
            return {"return": None, "failure": "not asked, because the driver hangs"}
        try:
            answer: Answer = self._deadline(partial(_timed, self.api, question, repeats))
        except Unavailable as late:
            self.silent += 1
            self._patience -= 1
            return {"return": None, "failure": str(late)}
        return answer

    def required(self, what: str, question: Callable[[], Any]) -> Any:
        """The value of an answer without which nothing can be recorded; else raises `Unavailable`."""
        answer = self.answer(question)
        if answer["return"] is None:
            raise Unavailable(f"nvidia: {what}: {answer['failure']}")
        if answer["return"]:
            raise nvml.failure(f"nvidia: {what}", self.api.NVMLError(answer["return"]))
        return answer["value"]


def _timed(api: Any, question: Callable[[], Any], repeats: int) -> Answer:
    walls: list[float] = []
    cpus: list[float] = []
    while len(walls) < repeats and sum(walls) <= ENOUGH_SECONDS:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            value = question()
        except api.NVMLError as error:
            return {"return": error.value}
        except Exception as exc:  # noqa: BLE001 - the outermost loop of this thread; pynvml decodes what it is given
            return {"return": None, "failure": type(exc).__name__}
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
    costs = {"seconds": statistics.median(walls), "cpu_seconds": statistics.median(cpus)}
    return {"return": 0, "value": value, "repeats": len(walls)} | {key: round(costs[key], 7) for key in costs}


def system(asker: Asker, mask: Mask) -> dict[str, Answer]:
    """What the driver says without a device."""
    asked = {call: partial(_without_handle, asker.api, call) for call in questions.SYSTEM_QUESTIONS}
    return {call: _masked(asker.answer(question), mask) for call, question in asked.items()}


def _without_handle(api: Any, call: str) -> Any:
    if not hasattr(api, call):
        raise api.NVMLError(nvml.Result.FUNCTION_NOT_FOUND)
    return getattr(api, call)()


def device(asker: Asker, handle: nvml.Handle, mask: Mask) -> Answer:
    """`calls`, `fields`, `gpm` and `mig` of a GPU."""
    calls = _calls(asker, handle, questions.QUESTIONS, mask)
    fields = [_field(asker, handle, number, scope, mask) for number, scope in questions.FIELDS]
    gpm = bool((value_of(calls, "nvmlGpmQueryDeviceSupport") or {}).get("isSupportedDevice"))
    return {
        "calls": calls,
        "fields": fields,
        "gpm": _gpm(asker, partial(asker.api.nvmlGpmSampleGet, handle), mask) if gpm else None,
        "mig": list(_instances(asker, handle, value_of(calls, "nvmlDeviceGetMaxMigDeviceCount") or 0, gpm, mask)),
    }


def value_of(calls: dict[str, list[Answer]], call: str, *arguments: int) -> Any:
    """What a recorded call returned, None where it did not succeed."""
    answers = (each for each in calls.get(call, ()) if each["args"] == list(arguments))
    return next((each["value"] for each in answers if each["return"] == 0), None)


def _calls(asker: Asker, handle: nvml.Handle, asked: Sequence[Question], mask: Mask) -> dict[str, list[Answer]]:
    calls: dict[str, list[Answer]] = {}
    for question in asked:
        answer = asker.answer(partial(questions.ask, asker.api, handle, question), REPEATS)
        calls.setdefault(question[0], []).append({"args": list(question[1])} | _masked(answer, mask))
    return calls


def _masked(answer: Answer, mask: Mask) -> Answer:
    if answer["return"] != 0:
        return answer
    try:
        return answer | {"value": mask.plain(answer["value"])}
    except (UnicodeDecodeError, TypeError) as exc:
        return {"return": None, "failure": type(exc).__name__}


def _field(asker: Asker, handle: nvml.Handle, number: int, scope: int, mask: Mask) -> Answer:
    def ask() -> Any:
        (told,) = asker.api.nvmlDeviceGetFieldValues(handle, [(number, scope)])
        return told

    identity = {"id": number, "scope": scope}
    answer = asker.answer(ask, FIELD_REPEATS)
    if answer["return"] != 0:
        return identity | answer | {"refused": True}
    told = answer.pop("value")
    if told.nvmlReturn:
        return identity | {"return": told.nvmlReturn}
    types = nvml.VALUE_TYPES
    member = types[told.valueType] if told.valueType < len(types) else "ullVal"
    value = {"type": told.valueType, "value": mask.plain(getattr(told.value, member))}
    return identity | {"return": 0} | value | {"latency_usec": told.latencyUsec} | answer


def _instances(asker: Asker, parent: nvml.Handle, most: int, gpm: bool, mask: Mask) -> Iterator[Answer]:
    for index in range(most):
        found = asker.answer(partial(asker.api.nvmlDeviceGetMigDeviceHandleByIndex, parent, index))
        if found["return"] == 0:
            yield {"index": index} | _instance(asker, parent, found["value"], gpm, mask)


def _instance(asker: Asker, parent: nvml.Handle, handle: nvml.Handle, gpm: bool, mask: Mask) -> Answer:
    uuid, model = (
        asker.answer(partial(call, handle)) for call in (asker.api.nvmlDeviceGetUUID, asker.api.nvmlDeviceGetName)
    )
    identity = {
        "uuid": mask.device(uuid["value"]) if uuid["return"] == 0 else None,
        "model": mask.text(model["value"]) if model["return"] == 0 else None,
    }
    calls = _calls(asker, handle, questions.MIG_QUESTIONS, mask)
    number = value_of(calls, "nvmlDeviceGetGpuInstanceId")
    take = partial(asker.api.nvmlGpmMigSampleGet, parent, number)
    return identity | {"calls": calls, "gpm": _gpm(asker, take, mask) if gpm and number is not None else None}


def _gpm(asker: Asker, take: Callable[[Any], Any], mask: Mask) -> Answer:
    """What a sample costs, and what the driver makes of two.

    A sample in which a call hangs is neither used nor freed: two calls on one sample can bring the kernel down.
    """
    recorded: Answer = {"window_seconds": GPM_WINDOW_SECONDS}
    samples: list[Any] = []
    silent = asker.silent
    for wait in (0.0, GPM_WINDOW_SECONDS):
        asker.sleep(wait)
        recorded["sample"] = asker.answer(partial(_sample, asker.api, take))
        if recorded["sample"]["return"] != 0:
            break
        samples.append(recorded["sample"].pop("value"))
    if len(samples) == 2:
        recorded["metrics"] = []
        for numbers in questions.GPM_METRICS:
            if asker.silent == silent:
                recorded["metrics"].append(_metrics(asker, samples, numbers, mask))
    if asker.silent == silent:
        for sample in samples:
            asker.answer(partial(asker.api.nvmlGpmSampleFree, sample))
    return recorded


def _sample(api: Any, take: Callable[[Any], Any]) -> Any:
    sample = api.nvmlGpmSampleAlloc()
    try:
        take(sample)
    except api.NVMLError:
        api.nvmlGpmSampleFree(sample)
        raise
    return sample


def _metrics(asker: Asker, samples: Sequence[Any], numbers: Sequence[int], mask: Mask) -> Answer:
    def ask() -> Any:
        wanted = asker.api.c_nvmlGpmMetricsGet_t()
        wanted.version, wanted.numMetrics = asker.api.NVML_GPM_METRICS_GET_VERSION, len(numbers)
        wanted.sample1, wanted.sample2 = samples
        for position, number in enumerate(numbers):
            wanted.metrics[position].metricId = number
        asker.api.nvmlGpmMetricsGet(wanted)
        return wanted

    answer = asker.answer(ask, REPEATS)
    if answer["return"] != 0:
        return answer | {"asked": list(numbers)}
    told = answer.pop("value").metrics
    values = [
        {"id": each.metricId, "return": each.nvmlReturn}
        | ({} if each.nvmlReturn else {"value": mask.plain(each.value)})
        for each in told[: len(numbers)]
    ]
    return answer | {"values": values}
