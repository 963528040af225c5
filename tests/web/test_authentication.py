"""Who is let in: users of the web-config file, as often as its rate limit allows."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest

from gpuwatch.web import authentication
from gpuwatch.web.authentication import CACHED, MAX_WAITING, Bucket, Passwords, credentials, matches, nobody
from gpuwatch.web.exposition import base_app
from gpuwatch.web.security import Security
from gpuwatch.web.threads import Busy
from gpuwatch.web.usage_api import PATHS, usage_routes
from gpuwatch.web.web_config import RateLimit
from tests.web.asking import ask
from tests.web.authority import ALICE, PAGE, config

USERS = {"alice": ALICE.encode()}
EVERY_PATH = ("/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/usage", "/nowhere")


class Journal:
    """A usage API without anything in it."""

    def since(self, seq: int) -> Mapping[str, Any]:
        return {"seq": seq}

    def acknowledge(self, seq: int) -> None:
        pass


def app(folder: Path, text: str, token: str | None = None) -> Any:
    """An application that is protected by a file, and by a token where there is one."""
    routes = usage_routes(Journal(), lambda: token)
    security = Security(config(folder, text))
    paths = PATHS if token else ()
    served = base_app(
        "test", lambda: PAGE, lambda: True, lambda: True, [], routes, security=security, bearer_paths=paths
    )
    served.state.security = security
    return served


def users(**more: str) -> str:
    """A web-config file with the user alice."""
    return f"basic_auth_users: {{alice: {ALICE}}}\n" + "".join(
        f"{name}: {value}\n" for name, value in more.items()
    )


@pytest.mark.parametrize("path", EVERY_PATH)
def test_every_path_asks_for_a_user(tmp_path: Path, path: str) -> None:
    """Also the one that is not there: nobody learns what there is."""
    served = app(tmp_path, users())

    refused = ask(served, "GET", path)
    admitted = ask(served, "GET", path, auth=("alice", "wonderland"))

    assert (401, "401 unauthorized\n") == (refused.status_code, refused.text)
    assert 'Basic realm="gpuwatch", charset="UTF-8"' == refused.headers["www-authenticate"]
    assert "close" == refused.headers["connection"]
    assert admitted.status_code == (404 if path == "/nowhere" else 200)


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic " + base64.b64encode(b"alice:wrong").decode(),
        "Basic " + base64.b64encode(b"bob:wonderland").decode(),
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"\xff:wonderland").decode(),
        "Basic " + base64.b64encode(b"alice:" + b"x" * 5000).decode(),
        "Basic " + base64.b64encode(b"alice:\0wonderland").decode(),
        "Basic =",
        "Basic",
        "Bearer wonderland",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, authorization: str) -> None:
    """Wrong, unknown, malformed, absurd."""
    answer = ask(app(tmp_path, users()), "GET", "/metrics", headers={"authorization": authorization})

    assert answer.status_code == 401


def test_refusals_are_counted_by_reason(tmp_path: Path) -> None:
    """As a metric of the web server."""
    served = app(tmp_path, users())
    ask(served, "GET", "/metrics")

    page = ask(served, "GET", "/metrics", auth=("alice", "wonderland")).text

    assert 'gpuwatch_web_requests_refused_total{reason="authentication"} 1\n' in page
    assert "gpuwatch_web_config_last_reload_successful 1\n" in page


def test_users_that_change_count_from_the_next_request(tmp_path: Path) -> None:
    """Also where the old password was remembered."""
    served = app(tmp_path, users())
    assert 200 == ask(served, "GET", "/metrics", auth=("alice", "wonderland")).status_code
    other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()

    config(tmp_path, f"basic_auth_users: {{alice: {other}}}\n")
    served.state.security.look()

    assert 401 == ask(served, "GET", "/metrics", auth=("alice", "wonderland")).status_code
    assert 200 == ask(served, "GET", "/metrics", auth=("alice", "other")).status_code


def test_headers_of_the_file_are_on_every_answer_and_win(tmp_path: Path) -> None:
    """Also on a refusal."""
    headers = '{headers: {X-Frame-Options: deny, Content-Security-Policy: "default-src *"}}'
    served = app(tmp_path, users(http_server_config=headers))

    for answer in (ask(served, "GET", "/"), ask(served, "GET", "/", auth=("alice", "wonderland"))):
        assert ("deny", "default-src *") == (
            answer.headers["x-frame-options"],
            answer.headers["content-security-policy"],
        )


def test_requests_above_the_rate_are_refused_before_any_password_is_checked(tmp_path: Path) -> None:
    """429, counted, and not a check by bcrypt."""
    served = app(tmp_path, users(rate_limit="{interval: 1h, burst: 2}"))

    codes = [ask(served, "GET", "/metrics", auth=("alice", "wonderland")).status_code for _ in range(3)]

    assert [200, 200, 429] == codes
    assert 1.0 == served.state.security.counters.health().requests_refused["rate_limit"]


def test_a_bucket_fills_by_the_clock_and_a_new_limit_begins_full() -> None:
    """One request each interval, `burst` at once."""
    now = [0.0]
    bucket, slow = Bucket(lambda: now[0]), RateLimit(10.0, 2)

    taken = [bucket.allows(slow) for _ in range(3)]
    now[0] = 10.0
    later = [bucket.allows(slow) for _ in range(2)]
    now[0] = 1000.0
    full = [bucket.allows(slow) for _ in range(3)]

    assert ([True, True, False], [True, False], [True, True, False]) == (taken, later, full)
    assert bucket.allows(RateLimit(1.0, 1))


def test_with_a_token_the_usage_api_takes_the_token_and_no_password(tmp_path: Path) -> None:
    """Who may scrape may not acknowledge; everything else takes the password and not the token."""
    served = app(tmp_path, users(), token="s3cret")
    bearer = {"authorization": "Bearer s3cret"}

    def codes(path: str) -> list[int]:
        return [
            ask(served, "GET", path, headers=bearer).status_code,
            ask(served, "GET", path, auth=("alice", "wonderland")).status_code,
            ask(served, "GET", path).status_code,
        ]

    assert [200, 401, 401] == codes("/api/v1/usage")
    assert [401, 200, 401] == codes("/metrics")
    assert [401, 404, 401] == codes("/api/v1/usage/")
    assert 401 == ask(served, "POST", "/api/v1/ack", json={"seq": 1}, auth=("alice", "wonderland")).status_code
    assert 200 == ask(served, "POST", "/api/v1/ack", json={"seq": 1}, headers=bearer).status_code


def test_without_a_token_the_usage_api_takes_the_password(tmp_path: Path) -> None:
    """The same authentication as /metrics."""
    answer = ask(app(tmp_path, users()), "POST", "/api/v1/ack", json={"seq": 1}, auth=("alice", "wonderland"))

    assert 200 == answer.status_code


def test_a_path_is_not_freed_of_the_password_by_another_spelling(tmp_path: Path) -> None:
    """What the router serves as /metrics is asked for as /metrics is."""
    served = app(tmp_path, users(), token="s3cret")

    for path in ("/api/v1/usage/../../../metrics", "//metrics", "/%6detrics", "/api/v1/usage%2f..%2fmetrics"):
        assert ask(served, "GET", path, headers={"authorization": "Bearer s3cret"}).status_code in (401, 404)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic YWxpY2U6d29uZGVybGFuZA==", ("alice", b"wonderland")),
        ("basic  YWxpY2U6YTpi ", ("alice", b"a:b")),
        ("Basic " + base64.b64encode("ä:ß".encode()).decode(), ("ä", "ß".encode())),
        ("Basic YWxpY2U6", ("alice", b"")),
        ("", None),
        ("Basic \xff", None),
    ],
)
def test_credentials_are_name_and_password(header: str, expected: tuple[str, bytes] | None) -> None:
    """The first colon ends the name."""
    assert expected == credentials(header)


def test_a_long_password_counts_as_far_as_bcrypt_reads_it() -> None:
    """The tool that made the hash cut it there, too."""
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))

    assert matches(b"x" * 100, hashed)
    assert not matches(b"x" * 71, hashed)


@pytest.mark.parametrize("form", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_every_tool_are_taken(form: str) -> None:
    """htpasswd writes 2y, others 2a and 2b; they are the same."""
    assert matches(b"wonderland", ALICE.replace("$2b$", form).encode())


def test_an_unknown_user_costs_as_much_as_the_costliest_known_one() -> None:
    """Time does not tell who is there."""
    hashes = {"a": ALICE.encode(), "b": ALICE.replace("$04$", "$06$").encode()}

    assert b"$2b$06$" == nobody(hashes)[:7]
    assert not matches(b"", nobody(hashes))


def checked(passwords: Passwords, *given: tuple[str, bytes, str]) -> list[bool | str]:
    """The outcomes of checks that are asked for at once."""

    async def one(name: str, password: bytes, network: str) -> bool | str:
        try:
            return await passwords.hold(USERS, name, password, network)
        except Busy:
            return "busy"

    async def all_at_once() -> list[bool | str]:
        return await asyncio.gather(*(one(*each) for each in given))

    return asyncio.run(all_at_once())


def test_what_was_right_is_remembered_and_what_was_wrong_is_not() -> None:
    """Guesses do not push the scraper's entry out, and no password is kept."""
    passwords = Passwords()
    assert [True] == checked(passwords, ("alice", b"wonderland", "10.0.0.1"))
    before = dict(passwords._right)

    for guess in range(5):
        assert [False] == checked(passwords, ("alice", b"%d" % guess, "10.0.0.2"))

    assert before == passwords._right
    assert all(b"wonderland" not in key and b"alice" not in key for key in passwords._right)


