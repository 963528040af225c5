"""An API server of made-up objects: real HTTP on loopback, with pages, refusals and slowness as the test says."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, Mapping[str, Any]]
Document = dict[str, Any]

KINDS = {
    "v1": {"Node": ("nodes", False)},
    "batch/v1": {"Job": ("jobs", True), "CronJob": ("cronjobs", True)},
    "apps/v1": {"ReplicaSet": ("replicasets", True), "Deployment": ("deployments", True)},
    "kubeflow.org/v1": {"PyTorchJob": ("pytorchjobs", True)},
    "jobset.x-k8s.io/v1alpha2": {"JobSet": ("jobsets", True)},
}


def status(code: int, message: str = "no", **metadata: str) -> Answer:
    """What the API server says in place of a document."""
    return code, {"kind": "Status", "status": "Failure", "message": message, "code": code, "metadata": metadata}


class FakeApi:
    """`pods` are listed, `objects` found by path; `refuse(path)` may answer in place of both."""

    def __init__(self) -> None:
        self.pods: list[Document] = []
        self.objects: dict[str, Document] = {}
        self.refuse: Callable[[str], Answer | None] = lambda path: None
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.retry_after: str | None = None
        self.drip_seconds = 0.0
        self.url = ""

    def own(self, version: str, kind: str, name: str, *, namespace: str = "ml", **more: Any) -> Document:
        """Make an object of one of `KINDS`; the reference that what it owns has to it."""
        plural, namespaced = KINDS[version][kind]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        place = f"{root}/namespaces/{namespace}/{plural}" if namespaced else f"{root}/{plural}"
        metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", **more}
        self.objects[f"{place}/{name}"] = {"apiVersion": version, "kind": kind, "metadata": metadata}
        return {"apiVersion": version, "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}

    def answer(self, target: str) -> Answer:
        """What is at a path."""
        parts = urlsplit(target)
        path, query = unquote(parts.path), {key: each[0] for key, each in parse_qs(parts.query).items()}
        refused = self.refuse(target)
        if refused is not None:
            return refused
        if path.endswith("/pods"):
            return self._list(path, query)
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in KINDS:
            kinds = KINDS[version].items()
            listed = [{"kind": kind, "name": name, "namespaced": inside} for kind, (name, inside) in kinds]
            return 200, {"resources": [{"kind": "Job", "name": "jobs/status", "namespaced": True}, *listed]}
        return (200, self.objects[path]) if path in self.objects else status(404, f"{path} not found")

    def _list(self, path: str, query: Mapping[str, str]) -> Answer:
        namespace = path.split("/")[4] if "/namespaces/" in path else ""
        pods = [each for each in self.pods if namespace in ("", each["metadata"]["namespace"])]
        first, limit = int(query.get("continue", "0")), int(query["limit"])
        rest = {"continue": str(first + limit)} if first + limit < len(pods) else {}
        return 200, {"kind": "PodList", "metadata": rest, "items": pods[first : first + limit]}

    def kubeconfig(self, folder: Path) -> Path:
        """A file that says how to reach it, with a token."""
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "s3cret"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        }  # fmt: skip
        path = folder / "kubeconfig"
        path.write_text(json.dumps(document))
        return path


@contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    """Serve on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            api.asked.append(self.path)
            api.headers.append(dict(self.headers))
            code, document = api.answer(self.path)
            body = gzip.compress(json.dumps(document).encode())
            self.send_response(code)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            if api.retry_after is not None:
                self.send_header("Retry-After", api.retry_after)
            self.end_headers()
            self._write(body)

        def _write(self, body: bytes) -> None:
            if not api.drip_seconds:
                self.wfile.write(body)
                return
            for number in range(len(body)):
                time.sleep(api.drip_seconds)
                try:
                    self.wfile.write(body[number : number + 1])
                except OSError:
                    return

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
