"""The token by which a job speaks over HTTP: it is the job's alone, and needs no list of those that were given."""

from __future__ import annotations

import hmac
from pathlib import Path

from gpuwatch.errors import Unavailable

LEAST_BYTES = 16
_MOST_BYTES = 4096


def job_token(secret: bytes, job_id: str) -> str:
    """HMAC-SHA256 with the secret over `job:` and the id, in hexadecimal."""
    return hmac.new(secret, b"job:" + job_id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()


def secret_of(path: Path) -> bytes:
    """The secret in a file, without the blanks around it; `Unavailable` where it cannot be read or is short."""
    try:
        with path.open("rb") as file:
            secret = file.read(_MOST_BYTES).strip()
    except OSError as exc:
        raise Unavailable(f"secret of jobs' tokens: {path}: {exc.strerror or exc}") from exc
    if len(secret) < LEAST_BYTES:
        raise Unavailable(
            f"secret of jobs' tokens: {path}: {len(secret)} bytes; at least {LEAST_BYTES} are needed"
        )
    return secret
