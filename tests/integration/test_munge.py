"""A munge credential proves who asks the API, once and for one request, by the real munge."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.errors import Forbidden
from gpuwatch.web.identity import Caller
from gpuwatch.web.munge_proof import MungeProof
from gpuwatch.web.roles import Person
from gpuwatch.web.threads import Patient
from tests.integration.debian import binary, environment, run, stop, wait_until

pytestmark = pytest.mark.integration

START_SECONDS = 20.0
TARGET = "/api/v1/jobs?user=ada&limit=5"


@pytest.fixture(scope="module")
def munge_socket() -> Iterator[Path]:
    """The socket of a munged of our own, in a directory that it trusts."""
    munged = binary("munged")
    if munged is None:
        pytest.skip("there is no munged; tests/integration/packages.sh gets it")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        files = [f"--{each}-file={folder / f'munge.{each}'}" for each in ("key", "pid", "seed", "log")]
        command = [str(munged), "--foreground", "--force", f"--socket={folder / 'socket'}", *files]
        process = subprocess.Popen(
            command, env=environment(munged), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until((folder / "socket").exists, START_SECONDS, "munged listens")
            yield folder / "socket"
        finally:
            stop(process)


def credential(munge_socket: Path, payload: str) -> str:
    """A credential of this process's user."""
    munge = binary("munge")
    assert munge is not None
    return run(munge, "-S", munge_socket, "-s", payload).stdout.strip()


def proof(munge_socket: Path, folder: Path) -> MungeProof:
    """The proof with the real program, which is told where the daemon is."""
    unmunge = binary("unmunge")
    assert unmunge is not None
    libraries = environment(unmunge).get("LD_LIBRARY_PATH", "")
    script = folder / "unmunge"
    script.write_text(
        f"#!/bin/sh\nexport LD_LIBRARY_PATH={shlex.quote(libraries)}\n"
        f"exec {shlex.quote(str(unmunge))} -S {shlex.quote(str(munge_socket))}\n"
    )
    script.chmod(0o755)
    return MungeProof(str(script), Patient(1))


async def _person(proof: MungeProof, given: str, target: str = TARGET, digest: str = "") -> Person | None:
    headers = {"authorization": (f"Munge {given}",)}
    return await proof.person(Caller("POST" if digest else "GET", target, headers, digest=digest))


def test_a_credential_for_a_body_is_good_for_no_other(munge_socket: Path, tmp_path: Path) -> None:
    """What was declared cannot be changed on the way."""
    checked, target = proof(munge_socket, tmp_path), "/api/v1/declarations"
    digests = [hashlib.sha256(body).hexdigest() for body in (b'{"text":"wall=1h"}', b'{"text":"wall=9h"}')]
    payloads = [f"gpuwatch/1 POST {target} {digests[0]}", f"gpuwatch/1 POST {target}"]

    made = credential(munge_socket, payloads[0])
    assert Person("munge", uid=os.getuid()) == asyncio.run(_person(checked, made, target, digests[0]))
    for payload in payloads:
        with pytest.raises(Forbidden, match="the SHA-256 of a body where there is one"):
            asyncio.run(_person(checked, credential(munge_socket, payload), target, digests[1]))


def test_a_credential_is_good_once_and_for_its_request(munge_socket: Path, tmp_path: Path) -> None:
    """munged itself refuses the second use; a credential for something else is refused by what it says."""
    checked = proof(munge_socket, tmp_path)
    made = credential(munge_socket, f"gpuwatch/1 GET {TARGET}")
    other = credential(munge_socket, "")

    assert Person("munge", uid=os.getuid()) == asyncio.run(_person(checked, made))
    with pytest.raises(Forbidden, match="used before"):
        asyncio.run(_person(checked, made))
    with pytest.raises(Forbidden, match="not for this request"):
        asyncio.run(_person(checked, other))
    with pytest.raises(Forbidden, match="not valid"):
        asyncio.run(_person(checked, made[:-5] + "AAAA:"))
