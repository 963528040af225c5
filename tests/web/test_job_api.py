"""What jobs say over HTTP: a token speaks for its own job, and everything else gets the same answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from gpuwatch.agent.intake import Speaker
from gpuwatch.agent.messages import Declare, Message, ReportProgress, Written
from gpuwatch.agent.tokens import job_token, secret_of
from gpuwatch.errors import DeclarationError, Forbidden, GpuwatchError, Unavailable
from gpuwatch.web.exposition import base_app
from gpuwatch.web.job_api import MOST_BYTES, PREFIX, JobApi
from gpuwatch.web.security import Security
from gpuwatch.web.web_config import path_of
from tests.web.asking import ask, client

SECRET = b"a secret of the cluster"
PROGRESS = '{"step":1200,"total":9000}'


class Agent:
    """Hears what jobs say."""

    def __init__(self, error: GpuwatchError | None = None, secret: bytes | GpuwatchError = SECRET) -> None:
        self.error = error
        self.secret = secret
        self.heard: list[tuple[Speaker, Message | Written]] = []
        self.now = 0.0
        self.api = JobApi(self.speak, self.read_secret, lambda: self.now)

    def speak(self, speaker: Speaker, message: Message | Written) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        self.heard.append((speaker, message))
        return {"job_id": speaker.job_id}

    def read_secret(self) -> bytes:
        if isinstance(self.secret, GpuwatchError):
            raise self.secret
        return self.secret

    @property
    def app(self) -> Starlette:
        """As the agent serves it."""
        return base_app("gpuwatch", lambda: b"", lambda: True, lambda: True, [], self.api.routes())

    def post(self, path: str, body: str | bytes, token: str | None = None, **headers: str) -> httpx.Response:
        """Say something with a token, by default the one of job 42."""
        given = {"authorization": f"Bearer {token or job_token(SECRET, '42')}"} | headers
        return ask(self.app, "POST", PREFIX + path, content=body, headers=given)


def test_job_says_how_far_it_is_and_declares() -> None:
    """The messages of the socket without their type; the replies are the same."""
    agent = Agent()
    first = agent.post("42/progress", '{"step":1200,"total":9000,"time":5,"pid":7,"type":"progress"}')
    second = agent.post("42/declare", '{"text":"device-hours=640"}')

    assert (200, {"job_id": "42", "ok": True}) == (first.status_code, first.json())
    assert (200, "no-store") == (second.status_code, second.headers["cache-control"])
    report, declared = Written(ReportProgress(1200.0, 9000.0), 5.0, 7), Declare("device-hours=640")
    assert [(Speaker("42"), report), (Speaker("42"), declared)] == agent.heard
    assert {("http", "ok"): 2.0} == agent.api.counters()


def test_token_is_what_the_page_says() -> None:
    """So that anybody can compute it."""
    expected = hmac.new(SECRET, b"job:42", hashlib.sha256).hexdigest()

    assert expected == job_token(SECRET, "42")


@given(st.text(max_size=20), st.text(max_size=20))
def test_token_is_the_jobs_alone(one: str, other: str) -> None:
    """No two jobs have the same one."""
    assert (one == other) == (job_token(SECRET, one) == job_token(SECRET, other))


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer " + "0" * 64},
        {"authorization": "Bearer é"},
        {"authorization": "Basic " + job_token(SECRET, "42")},
        {"authorization": "Bearer " + job_token(SECRET, "43")},
        {"authorization": "Bearer " + job_token(b"another secret of sorts", "42")},
        {"authorization": "Bearer " + job_token(SECRET, "42").upper()},
        {"authorization": "Bearer " + SECRET.decode()},
    ],
    ids=range(9),
)
@pytest.mark.parametrize("path", ["42/progress", "42/declare"])
def test_wrong_token_gets_always_the_same_answer(path: str, headers: dict[str, str]) -> None:
    """Whatever is wrong with it, and whatever else was sent."""
    agent = Agent()
    encoded = {name: text.encode("latin-1") for name, text in headers.items()}
    answer = ask(agent.app, "POST", PREFIX + path, content=b"\0", headers=encoded)  # type: ignore[arg-type]

    assert 401 == answer.status_code
    told = '{"ok":false,"outcome":"forbidden","error":"jobs: the token is missing, or not that of this job"}\n'
    assert told == answer.text
    assert [] == agent.heard
    assert {("http", "forbidden"): 1.0} == agent.api.counters()


@pytest.mark.parametrize("job", ["4%322", "42%2F..", "42%00", "%0A42", "x" * 300, "42%20"])
def test_id_that_is_another_needs_another_token(job: str) -> None:
    """However it is written; one that could not be anybody's has none."""
    assert Agent().post(f"{job}/progress", PROGRESS).status_code in (401, 404)
    assert Agent().post("x" * 300 + "/progress", PROGRESS, job_token(SECRET, "x" * 300)).status_code == 401


