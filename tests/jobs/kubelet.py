"""A kubelet of made-up pods: a real gRPC server on a unix socket, messages encoded by hand, and a node's files."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

KUBEPODS = "kubepods.slice"


def field(number: int, payload: bytes | str) -> bytes:
    """One length-delimited field of protobuf's wire format."""
    body = payload.encode() if isinstance(payload, str) else payload
    length, size = bytearray(), len(body)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes(length) + bytes([size]) + body


def devices(resource: str, ids: Iterable[str]) -> bytes:
    """ContainerDevices, with the topology that no client here reads."""
    return field(1, resource) + b"".join(field(2, each) for each in ids) + field(3, field(1, b"\x08\x01"))


def claim(driver: str, name: str) -> bytes:
    """DynamicResource with one ClaimResource."""
    return field(2, "claim") + field(3, "ns") + field(4, field(2, driver) + field(3, "pool") + field(4, name))


def pod(
    name: str,
    *containers: Mapping[str, Sequence[str]],
    namespace: str = "ml",
    claims: Sequence[tuple[str, str]] = (),
) -> bytes:
    """PodResources: of each container the ids by resource, cpu_ids and memory beside them."""
    bodies = [
        field(1, f"container-{number}")
        + b"".join(field(2, devices(resource, ids)) for resource, ids in each.items())
        + field(3, b"\x00\x01")
        + field(4, field(1, "memory"))
        + b"".join(field(5, claim(*one)) for one in claims)
        for number, each in enumerate(containers or ({},))
    ]
    return field(1, name) + field(2, namespace) + b"".join(field(3, body) for body in bodies)


def uid(number: int) -> str:
    """The uid of the pod of this number."""
    return f"9e8f0b6e-0000-4000-8000-{number:012x}"


class FakeKubelet:
    """Pods are set by the test. Below `root` are the socket, the pods' logs, procfs and sysfs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "kubelet.sock"
        self.pods: list[bytes] = []
        self.allocatable: list[bytes] | None = []
        self.asked = 0
        self.hang = threading.Event()
        self.hang.set()
        self._server: grpc.Server | None = None
        for each in ("logs", "proc", "sys/fs/cgroup"):
            (root / each).mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup/cgroup.controllers").touch()

    def start(self) -> None:
        """Serve; a socket of before is replaced."""
        handlers = {
            "List": grpc.unary_unary_rpc_method_handler(self._list),
            "GetAllocatableResources": grpc.unary_unary_rpc_method_handler(self._allocatable),
        }
        self._server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_send_message_length", 2**26)])
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("v1.PodResourcesLister", handlers),)
        )
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def stop(self) -> None:
        """Stop serving, at once."""
        self.hang.set()
        if self._server is not None:
            self._server.stop(None).wait(10)
            self._server = None

    def live(self, name: str, number: int, namespace: str = "ml", quality: str = "burstable") -> str:
        """Give a pod its logs and its control group; its uid."""
        (self.root / "logs" / f"{namespace}_{name}_{uid(number)}").mkdir()
        self.group(number, quality).mkdir(parents=True)
        return uid(number)

    def die(self, number: int) -> None:
        """Take away a pod's control group, as its kubelet does once all its processes are gone."""
        shutil.rmtree(self.group(number))

    def group(self, number: int, quality: str = "burstable") -> Path:
        """The control group of a pod."""
        slice_ = f"kubepods-{quality}"
        pod_slice = f"{slice_}-pod{uid(number).replace('-', '_')}.slice"
        return self.root / "sys/fs/cgroup" / KUBEPODS / f"{slice_}.slice" / pod_slice

    def _list(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.asked += 1
        self.hang.wait(30)
        return b"".join(field(1, each) for each in self.pods)

    def _allocatable(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if self.allocatable is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method GetAllocatableResources")
        return b"".join(field(1, each) for each in self.allocatable or ()) + field(2, b"\x00")