def test_memory_of_right_passwords_is_bounded() -> None:
    """The one that was used longest ago goes first."""
    passwords = Passwords()
    for number in range(CACHED):
        passwords._right[b"%d" % number] = None

    checked(passwords, ("alice", b"wonderland", "10.0.0.1"))

    assert CACHED == len(passwords._right)
    assert b"0" not in passwords._right


def test_checks_that_wait_are_bounded_and_one_guesser_leaves_room_for_others() -> None:
    """Beyond that it is 503, not a queue; the remembered scraper does not notice."""
    passwords = Passwords()
    checked(passwords, ("alice", b"wonderland", "10.0.0.9"))
    guesses = [("alice", os.urandom(8), "10.0.0.1") for _ in range(20)]

    outcomes = checked(passwords, *guesses, ("alice", b"other", "10.0.0.2"), ("alice", b"wonderland", "10.0.0.9"))
    crowd = checked(Passwords(), *[("alice", os.urandom(8), f"10.0.1.{each}") for each in range(20)])

    assert [False, False, *["busy"] * 18, False, True] == outcomes
    assert [False] * MAX_WAITING + ["busy"] * (20 - MAX_WAITING) == crowd
    assert not passwords._waiting


def test_too_many_checks_are_a_503_that_may_be_asked_again(tmp_path: Path) -> None:
    """Counted as busy."""
    served = app(tmp_path, users())

    async def guesses() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=served)
        async with httpx.AsyncClient(transport=transport, base_url="http://gpuwatch.test") as client:
            return await asyncio.gather(
                *(client.get("/metrics", auth=("alice", f"guess {each}")) for each in range(5))
            )

    answers = asyncio.run(guesses())

    assert [401, 401, 503, 503, 503] == sorted(answer.status_code for answer in answers)
    busy = [answer for answer in answers if answer.status_code == 503]
    assert {"1"} == {answer.headers["retry-after"] for answer in busy}
    assert 3.0 == served.state.security.counters.health().requests_refused["busy"]
    assert authentication.MAX_WAITING_OF_ONE == 2
