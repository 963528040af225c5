"""The kubelet's PodResources API, version 1: which containers have which devices, over its unix socket.

Only the fields that are read are described here; the others of the API are skipped, as protobuf does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.hygiene import log

EXTRA = "kubernetes"
MAX_BYTES = 16 * 2**20
MAX_DEVICES = 100_000

# Field: number, message (None: a string), repeated. From kubelet/pkg/apis/podresources/v1/api.proto.
_Field = tuple[int, str | None, bool]
_MESSAGES: Mapping[str, Mapping[str, _Field]] = {
    "Request": {},
    "ListPodResourcesResponse": {"pod_resources": (1, "PodResources", True)},
    "PodResources": {
        "name": (1, None, False), "namespace": (2, None, False), "containers": (3, "ContainerResources", True),
    },
    "ContainerResources": {"devices": (2, "ContainerDevices", True), "dynamic_resources": (5, "Claimed", True)},
    "ContainerDevices": {"resource_name": (1, None, False), "device_ids": (2, None, True)},
    "Claimed": {"claim_resources": (4, "ClaimResource", True)},
    "ClaimResource": {"driver_name": (2, None, False), "device_name": (4, None, False)},
    "AllocatableResourcesResponse": {"devices": (1, "ContainerDevices", True)},
}  # fmt: skip


class Granted(NamedTuple):
    """An id that a device plugin gave a device, or a replica of one, and the resource that it is one of."""

    resource: str
    device_id: str


class Claim(NamedTuple):
    """A device that a pod has by dynamic resource allocation, in its driver's own name for it."""

    driver: str
    device: str


@dataclass(frozen=True, slots=True)
class PodDevices:
    """A pod as the kubelet lists it, without a uid; its containers may have been given one device in turn."""

    namespace: str
    name: str
    granted: frozenset[Granted] = frozenset()
    claims: frozenset[Claim] = frozenset()


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: pods with devices, and all ids there are to give (None: this kubelet does not say)."""

    pods: tuple[PodDevices, ...]
    allocatable: frozenset[Granted] | None


class PodResources:
    """A client of one kubelet. `ask` starts a question, `answer` waits for it; not thread-safe.

    The constructor raises `ConfigurationError` where the libraries are not installed; it connects to nothing.
    """

    def __init__(self, socket: str, timeout_seconds: float) -> None:
        self._grpc, self._types = _libraries()
        self._socket = socket
        self._timeout_seconds = timeout_seconds
        options = {
            "grpc.max_receive_message_length": MAX_BYTES,
            "grpc.default_authority": "localhost",
            "grpc.enable_http_proxy": 0,
            # A kubelet that was restarted is found again at the next question.
            "grpc.initial_reconnect_backoff_ms": 100,
            "grpc.min_reconnect_backoff_ms": 1000,
            "grpc.max_reconnect_backoff_ms": 2000,
        }
        self._channel = self._grpc.insecure_channel(f"unix:{socket}", options=[*options.items()])
        self._calls: tuple[Any, Any] | None = None

    @property
    def asking(self) -> bool:
        """Whether a question is on its way."""
        return self._calls is not None

    def ask(self) -> None:
        """Ask for pods and for what there is to give; each is given up after `timeout_seconds`."""
        lister = "/v1.PodResourcesLister"
        methods = (f"{lister}/List", f"{lister}/GetAllocatableResources")
        listed, allocatable = (
            self._channel.unary_unary(method).future(b"", timeout=self._timeout_seconds) for method in methods
        )
        self._calls = listed, allocatable

    def answer(self, wait_seconds: float) -> Told | None:
        """The answer, None where it has not come within `wait_seconds`; `Unavailable` where it never will."""
        if self._calls is None:
            return None
        listed, allocatable = self._calls
        try:
            body = listed.result(timeout=wait_seconds)
            rest = self._allocatable(allocatable, wait_seconds)
        except self._grpc.FutureTimeoutError:
            return None
        except (self._grpc.RpcError, self._grpc.FutureCancelledError) as exc:
            self._drop()
            raise Unavailable(f"{self._socket}: {_why(exc)}") from exc
        self._calls = None
        return Told(tuple(self._pods(body)), rest)

    def close(self) -> None:
        """Give up what was asked and disconnect."""
        self._drop()
        self._channel.close()

    def _drop(self) -> None:
        for call in self._calls or ():
            call.cancel()
        self._calls = None

    def _allocatable(self, call: Any, wait_seconds: float) -> frozenset[Granted] | None:
        """None where the kubelet is too old to know, has it switched off, or fails in this alone."""
        try:
            body = call.result(timeout=wait_seconds)
        except self._grpc.RpcError:
            return None
        return frozenset(_granted(self._parsed("AllocatableResourcesResponse", body).devices))

    def _pods(self, body: bytes) -> Iterator[PodDevices]:
        count = 0
        for pod in self._parsed("ListPodResourcesResponse", body).pod_resources:
            granted = frozenset(each for container in pod.containers for each in _granted(container.devices))
            claims = frozenset(each for container in pod.containers for each in _claims(container))
            count += len(granted) + len(claims)
            if count > MAX_DEVICES:
                raise Unavailable(f"{self._socket}: lists more than {MAX_DEVICES} devices")
            if granted or claims:
                yield PodDevices(pod.namespace, pod.name, granted, claims)

    def _parsed(self, name: str, body: bytes) -> Any:
        from google.protobuf.message import DecodeError

        message = self._types[name]()
        try:
            message.ParseFromString(body)
        except DecodeError as exc:
            raise Unavailable(f"{self._socket}: what it answered is no {name}; {log(str(exc))}") from exc
        return message


def _granted(devices: Iterable[Any]) -> Iterator[Granted]:
    for each in devices:
        resource = each.resource_name
        for device_id in each.device_ids:
            yield Granted(resource, device_id)


def _claims(container: Any) -> Iterator[Claim]:
    for claimed in container.dynamic_resources:
        for each in claimed.claim_resources:
            yield Claim(each.driver_name, each.device_name)


def _why(error: Any) -> str:
    code = getattr(error, "code", None)
    if code is None:
        return "the question was cancelled"
    return log(f"{code().name.lower().replace('_', ' ')}; {error.details()}")


def _libraries() -> tuple[Any, dict[str, Any]]:
    """gRPC, and the classes of the messages by name."""
    try:
        import grpc
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as exc:
        raise ConfigurationError([f"jobs.kubernetes: cannot be used, {exc}; install gpuwatch[{EXTRA}]"]) from exc
    file = descriptor_pb2.FileDescriptorProto(name="podresources.proto", package="v1", syntax="proto3")
    for name, fields in _MESSAGES.items():
        _describe(file.message_type.add(name=name), fields)
    # A pool of its own: another library in this process may describe the same package.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"v1.{name}") for name in _MESSAGES}
    return grpc, {name: message_factory.GetMessageClass(each) for name, each in found.items()}


def _describe(message: Any, fields: Mapping[str, _Field]) -> None:
    for name, (number, kind, repeated) in fields.items():
        field = message.field.add(name=name, number=number)
        field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        field.type = field.TYPE_STRING if kind is None else field.TYPE_MESSAGE
        if kind is not None:
            field.type_name = f".v1.{kind}"
