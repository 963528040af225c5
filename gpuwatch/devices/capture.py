"""A masked recording of what the NVIDIA driver of this machine says, to develop and test without the machine.

Only getters are asked, see `questions`, none that blocks (nvmlDeviceGetPcieThroughput does, for 20 ms). What
identifies the machine or its users is masked, see `masking`, or not read.

A recording is an object with `schema`, `made_by`, `pynvml`, `vendor`, `model`, `driver`, `uuid`, and

- `system`, `calls`: C function → answers, each with `args`, `return` (nvmlReturn_t; null where none came, then
  `failure` says why) and, after a success, `value`, `seconds` and `cpu_seconds`: medians of `repeats` calls, on
  the wall, and of the thread's processor time;
- `fields`: value ids of nvmlDeviceGetFieldValues, each with `id`, `scope`, `return`, and after a success `type`,
  `value`, `latency_usec`, and times as above; `refused` is true where the whole call failed, not the field;
- `gpm`: null where it is not supported, else the cost of a `sample` and `metrics` over `window_seconds`;
- `mig`: instances, each with `index`, `uuid`, `model`, `calls` and `gpm`.

Readers ignore keys that they do not know; `schema` changes only when the meaning of one does.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gpuwatch import __version__
from gpuwatch.devices import interview, nvml
from gpuwatch.devices.interview import Asker, Deadline
from gpuwatch.devices.masking import Mask
from gpuwatch.errors import Unavailable

Capture = dict[str, Any]
Kind = tuple[str, bool]
"""Model, and whether it is split into MIG instances."""

SCHEMA = 2
WIDTH = 160


def record(deadline: Deadline, sleep: Callable[[float], None] = time.sleep) -> Iterator[Capture]:
    """A recording of each kind of device here; `Unavailable` where there is no driver, or no device to open.

    The driver is let go of at the end, unless a call hangs in it.
    """
    library = nvml.Library()
    try:
        deadline(library.open)
    except Unavailable as exc:
        raise exc if str(exc).startswith("nvidia") else Unavailable(f"nvidia: the driver gives {exc}") from exc
    asker = Asker(library.api, deadline, sleep)
    try:
        yield from each_kind(asker, library.driver or "")
    finally:
        if not asker.silent:
            with suppress(Unavailable):
                deadline(library.close)


def each_kind(asker: Asker, driver: str) -> Iterator[Capture]:
    """A recording of each kind of device of an initialised driver."""
    seen: set[Kind] = set()
    problems = [Unavailable(f"nvidia: driver {driver} is loaded but lists no GPU; see 'nvidia-smi -L' and lspci")]
    for index in range(asker.required("devices", asker.api.nvmlDeviceGetCount)):
        asker.next_device()
        try:
            handle, kind = _opened(asker, index)
        except Unavailable as exc:
            problems.append(exc)
        else:
            if kind not in seen:
                seen.add(kind)
                yield _recording(asker, handle, kind[0], driver)
    if not seen:
        raise problems[-1]


def _opened(asker: Asker, index: int) -> tuple[nvml.Handle, Kind]:
    handle = asker.required(f"device {index}", partial(asker.api.nvmlDeviceGetHandleByIndex, index))
    model = asker.required(f"device {index}", partial(asker.api.nvmlDeviceGetName, handle))
    mig = asker.answer(partial(asker.api.nvmlDeviceGetMigMode, handle))
    return handle, (model, mig["return"] == 0 and bool(mig["value"][0]))


def _recording(asker: Asker, handle: nvml.Handle, model: str, driver: str) -> Capture:
    mask = Mask()
    uuid = asker.answer(partial(asker.api.nvmlDeviceGetUUID, handle))
    return {
        "schema": SCHEMA,
        "made_by": f"gpuwatch {__version__}",
        "pynvml": _pynvml_version(),
        "vendor": "nvidia",
        # Before the model's name, which could contain it.
        "uuid": mask.device(uuid["value"]) if uuid["return"] == 0 else None,
        "model": mask.text(model),
        "driver": mask.text(driver),
        "system": interview.system(asker, mask),
    } | interview.device(asker, handle, mask)


def _pynvml_version() -> str | None:
    with suppress(PackageNotFoundError):
        return version("nvidia-ml-py")
    return None


def file_name(capture: Mapping[str, Any]) -> str:
    """Where a recording belongs: `<vendor>-<model>[-mig]__<driver>.json`."""
    model = _words(capture["model"].removeprefix("NVIDIA "))
    return f"{capture['vendor']}-{model}{'-mig' if in_mig_mode(capture) else ''}__{_words(capture['driver'])}.json"


def in_mig_mode(capture: Mapping[str, Any]) -> bool:
    """Whether the recorded device was split into instances."""
    mode = interview.value_of(capture["calls"], "nvmlDeviceGetMigMode")
    return mode is not None and bool(mode[0])


def text_of(capture: Capture) -> str:
    """A recording as JSON with an answer on each line."""
    return _lines(capture, "") + "\n"


def unanswered(capture: Mapping[str, Any]) -> int:
    """How many questions have no answer: `failure` says of each why."""
    groups = [capture, *capture["mig"]]
    answers = [answer for group in groups for many in group["calls"].values() for answer in many]
    return sum(answer["return"] is None for answer in [*answers, *capture["fields"]])


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unknown"


def _lines(value: Any, indent: str) -> str:
    compact = json.dumps(value)
    if len(indent + compact) <= WIDTH or not isinstance(value, dict | list):
        return compact
    deeper = indent + " "
    if isinstance(value, dict):
        inside = [f"{deeper}{json.dumps(key)}: {_lines(each, deeper)}" for key, each in value.items()]
        return "{\n" + ",\n".join(inside) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + _lines(each, deeper) for each in value) + f"\n{indent}]"
