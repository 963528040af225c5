"""Google's TPUs: chips by PCI address, read from the metric service of the process that uses them.

| value | asked | source | instead |
|---|---|---|---|
| utilization | each read | duty cycle; the mean of a chip's devices | 0 where nobody has the chip's node open |
| memory used | 10 s | HBM usage; the sum of a chip's devices | |
| memory total | 60 s | HBM total, the same | |
| memory activity | 15 s | HBM utilization, which Google's client calls that of the bandwidth | |
| tensor activity | each read | the device plugin on GKE, or `libtpu`: the service does not say it | |
| tensor idle time, queued programs | 30 s | the service | |
| uptime, durations of programs; transfers | 60 s; 120 s | the service; quantiles from its exponential buckets | |
| link health, throttling | 5 s | `libtpu` alone | |
| processes | see `tpu_owners` | who has /dev/accel* or /dev/vfio/* open | |
| power, energy | | no interface tells: modelled from the duty cycle and the watts of the specs | |

The service is asked what it lists before it is asked for anything. It is served by the process that computes, on
its network: where nobody listens, nobody computes there. That a chip rests is believed where nobody
has its device node open, and where the agent may look at all processes; else what it does is unknown. What is slow
is repeated until it is asked again; all else is never repeated.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gpuwatch import specs
from gpuwatch.devices import tpu_chips
from gpuwatch.devices.tpu_chips import Chip
from gpuwatch.devices.tpu_owners import Owners, variable
from gpuwatch.devices.tpu_runtime import EXTRA, Answer, Library, RuntimePort, installed
from gpuwatch.devices.tpu_values import Known, Layout, Values, values_of
from gpuwatch.errors import Absent, ConfigurationError, Unavailable
from gpuwatch.model import EMPTY, Device, Probe, Process, Reading, Site

if TYPE_CHECKING:
    from gpuwatch.devices.tpu_plugin import DevicePlugin
    from gpuwatch.devices.tpu_sdk import Sdk

logger = logging.getLogger(__name__)

_REMEDY_OF_PORT = "see whether the process on it is a TPU's (tpu-info), or set devices.tpu.ports"
_REMEDY_OF_HOLDERS = (
    "use the drop-in other-users.conf (CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH), in a pod agent.hostPID and "
    "agent.otherUsers of the chart; without, the batch system says who holds a chip, and whether one rests is not "
    "known"
)
_REMEDIES = {
    "device plugin": (
        "see whether the page comes (curl), or leave devices.tpu.device_plugin_url (agent.tpu.devicePlugin of the "
        "chart) unset"
    ),
    "libtpu": "install libtpu where the agent's Python finds it, or leave devices.tpu.libtpu unset",
}

_PORT = "port "

PORTS_VARIABLE = "TPU_RUNTIME_METRICS_PORTS"
HOST_VARIABLE = "HOST_IP"
DEFAULT_PORT = 8431
POLL_SECONDS = 0.5
_MOST_PORTS = 64
# Whoever may choose a port below is root anyway.
_LEAST_PORT = 1024


def _page(url: str) -> str:
    from gpuwatch.http.client import server_url

    return server_url(url)


PortNumber = Annotated[int, Field(ge=1, le=65535)]
PageUrl = Annotated[str, AfterValidator(_page)]


class TpuDevices:
    """The TPU chips of this node. One that is two devices for its runtime is one device here."""

    together: ClassVar[bool] = True

    class Settings(BaseModel):
        """The table `[devices.tpu]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        ports: tuple[PortNumber, ...] = Field(
            default=(),
            max_length=_MOST_PORTS,
            description="ports of the runtimes' metric services on the loopback, in the order of the chips; "
            "empty: those of TPU_RUNTIME_METRICS_PORTS of the agent, else of the processes that hold chips, else "
            "8431",
        )
        device_plugin_url: PageUrl | None = Field(
            default=None,
            description="page of GKE's device plugin, which comes first: http://127.0.0.1:2112/metrics, or with "
            "{HOST_IP} for the node's address in the environment",
        )
        libtpu: bool = Field(
            default=False,
            description="ask Google's library (package libtpu, 480 MB) too, in a process of its own",
        )

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        clock: Callable[[], float] = time.monotonic,
        directory: str = "/dev",
        sdk: Callable[[], Sdk] | None = None,
    ) -> None:
        self._settings = settings
        self._site = site
        self._clock = clock
        self._owners = Owners(site.procfs, directory, clock)
        self._library = Library()
        self._ports: dict[int, RuntimePort] = {}
        self._plugin = _plugin(settings.device_plugin_url) if settings.device_plugin_url else None
        self._sdk = (sdk or _sdk)() if settings.libtpu else None
        self._chips: dict[str, Chip] = {}
        self._lock = Lock()
        self._polled: tuple[float, Mapping[str, Reading]] | None = None
        self._changed = False
        self._answers: Mapping[str, Answer] = {}
        self._known: dict[str, Known] = {}
        self._holding: frozenset[int] = frozenset()
        self._from_holders: tuple[int, ...] = ()

    def scan(self, now: float) -> Sequence[Device]:
        """The chips that are on the bus now."""
        found = tpu_chips.chips(self._site.sysfs)
        if not found and not self._chips:
            raise Absent("tpu: no TPU is on the PCI bus")
        if not found:
            raise Unavailable("tpu: no TPU is on the PCI bus any more; see lspci -d 1ae0: and dmesg")
        if not self._chips and not installed():
            logger.warning("TPUs are listed and not read; install gpuwatch[%s]", EXTRA)
        self._chips = {chip.uid: chip for chip in found}
        return tuple(self._device(chip) for chip in found)

    def _device(self, chip: Chip) -> Device:
        return Device(
            uid=chip.uid,
            node=self._site.node,
            index=chip.index,
            vendor="google",
            model=chip.generation.model,
            kind="tpu",
            pci=chip.address,
        )

    def read(self, device: Device, now: float) -> Reading:
        """One reading; whichever chip is read first at a moment asks for all."""
        with self._lock:
            if self._polled is None or self._polled[0] != now:
                self._polled = now, self._poll(now)
            reading = self._polled[1].get(device.uid)
        if reading is None:
            raise Unavailable(f"{device.uid}: the chip is no longer on the PCI bus; see lspci -d 1ae0: and dmesg")
        return reading

    def _poll(self, now: float) -> Mapping[str, Reading]:
        """A reading of every chip that is there; the first of them has all that was not believed."""
        chips = tuple(self._chips.values())
        by_node = self._owners.look([node for chip in chips for node in chip.nodes], self._changed)
        holders = {chip.uid: _holders(chip, by_node) for chip in chips}
        held = _places(chips, holders)
        before = _answering(self._answers)
        answers = self._answers = self._ask(self._numbers(holders))
        self._changed = _answering(answers) != before
        layout = Layout(len(chips), chips[0].generation.devices, chips[0].generation.by_chip, held)
        ports = [each for name, each in answers.items() if name.startswith(_PORT)]
        told = [values_of(ports, layout, self._known_of(_PORT))]
        told += [
            values_of([each], layout, self._known_of(name))
            for name, each in answers.items()
            if not name.startswith(_PORT)
        ]
        values, rejected = _merged(chips, told)
        # A port that nobody who has a chip has opened: who is seen is not all there is.
        stranger = not held and any(each.state != "absent" for each in ports)
        readings: dict[str, Reading] = {}
        for chip in chips:
            if chip.there:
                pids = holders[chip.uid]
                if pids == () and not stranger:
                    values[chip.uid].setdefault("utilization_ratio", 0.0)
                readings[chip.uid] = _reading(chip, now, values[chip.uid], pids, EMPTY if readings else rejected)
        return readings

    def _known_of(self, teller: str) -> Known:
        return self._known.setdefault(teller, {})

    def _ask(self, numbers: Sequence[int]) -> dict[str, Answer]:
        """What everything says that can be asked, by its name; ports in their order, that of the chips."""
        for number in self._ports.keys() - set(numbers):
            self._ports.pop(number).close()
        for number in numbers:
            if number not in self._ports:
                self._ports[number] = RuntimePort(number, self._library, self._clock)
        if any(self._ports[number].is_new() for number in numbers):
            self._library.load()  # may take longer than all answers
        until = self._clock() + POLL_SECONDS
        # Those that answered before come first: one that hangs must not take their time.
        good = {name for name, each in self._answers.items() if each.state != "silent"}
        turn = sorted(numbers, key=lambda number: f"{_PORT}{number}" not in good)
        found = {number: self._ports[number].ask(until) for number in turn}
        answers = {f"{_PORT}{number}": found[number] for number in numbers}
        if self._plugin is not None:
            answers["device plugin"] = self._plugin.ask()
        if self._sdk is not None:
            answers["libtpu"] = self._sdk.ask()
        return answers

    def _numbers(self, holders: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...]:
        """The ports to ask: those that are set, those that the holders were told to open, or the usual one."""
        pids = [pid for each in holders.values() for pid in each or ()]
        if self._holding != frozenset(pids):
            self._holding = frozenset(pids)
            for port in self._ports.values():
                port.renew()
            self._from_holders = self._told_to(dict.fromkeys(pids))
        return (
            self._settings.ports
            or _numbers(os.environ.get(PORTS_VARIABLE, ""))
            or self._from_holders
            or (DEFAULT_PORT,)
        )

    def _told_to(self, pids: Mapping[int, None]) -> tuple[int, ...]:
        found: dict[int, None] = {}
        for pid in list(pids)[:_MOST_PORTS]:
            text = variable(self._site.procfs, pid, PORTS_VARIABLE) or ""
            found |= dict.fromkeys(number for number in _numbers(text) if number >= _LEAST_PORT)
        return tuple(found)[:_MOST_PORTS]

    def report(self) -> Sequence[Probe]:
        """What is read from where, and what cannot be."""
        return tuple(self._reports()) if self._chips else ()

    def _reports(self) -> Iterator[Probe]:
        if not installed():
            yield Probe("metric service", False, "cannot be asked without gRPC", f"install gpuwatch[{EXTRA}]")
        for name, answer in self._answers.items():
            listed = f": {', '.join(sorted(answer.listed))}" if answer.listed else ""
            detail = f"{answer.detail}; no workload here" if answer.state == "absent" else answer.detail + listed
            well = answer.state != "silent"
            yield Probe(name, well, detail, "" if well else _REMEDIES.get(name, _REMEDY_OF_PORT))
        nodes = [f"/dev/{node.name}" for chip in self._chips.values() for node in chip.nodes]
        if not nodes:
            yield Probe("holders", False, "no chip has a device node", "load the chips' driver, see dmesg")
        elif self._owners.complete:
            yield Probe("holders", True, f"whoever opens {', '.join(nodes)} is seen")
        else:
            yield Probe("holders", False, f"are seen in part; {self._owners.refused}", _REMEDY_OF_HOLDERS)
        for model in dict.fromkeys(chip.generation.model for chip in self._chips.values()):
            yield _energy_of(model)

    def close(self) -> None:
        """Let go of connections and of the process of `libtpu`."""
        with self._lock:
            for port in self._ports.values():
                port.close()
            if self._sdk is not None:
                self._sdk.close()


def _plugin(url: str) -> DevicePlugin:
    from gpuwatch.devices.tpu_plugin import DevicePlugin

    address = os.environ.get(HOST_VARIABLE, "")
    if f"{{{HOST_VARIABLE}}}" in url and not address:
        raise ConfigurationError([f"devices.tpu.device_plugin_url: {HOST_VARIABLE} is not in the environment"])
    return DevicePlugin(url.replace(f"{{{HOST_VARIABLE}}}", f"[{address}]" if ":" in address else address))


def _sdk() -> Sdk:
    from gpuwatch.devices.tpu_sdk import Sdk

    return Sdk()


def _answering(answers: Mapping[str, Answer]) -> frozenset[str]:
    """Which ports answer."""
    return frozenset(name for name, each in answers.items() if each.state == "answers" and name.startswith(_PORT))


def _numbers(text: str) -> tuple[int, ...]:
    """`8431,8432` as numbers; empty where it is no such list."""
    words = [word.strip() for word in text[:1024].split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 65536 for word in words):
        return ()
    return tuple(dict.fromkeys(map(int, words)))[:_MOST_PORTS]


def _holders(chip: Chip, by_node: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Who has any node of a chip open; None where that cannot be known."""
    told = [by_node.get(node.name) for node in chip.nodes]
    pids = sorted({pid for each in told for pid in each or ()})
    return tuple(pids) if pids or (told and None not in told) else None


def _places(chips: Sequence[Chip], holders: Mapping[str, tuple[int, ...] | None]) -> frozenset[int] | None:
    """Where the chips are that somebody holds; None where that is not known of all."""
    if any(holders[chip.uid] is None for chip in chips):
        return None
    return frozenset(place for place, chip in enumerate(chips) if holders[chip.uid])


def _merged(chips: Sequence[Chip], told: Sequence[Values]) -> tuple[dict[str, dict[str, Any]], Mapping[str, int]]:
    """All values of each chip, the later teller's first; and all that was not believed."""
    values: dict[str, dict[str, Any]] = {chip.uid: {} for chip in chips}
    rejected: dict[str, int] = {}
    for each in told:
        for chip, own in zip(chips, each.chips, strict=True):
            values[chip.uid] |= own
        for reason, count in each.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    return values, rejected


def _reading(
    chip: Chip, now: float, values: Mapping[str, Any], pids: tuple[int, ...] | None, rejected: Mapping[str, int]
) -> Reading:
    return Reading(
        device=chip.uid,
        time=now,
        modelled_watts=_watts(chip.generation.model, values.get("utilization_ratio")),
        processes=None if pids is None else tuple(map(Process, pids)),
        rejected=rejected,
        **values,
    )


def _watts(model: str, utilization: float | None) -> float | None:
    """What a chip draws, on the line from its idle watts to those at work; None where either is not known."""
    spec = specs.lookup(model)
    if utilization is None or spec is None or spec.watts is None or spec.idle_watts is None:
        return None
    return spec.idle_watts + (spec.watts - spec.idle_watts) * utilization


def _energy_of(model: str) -> Probe:
    idle, busy = _watts(model, 0.0), _watts(model, 1.0)
    if idle is None or busy is None:
        wanted = f"write name = {model!r} with idle_watts, watts and source into {specs.SITE_FILE}"
        return Probe(
            "energy",
            False,
            f"none: no interface tells it, and watts of a {model}, idle and busy, are not known",
            wanted,
        )
    return Probe("energy", True, f"modelled, as no interface tells it: {idle:g} to {busy:g} W by the duty cycle")
