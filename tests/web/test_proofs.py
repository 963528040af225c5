"""Proofs of identity: each takes what it should, and refuses everything that is nearly so."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Forbidden, Unavailable
from gpuwatch.web.authentication import Passwords
from gpuwatch.web.basic_proof import BasicProof
from gpuwatch.web.identity import Caller, Identity, Proof, name_in
from gpuwatch.web.jwt_proof import JwtProof, user_of
from gpuwatch.web.munge_proof import MungeProof, decoded
from gpuwatch.web.peer_proof import PeerProof
from gpuwatch.web.proxy_proof import ProxyProof
from gpuwatch.web.roles import Person
from gpuwatch.web.security import Security
from gpuwatch.web.threads import Patient
from tests.web.authority import ALICE, config

NOW = 1_764_000_000.0
KEY = b"0123456789abcdef0123456789abcdef"


def caller(address: str = "192.0.2.7", peer_uid: int | None = None, target: str = "/", **headers: Any) -> Caller:
    """A request with headers, whose names have _ for -; a list is a header that is there several times."""
    named = {
        name.replace("_", "-"): tuple(value) if isinstance(value, list) else (value,)
        for name, value in headers.items()
    }
    return Caller("GET", target, named, address, peer_uid)


def person(proof: Proof, asked: Caller) -> Person | None:
    """Whom the proof finds."""
    return asyncio.run(_found(proof, asked))


async def _found(proof: Proof, asked: Caller) -> Person | None:
    return await proof.person(asked)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def token(claims: Mapping[str, Any] | None = None, key: bytes = KEY, **header: Any) -> str:
    """A token of ada's, valid for an hour, as `scontrol token` makes it."""
    head = {"alg": "HS256", "typ": "JWT", **header}
    body = {"exp": NOW + 3600, "iat": NOW, "sun": "ada", **(claims or {})}
    signed = f"{part(head)}.{part({name: each for name, each in body.items() if each is not None})}"
    signature = base64.urlsafe_b64encode(hmac.digest(key, signed.encode(), "sha256")).decode().rstrip("=")
    return f"{signed}.{signature}"


def test_the_socket_says_whose_process_asks() -> None:
    """Root and the service's own user are admins; over TCP nothing is said."""
    proof = PeerProof("/run/x.sock", lambda: 990)

    assert Person("socket", uid=1000) == person(proof, caller(peer_uid=1000))
    assert Person("socket", uid=0, runs_service=True) == person(proof, caller(peer_uid=0))
    assert Person("socket", uid=990, runs_service=True) == person(proof, caller(peer_uid=990))
    assert person(proof, caller()) is None


def jwt(tmp_path: Path, key: bytes = KEY) -> JwtProof:
    (tmp_path / "jwt.key").write_bytes(key)
    return JwtProof(tmp_path / "jwt.key", Patient(1), lambda: NOW)


def test_a_token_of_slurm_is_its_users(tmp_path: Path) -> None:
    """In either header; without one nobody is named."""
    proof = jwt(tmp_path)

    assert Person("jwt", "ada") == person(proof, caller(x_slurm_user_token=token()))
    assert Person("jwt", "ada") == person(proof, caller(authorization=f"Bearer {token()}"))
    assert Person("jwt", "ada") == person(proof, caller(x_slurm_user_token=token(), x_slurm_user_name="ada"))
    assert person(proof, caller()) is None
    with pytest.raises(Forbidden, match="of another user"):
        person(proof, caller(x_slurm_user_token=token(), x_slurm_user_name="bob"))