def test_id_may_have_signs_in_it() -> None:
    """Of a container or a pod, percent-encoded where it must be."""
    agent = Agent()
    answer = agent.post("container:3f0c%40100/progress", PROGRESS, job_token(SECRET, "container:3f0c@100"))

    assert 200 == answer.status_code
    assert ["container:3f0c@100"] == [speaker.job_id for speaker, _ in agent.heard]


def test_browser_is_refused_also_with_a_token() -> None:
    """No page of another site may speak for a job."""
    assert 403 == Agent().post("42/progress", PROGRESS, origin="https://evil.example").status_code


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_posting_says_something(method: str) -> None:
    """As of every path."""
    headers = {"authorization": f"Bearer {job_token(SECRET, '42')}"}

    assert 405 == ask(Agent().app, method, PREFIX + "42/progress", headers=headers).status_code


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("42/progress", b"", "not JSON"),
        ("42/progress", b"\xff", "not JSON"),
        ("42/progress", b"[]", "a JSON list"),
        ("42/progress", b"[" * 60_000, "nested too deeply"),
        ("42/progress", b'{"step":-1}', "no number of steps"),
        ("42/progress", b'{"step":1,"total":Infinity}', "not JSON"),
        ("42/declare", b"{}", "text: None is not a string"),
        ("42/declare", b'{"text":"energy=1J","channel":"api"}', "channel: unknown 'api'"),
        ("42/declare", b'{"text":"energy=1J","job_id":"43"}', "unknown field 'job_id'"),
    ],
)
def test_malformed_message_is_a_400_with_the_reason(path: str, body: bytes, told: str) -> None:
    """As at the socket."""
    agent = Agent()
    answer = agent.post(path, body)

    assert (400, "rejected") == (answer.status_code, answer.json()["outcome"])
    assert told in answer.json()["error"]
    assert [] == agent.heard


def test_message_that_is_too_long_is_a_413() -> None:
    """64 kB are read of it."""
    agent = Agent()

    assert 413 == agent.post("42/progress", b" " * (MOST_BYTES + 1)).status_code
    assert 200 == agent.post("42/progress", PROGRESS.ljust(MOST_BYTES)).status_code


@pytest.mark.parametrize(
    ("error", "status"),
    [(DeclarationError("energy: no"), 400), (Forbidden("for: no"), 403), (Unavailable("not now"), 503)],
)
def test_refusal_of_the_agent_is_the_reply(error: GpuwatchError, status: int) -> None:
    """With its message."""
    answer = Agent(error).post("42/declare", '{"text":"energy=1J"}')

    assert (status, str(error)) == (answer.status_code, answer.json()["error"])


def test_secret_that_cannot_be_read_lets_nobody_in() -> None:
    """It may be there again at the next request."""
    agent = Agent(secret=Unavailable("secret of jobs' tokens: no"))

    assert 503 == agent.post("42/progress", PROGRESS).status_code
    agent.secret = SECRET
    assert 200 == agent.post("42/progress", PROGRESS).status_code


def test_job_that_says_too_much_is_refused_alone() -> None:
    """50 at once, 20 a second; others are not held up by it."""
    agent = Agent()

    async def many() -> list[int]:
        headers = {"authorization": f"Bearer {job_token(SECRET, '42')}"}
        async with client(agent.app) as asker:
            return [
                (await asker.post(PREFIX + "42/progress", content=PROGRESS, headers=headers)).status_code
                for _ in range(52)
            ]

    assert [200] * 50 + [429] * 2 == asyncio.run(many())
    assert 200 == agent.post("43/progress", PROGRESS, job_token(SECRET, "43")).status_code
    agent.now = 1.0
    assert 200 == agent.post("42/progress", PROGRESS).status_code


def test_tokens_of_jobs_open_nothing_but_their_paths(tmp_path: Path) -> None:
    """Where there are users, a job's paths need none, and its token is good for nothing else."""
    users = tmp_path / "web-config.yml"
    users.write_text("basic_auth_users:\n  alice: $2y$04$Vmxv3Ajk5dEBEVtlYVPOeOEwDpJhXCZCRjSpC5k8CJUl/hYXuEjjK\n")
    agent = Agent()
    app = base_app(
        "gpuwatch", lambda: b"", lambda: True, lambda: True, [], agent.api.routes(),
        security=Security(path_of(users)), bearer_paths=(PREFIX,),
    )  # fmt: skip
    headers = {"authorization": f"Bearer {job_token(SECRET, '42')}"}

    assert 200 == ask(app, "POST", PREFIX + "42/progress", content=PROGRESS, headers=headers).status_code
    assert 401 == ask(app, "GET", "/metrics", headers=headers).status_code


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), (b"", "0 bytes"), (b"  short \n", "5 bytes; at least 16")]
)
def test_secret_must_be_there_and_long_enough(tmp_path: Path, content: bytes | None, told: str) -> None:
    """One that can be guessed opens every job."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(Unavailable, match=told):
        secret_of(path)


def test_blanks_around_a_secret_do_not_count(tmp_path: Path) -> None:
    """Editors end files with a line break."""
    (tmp_path / "secret").write_bytes(b" " + SECRET + b"\n")

    assert SECRET == secret_of(tmp_path / "secret")
