"""What needs which right on a node, whether it is there, and what is lost without it.

Every right is tried, not looked up: a container, an LSM or a device cgroup can refuse what the mode bits allow.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from gpuwatch.cli.findings import why, within
from gpuwatch.settings import Settings

Here = Literal["yes", "no", "absent", "unknown"]

POD_RESOURCES = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
_PROCESSES_TRIED = 2000
_OTHERS_DROP_IN = "the drop-in other-users.conf of systemd/drop-ins, or the prolog (docs/slurm.md)"
_MOUNTED = "see that /proc and /sys are mounted here, or set site.procfs and site.sysfs"
_REMEDIES = {
    "PCI devices in sysfs": _MOUNTED,
    "host network": _MOUNTED,
    "InfiniBand counters": _MOUNTED,
    "NVIDIA device nodes": "open /dev/nvidia* to the agent's user: mode 0666, or a group of its own",
    "cgroup and uid of processes": "SupplementaryGroups= with the group that hidepid lets in",
    "PodResources socket": "the drop-in pod-resources.conf of systemd/drop-ins",
    "environment of other users": _OTHERS_DROP_IN,
    "open files of other users": _OTHERS_DROP_IN,
    "RAPL": "the drop-in rapl.conf of systemd/drop-ins",
    "power meters of ACPI": "see what the kernel says in its log; they are open to everybody",
    "IPMI": "the drop-in ipmi.conf of systemd/drop-ins, and the udev rule in it",
}
"""How to have a right that is not there, as a service."""

POD_VARIABLE = "KUBERNETES_SERVICE_HOST"
"""What the kubelet puts into every container."""

_OTHERS_IN_POD = "agent.hostPID and agent.otherUsers.enabled of the chart"
_REMEDIES_IN_POD = {
    "NVIDIA device nodes": "agent.gpuAccess and agent.runtimeClassName of the chart",
    "cgroup and uid of processes": "agent.hostPID of the chart",
    "PodResources socket": "agent.hostAccess.enabled of the chart",
    "environment of other users": _OTHERS_IN_POD,
    "open files of other users": _OTHERS_IN_POD,
    "RAPL": "agent.hostPower.enabled of the chart",
    "IPMI": "nothing of the chart: docs/kubernetes.md says what else reads it",
}
"""How to have it in a pod, where that is something else."""


@dataclass(frozen=True, slots=True)
class Right:
    """One row: what, what it needs, whether it is there (`absent`: the node has no such thing), what is lost.

    `todo` is how to have what is lost.
    """

    what: str
    needs: str
    here: Here
    detail: str
    lost: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Roots:
    """Where to look, and as whom; tests have directories of their own."""

    procfs: Path
    sysfs: Path
    dev: Path = Path("/dev")
    pod_resources: Path = POD_RESOURCES
    uid: int = field(default_factory=os.getuid)
    in_pod: bool = field(default_factory=lambda: POD_VARIABLE in os.environ)

    @property
    def place(self) -> str:
        """Where devices and sockets are looked for: a pod has not all that its node has."""
        return "to be seen in this pod" if self.in_pod else "on this node"

    @classmethod
    def of(cls, settings: Settings) -> Roots:
        """The roots that the configuration names."""
        kubelet = settings.jobs.get("kubernetes", {}).get("socket", POD_RESOURCES)
        return cls(Path(settings.site.procfs), Path(settings.site.sysfs), pod_resources=Path(str(kubelet)))


Tried = tuple[Here, str]


def rights(roots: Roots, timeout_seconds: float = 5.0) -> Iterator[Right]:
    """Every row of the table, in order."""
    capabilities = "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    rows: tuple[tuple[str, str, str, Callable[[Roots], Tried]], ...] = (
        ("NVIDIA device nodes", "rw on /dev/nvidia*", "all NVIDIA readings", _nvidia),
        ("PCI devices in sysfs", "nothing", "TPU and AMD devices", _pci),
        ("host network", "nothing", "ethernet counters", _network),
        ("InfiniBand counters", "nothing", "InfiniBand counters", _infiniband),
        ("cgroup and uid of processes", "nothing", "which job a process belongs to", _cgroups),
        ("PodResources socket", "group of the socket", "which pod holds a device", _pod_resources),
        (
            "environment of other users",
            capabilities,
            "GPUWATCH_ESTIMATE, SLURM_JOB_GPUS without a prolog",
            _environ,
        ),
        ("open files of other users", capabilities, "who holds a TPU", _open_files),
        ("RAPL", "CAP_DAC_READ_SEARCH", "energy of the host's CPUs", _rapl),
        ("power meters of ACPI", "nothing", "power of CPU and module (Grace), or of the node", _power_meters),
        ("IPMI", "rw on /dev/ipmi0", "power of the chassis", _ipmi),
    )
    remedies = _REMEDIES | (_REMEDIES_IN_POD if roots.in_pod else {})
    for what, needs, lost, attempt in rows:
        try:
            here, detail = within(timeout_seconds, partial(attempt, roots))
        except Exception as exc:  # noqa: BLE001 - one row that cannot be tried must not hide the others
            here, detail = "unknown", why(exc)
        is_lost = here not in ("yes", "absent")
        yield Right(what, needs, here, detail, lost if is_lost else "", remedies.get(what, "") if is_lost else "")


def _all(paths: Iterable[Path], attempt: Callable[[Path], object], nothing: str) -> Tried:
    """Try every path: yes where all succeed, no with the first reason, absent where there is none."""
    count = 0
    for path in sorted(paths):
        count += 1
        try:
            attempt(path)
        except OSError as exc:
            return "no", f"{path}: {exc.strerror or exc}"
    return ("yes", f"{count} readable") if count else ("absent", nothing)


def _nvidia(roots: Roots) -> Tried:
    nodes = [roots.dev / "nvidiactl", *roots.dev.glob("nvidia[0-9]*")]
    return _all(filter(os.path.lexists, nodes), _open_for_writing, f"no NVIDIA driver {roots.place}")


def _open_for_writing(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))


def _pci(roots: Roots) -> Tried:
    return _all(roots.sysfs.glob("bus/pci/devices/*/vendor"), Path.read_bytes, "no PCI bus to be seen")


def _network(roots: Roots) -> Tried:
    return _all([roots.procfs / "net" / "dev"], Path.read_bytes, "")


def _infiniband(roots: Roots) -> Tried:
    counters = roots.sysfs.glob("class/infiniband/*/ports/*/counters/port_xmit_data")
    return _all(counters, Path.read_bytes, "no InfiniBand on this node")


def _rapl(roots: Roots) -> Tried:
    zones = roots.sysfs.glob("class/powercap/intel-rapl:*/energy_uj")
    return _all(zones, Path.read_bytes, "no RAPL on this node")


def _power_meters(roots: Roots) -> Tried:
    meters = [path.parent for path in roots.sysfs.glob("class/hwmon/*/name") if _says(path, "power_meter")]
    readings = (each for meter in meters for each in meter.glob("power1_average"))
    return _all(readings, Path.read_bytes, "no power meter of ACPI on this node")


def _says(path: Path, word: str) -> bool:
    try:
        return path.read_text(errors="replace").strip() == word
    except OSError:
        return False


def _ipmi(roots: Roots) -> Tried:
    nodes = [roots.dev / "ipmi0", roots.dev / "ipmi" / "0", roots.dev / "ipmidev" / "0"]
    return _all(filter(os.path.lexists, nodes), _open_for_writing, f"no IPMI {roots.place}")


def _cgroups(roots: Roots) -> Tried:
    here, detail = _all([roots.procfs / "1" / name for name in ("cgroup", "status")], Path.read_bytes, "")
    return (here, "all processes") if here == "yes" else (here, f"{detail} (is /proc mounted with hidepid?)")


def _pod_resources(roots: Roots) -> Tried:
    path = roots.pod_resources
    try:
        if not path.exists():
            return "absent", f"no kubelet {roots.place}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
    except OSError as exc:
        return "no", f"{path}: {exc.strerror or exc}"
    return "yes", str(path)


def _environ(roots: Roots) -> Tried:
    return _others(roots, lambda process: (process / "environ").read_bytes())


def _open_files(roots: Roots) -> Tried:
    return _others(roots, lambda process: list((process / "fd").iterdir()))


def _others(roots: Roots, attempt: Callable[[Path], object]) -> Tried:
    """Try it on processes of other users until one still lives when it is answered."""
    for process in _of_other_users(roots):
        try:
            attempt(process)
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError as exc:
            return "no", f"{exc.filename or process}: {exc.strerror or exc}"
        return "yes", f"tried on process {process.name}"
    return "unknown", "no process of another user to try it on"


def _of_other_users(roots: Roots) -> Iterator[Path]:
    """Processes of other users that have an environment: not those of the kernel."""
    pids = sorted(int(entry.name) for entry in roots.procfs.iterdir() if entry.name.isdecimal())
    for pid in pids[:_PROCESSES_TRIED]:
        process = roots.procfs / str(pid)
        with suppress(OSError):
            if process.stat().st_uid != roots.uid and (process / "cmdline").read_bytes():
                yield process