@pytest.mark.parametrize(
    "given",
    [
        token(key=b"another key of the same length!!"),
        token(alg="none"),
        token(alg="none").rpartition(".")[0] + ".",
        token(alg="HS512"),
        token(alg="hs256"),
        token(crit=["exp"]),
        token({"exp": NOW - 61}),
        token({"exp": None}),
        token({"exp": True}),
        token({"exp": "9999999999"}),
        token({"exp": 1e999}),
        token({"iat": NOW + 61}),
        token({"nbf": NOW + 61}),
        token({"sun": None}),
        token({"sun": ""}),
        token({"sun": 1000}),
        token({"sun": "ada\n"}),
        token({"sun": "@operators"}),
        token()[:-1],
        token() + "A",
        token() + ".x",
        " " + token(),
        token().replace(".", "..", 1),
        "a.b.c",
        part([1]) + "." + part({}) + ".AAAA",
        "",
        "." * 3,
    ],
)
def test_a_token_that_is_nearly_right_is_refused(given: str) -> None:
    """Signature, algorithm, times, user: all of it, and nothing is taken for something else."""
    with pytest.raises(Forbidden):
        user_of(given, KEY, NOW)


@pytest.mark.parametrize("claims", [{"exp": NOW - 59}, {"iat": NOW + 59}, {"iat": None}, {"exp": NOW + 0.5}])
def test_clocks_may_differ_by_a_minute(claims: dict[str, Any]) -> None:
    """No more."""
    assert "ada" == user_of(token(claims), KEY, NOW)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_bit_of_a_token_passes(place: int, change: int) -> None:
    """Whatever is changed in it."""
    given_ = bytearray(token().encode())
    given_[place % len(given_)] ^= change
    text = given_.decode("latin-1")
    head, _, signature = text.rpartition(".")
    same_bits = head == token().rpartition(".")[0] and signature[:-1] == token().rpartition(".")[2][:-1]

    if same_bits:  # the last character has two bits that stand for nothing
        return
    with pytest.raises(Forbidden):
        user_of(text, KEY, NOW)


def test_without_a_usable_key_no_token_is_judged(tmp_path: Path) -> None:
    """Nor is a key taken that is too short to be one."""
    with pytest.raises(Unavailable, match="too short"):
        person(jwt(tmp_path, b"secret"), caller(x_slurm_user_token=token(key=b"secret")))
    with pytest.raises(Unavailable, match="cannot be read"):
        person(JwtProof(tmp_path / "none", Patient(1)), caller(x_slurm_user_token=token()))


def unmunge(tmp_path: Path, script: str) -> MungeProof:
    """The proof with a program of ours in the place of munge's."""
    program = tmp_path / "unmunge"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return MungeProof(str(program), Patient(1), timeout_seconds=5.0)


METADATA = (
    "STATUS:          Success (0)\nENCODE_HOST: gw0 (192.0.2.1)\nUID:             ada (1000)\nGID: users (100)\n"
)


def test_a_munge_credential_is_of_who_made_it_for_this_request(tmp_path: Path) -> None:
    """The program reads it from standard input; path and query are part of the payload."""
    proof = unmunge(
        tmp_path, f"read credential\nprintf '%s' '{METADATA}'\necho\nprintf 'gpuwatch/1 GET /api/v1/jobs?a=b'"
    )
    right = caller(target="/api/v1/jobs?a=b", authorization="Munge MUNGE:AwQDAAB=:")

    assert Person("munge", uid=1000) == person(proof, right)
    assert person(proof, caller()) is None
    with pytest.raises(Forbidden, match="not for this request"):
        person(proof, caller(target="/api/v1/jobs", authorization="Munge MUNGE:AwQDAAB=:"))
    for wrong in ("Munge", "Munge MUNGE:--help:", "Munge x"):
        with pytest.raises(Forbidden, match="is no credential"):
            person(proof, caller(authorization=wrong))


@pytest.mark.parametrize(
    ("returncode", "text"),
    [
        (15, METADATA + "\nx"),
        (0, METADATA.replace("Success (0)", "Replayed credential (17)") + "\nx"),
        (0, METADATA.replace("UID:", "UIX:") + "\nx"),
        (0, METADATA + METADATA + "\nx"),
        (0, "\n\n" + METADATA),
        (0, ""),
    ],
)
def test_what_munge_does_not_vouch_for_is_refused(returncode: int, text: str) -> None:
    """Expired, replayed, or an output that is not understood; what the payload says of users counts nothing."""
    with pytest.raises(Forbidden, match="not valid, too old, or was used before"):
        decoded(returncode, text)


