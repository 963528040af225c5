"""The files of the page: read once, named by what is in them, and kept by browsers for a year."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gpuwatch.web.exposition import accepts_gzip

FOLDER = Path(__file__).resolve().parent.parent / "static"
BASE = "/ui/static"
TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    compressed: bytes
    media_type: str
    tag: str


class Assets:
    """All files of a folder, under one version: modules find each other beside themselves."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in TYPES
        }
        whole = hashlib.sha256(b"".join(name.encode() + b"\0" + body for name, body in found.items()))
        self.version = whole.hexdigest()[:12]
        self._files = {name: _file(name, body) for name, body in found.items()}

    def address(self, name: str) -> str:
        """Where a file is; `KeyError` where there is none."""
        self._files[name]
        return f"{BASE}/{self.version}/{name}"

    async def answer(self, request: Request) -> Response:
        """A file; of another version as it is now, and not to be kept."""
        file = self._files.get(request.path_params["name"])
        if file is None:
            return PlainTextResponse("404 not found\n", 404)
        current = request.path_params["version"] == self.version
        headers = {
            "cache-control": "public, max-age=31536000, immutable" if current else "no-cache",
            "vary": "accept-encoding",
            "cross-origin-resource-policy": "same-origin",
        }
        compress = accepts_gzip(request.headers.get("accept-encoding", ""))
        headers["etag"] = f'"{file.tag}{"-gzip" if compress else ""}"'
        if request.headers.get("if-none-match", "") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        if compress:
            headers["content-encoding"] = "gzip"
        return Response(file.compressed if compress else file.body, headers=headers, media_type=file.media_type)


def _file(name: str, body: bytes) -> _File:
    compressed = gzip.compress(body, 9, mtime=0)
    return _File(body, compressed, TYPES[Path(name).suffix], hashlib.sha256(body).hexdigest()[:32])
