"""The containers of a rendered pod, started by runc as a container runtime of Kubernetes starts them.

The image is this machine's own programs and environment, the node's files are in a directory. Users, groups,
capabilities, mounts, masked paths and namespaces are real, as the chart and the kubelet say; there is no seccomp.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy import chart
from tests.integration.debian import environment

Thing = dict[str, Any]
# What Kubernetes 1.31 and later have a runtime hide, in a container's own /proc and /sys.
MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
_SECONDS = 60
_IMAGE = ("/bin", "/sbin", "/lib", "/lib64", "/usr")


@dataclass(frozen=True, slots=True)
class Pod:
    """The DaemonSet's pod of a case on a node that is a directory; `folder` is the runtime's own."""

    runc: Path
    node: Path
    folder: Path
    case: str

    def run(
        self,
        name: str,
        *instead: str,
        program: str = "",
        security: Mapping[str, Any] | None = None,
        setting: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end, with `instead` of its arguments, and `program` in place of gpuwatch.

        `security` changes some of its security context, `setting` replaces words of its gpuwatch.toml.
        """
        objects = chart.objects((chart.GOLDEN / f"{self.case}.yaml").read_text())
        pod = next(each for each in objects if each["kind"] == "DaemonSet")["spec"]["template"]["spec"]
        container = next(each for each in [*pod["initContainers"], *pod["containers"]] if each["name"] == name)
        container["securityContext"] |= security or {}
        told = next(each for each in objects if each["metadata"]["name"].endswith("-agent") and "data" in each)
        bundle = self.folder / uuid.uuid4().hex[:12]
        (bundle / "rootfs").mkdir(parents=True)
        for file, text in told["data"].items():
            for word, other in (setting or {}).items():
                text = text.replace(word, other)
            (bundle / file).write_text(text)
        command = container.get("command", ["gpuwatch"])
        command = [*command[:-1], program] if program else command
        arguments = [*command, *(instead or container["args"])]
        (bundle / "config.json").write_text(json.dumps(self._spec(pod, container, arguments, bundle)))
        runtime = [
            str(self.runc),
            "--root",
            str(self.folder / "state"),
            "run",
            "--bundle",
            str(bundle),
            bundle.name,
        ]
        return subprocess.run(
            runtime, env=environment(self.runc), capture_output=True, text=True, timeout=_SECONDS, check=False
        )

    def _spec(self, pod: Thing, container: Thing, arguments: Sequence[str], bundle: Path) -> Thing:
        security = container["securityContext"]
        uid, added = security["runAsUser"], security["capabilities"].get("add", [])
        capabilities = [f"CAP_{each}" for each in added]
        # Never ambient, as containerd and CRI-O have it: a program of another user than root gets none of them.
        sets = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
        groups = [*pod["securityContext"]["supplementalGroups"], pod["securityContext"]["fsGroup"]]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": security["runAsGroup"], "additionalGids": groups},
                "args": list(arguments),
                "env": self._environment(container),
                "cwd": "/",
                "noNewPrivileges": not security["allowPrivilegeEscalation"],
                "capabilities": {**sets, "inheritable": [], "ambient": []},
            },
            "root": {"path": "rootfs", "readonly": security["readOnlyRootFilesystem"]},
            # What stands for the image comes last: it may lie below /tmp, which is a volume.
            "mounts": [*self._system(), *self._volumes(pod, container, bundle), *self._image()],
            "linux": {
                "namespaces": [{"type": each} for each in ("mount", "ipc", "uts", "network")]
                + ([] if pod["hostPID"] else [{"type": "pid"}]),
                "maskedPaths": list(MASKED),
                "resources": {},
            },
        }

    def _environment(self, container: Thing) -> list[str]:
        fields = {"spec.nodeName": "gpu01", "status.hostIP": "192.0.2.7"}
        own = {
            each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            for each in container["env"]
        }
        image = {"PATH": "/opt/gpuwatch/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        return [
            f"{name}={value}" for name, value in {**image, "KUBERNETES_SERVICE_HOST": "10.0.0.1", **own}.items()
        ]

    def _system(self) -> list[Thing]:
        return [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            _bound(self.node / "sys", "/sys", True),
            *(_bound(Path(each), each, True) for each in _IMAGE if Path(each).is_dir()),
        ]

    def _image(self) -> list[Thing]:
        own = dict.fromkeys([sys.base_prefix, str(chart.REPOSITORY), sys.prefix])
        return [
            *(_bound(Path(each), each, True) for each in own if each not in _IMAGE),
            _bound(Path(sys.prefix), "/opt/gpuwatch", True),
        ]

    def _volumes(self, pod: Thing, container: Thing, bundle: Path) -> list[Thing]:
        volumes = {each["name"]: each for each in pod["volumes"]}
        return [
            _bound(
                self._source(volumes[each["name"]], each, bundle), each["mountPath"], each.get("readOnly", False)
            )
            for each in container["volumeMounts"]
        ]

    def _source(self, volume: Thing, mount: Thing, bundle: Path) -> Path:
        if "configMap" in volume:
            return bundle / mount["subPath"]
        if "emptyDir" in volume:
            path = bundle / volume["name"]
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
            return path
        if volume["hostPath"]["path"] == "/proc":
            return Path("/proc")
        path = self.node / volume["hostPath"]["path"].lstrip("/")
        if volume["hostPath"]["type"] == "DirectoryOrCreate":
            path.mkdir(parents=True, exist_ok=True)
        return path


def _bound(source: Path, destination: str, read_only: bool) -> Thing:
    options = ["rbind", "ro" if read_only else "rw", "rslave"]
    return {"destination": destination, "type": "bind", "source": str(source), "options": options}