def test_a_daemon_of_munge_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """Nor is one that is not there a refusal of the user."""
    asked = caller(authorization="Munge MUNGE:AwQ=:")
    unmunge(tmp_path, "exec sleep 60")
    hanging = MungeProof(str(tmp_path / "unmunge"), Patient(1), timeout_seconds=0.1)

    with pytest.raises(Unavailable, match="does not answer"):
        person(hanging, asked)
    with pytest.raises(Unavailable, match="cannot be run"):
        person(MungeProof(str(tmp_path / "none"), Patient(1)), asked)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "ada"),
        ("::ffff:192.0.2.7", "ada"),
        ("2001:db8::1", "ada"),
        ("192.0.3.7", None),
        ("", None),
        ("proxy", None),
    ],
)
def test_a_proxy_is_believed_where_it_is_trusted(address: str, expected: str | None) -> None:
    """From anybody else the header is nothing, and so it is over the socket."""
    proof = ProxyProof("X-Remote-User", ["192.0.2.0/24", "2001:db8::/32"])

    found = person(proof, caller(address, x_remote_user="ada"))

    assert expected == (found.name if found else None)
    assert person(proof, caller(address, peer_uid=1000, x_remote_user="ada")) is None


def test_a_proxy_must_name_one_user() -> None:
    """Two headers are a client's beside the proxy's; an empty one names nobody."""
    proof = ProxyProof("X-Remote-User", ["192.0.2.0/24"])

    assert person(proof, caller(x_remote_user=" ")) is None
    assert person(proof, caller()) is None
    with pytest.raises(Forbidden, match="is there 2 times"):
        person(proof, caller(x_remote_user=["root", "ada"]))
    with pytest.raises(Forbidden, match="no name of a user"):
        person(proof, caller(x_remote_user="ada, root"))


def test_a_password_of_the_web_config_file_names_its_user(tmp_path: Path) -> None:
    """Checked as everywhere else; without users in the file every password is wrong."""

    async def asking() -> list[Person | type | None]:
        proof = BasicProof(Security(config(tmp_path, f"basic_auth_users: {{alice: {ALICE}}}\n")), Passwords())
        nobody = BasicProof(Security(), Passwords())
        found: list[Person | type | None] = [await proof.person(caller())]
        for each, words in ((proof, "alice:wonderland"), (proof, "alice:wrong"), (nobody, "alice:wonderland")):
            given = base64.b64encode(words.encode()).decode()
            try:
                found.append(await each.person(caller(authorization=f"Basic {given}")))
            except Forbidden as exc:
                found.append(type(exc))
        return found

    assert [None, Person("basic", "alice"), Forbidden, Forbidden] == asyncio.run(asking())


def test_the_first_proof_that_a_request_carries_decides(tmp_path: Path) -> None:
    """A wrong one refuses, whatever else there is; with none nobody is known."""

    async def asking(*asked: Caller) -> list[Person | None]:
        identity = Identity([jwt(tmp_path), ProxyProof("X-Remote-User", ["192.0.2.0/24"]), PeerProof("/x")])
        return [await identity.person(each) for each in asked]

    both = caller(x_slurm_user_token=token(), x_remote_user="bob")
    found = asyncio.run(asking(both, caller(x_remote_user="bob"), caller("198.51.100.1")))

    assert [Person("jwt", "ada"), Person("proxy", "bob"), None] == found
    with pytest.raises(Forbidden):
        asyncio.run(asking(caller(x_slurm_user_token="x.y.z", x_remote_user="bob")))


@given(st.text())
def test_a_name_is_plain_or_refused(text: str) -> None:
    """Nothing that could be a group, two names, or a path."""
    try:
        name = name_in(text, "test")
    except Forbidden:
        return
    assert name == text
    assert name.isascii()
    assert name.isprintable()
    assert not {*name} & {*" @,:/"}
