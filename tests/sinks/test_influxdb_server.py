"""What the official client and a server say to each other, and what an `Answer` makes of it."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.sinks.influxdb_check import check_server, check_spool
from gpuwatch.sinks.influxdb_server import NOTHING, Server
from gpuwatch.sinks.influxdb_settings import ServerSettings
from tests.sinks.fake_influxdb import FakeInfluxdb, Reply

LINE = b"gpuwatch_device,node=gw0 power_watts=651.25 1764000000000000000\n"


@pytest.fixture
def fake() -> Iterator[FakeInfluxdb]:
    with FakeInfluxdb() as fake:
        yield fake


def server_of(url: str, **settings: Any) -> Server:
    """A server in `bucket` under the URL, with a second for every request."""
    return Server(ServerSettings(url=url, bucket="gpu/one year", **{"timeout_seconds": 1.0, **settings}))


def token_file(path: Path, token: str = "s3cr3t-tok", name: str = "token") -> Path:
    file = path / name
    file.write_text(f"{token}\n")
    return file


def test_lines_arrive_as_they_are(fake: FakeInfluxdb, tmp_path: Path) -> None:
    """Compressed, with organization, bucket and precision, and the token in the header that InfluxDB asks for."""
    server = server_of(fake.url, org="hpc", token_file=token_file(tmp_path))

    answer = server.write(LINE)

    assert ("stored", [LINE]) == (answer.verdict, fake.requests)
    assert ["/api/v2/write?org=hpc&bucket=gpu%2Fone+year&precision=ns"] == fake.paths
    sent = fake.headers[0]
    assert ("Token s3cr3t-tok", "gzip") == (sent["Authorization"], sent["Content-Encoding"])
    assert sent["User-Agent"].startswith("gpuwatch/")


def test_a_path_before_the_api_is_kept(fake: FakeInfluxdb) -> None:
    """VictoriaMetrics in a cluster has one."""
    server_of(f"{fake.url}/insert/0/influx/").write(LINE)

    assert fake.paths[0].startswith("/insert/0/influx/api/v2/write?")


def test_user_and_password_are_the_token_of_influxdb_1_8(fake: FakeInfluxdb, tmp_path: Path) -> None:
    """It is made of both."""
    server_of(fake.url, username="gpu", password_file=token_file(tmp_path, "pw:1")).write(LINE)

    assert "Token gpu:pw:1" == fake.headers[0]["Authorization"]


def test_without_credential_none_is_sent(fake: FakeInfluxdb) -> None:
    """VictoriaMetrics asks for none."""
    server_of(fake.url).write(LINE)

    assert "Authorization" not in fake.headers[0]


@pytest.mark.parametrize(
    ("reply", "verdict", "reason", "detail"),
    [
        (Reply(400, {}, b'{"error":"unable to parse"}'), "refused", "refused", "400 unable to parse"),
        (Reply(422, {}, b'{"code":"x","message":"dropped"}'), "refused", "refused", "422 dropped"),
        (Reply(401), "forbidden", "auth", "401"),
        (Reply(403, {}, b"no"), "forbidden", "auth", "403 no"),
        (Reply(404, {}, b'{"message":"bucket not found"}'), "missing", "not_found", "404 bucket not found"),
        (Reply(408), "later", "timeout", "408"),
        (Reply(413, {}, b"<html>"), "too_large", "too_large", "413 <html>"),
        (Reply(425), "later", "server", "425"),
        (Reply(429), "later", "rate_limited", "429"),
        (Reply(418), "refused", "refused", "418"),
        (Reply(500, {}, b"[1]"), "later", "server", "500 [1]"),
        (Reply(503, {"Retry-After": "7"}), "later", "server", "503"),
        (Reply(307, {"Location": "http://127.0.0.1:1/"}), "later", "refused", "307"),
        (Reply(400, {}, b"a\nforged line\x1b[0m"), "refused", "refused", "400 a\\nforged line\\x1b[0m"),
        (Reply(400, {}, b"x" * 10_000), "refused", "refused", "400 " + "x" * 199 + "…"),
        (Reply(400, {}, b"\xff\xfe"), "refused", "refused", "400 \ufffd\ufffd"),
        (Reply(502, {}, b"\xfcberlastet"), "later", "server", "502 \ufffdberlastet"),
        (
            Reply(400, {}, b'{"error":"partial write","data":[{"error_message":"bad column","line_number":2}]}'),
            "refused",
            "refused",
            "400 partial write; bad column",
        ),
    ],
)
def test_status_decides(fake: FakeInfluxdb, reply: Reply, verdict: str, reason: str, detail: str) -> None:
    """What the server says is kept, safe to log and short."""
    fake.script = lambda number, lines: reply
    server = server_of(fake.url)

    answer = server.write(LINE)

    assert (verdict, reason, detail) == (answer.verdict, answer.reason, answer.detail)
    assert (7.0 if reply.status == 503 else None) == answer.wait_seconds


def test_success_by_any_status_of_200(fake: FakeInfluxdb) -> None:
    """Also with a body, which nobody asked for."""
    fake.script = lambda number, lines: Reply(
        200, {"X-Influxdb-Version": "v2.7.1", "X-Influxdb-Build": "OSS"}, b"{}"
    )

    answer = server_of(fake.url).write(LINE)

    assert ("stored", ("OSS", "v2.7.1")) == (answer.verdict, answer.server)
    assert answer.time is not None and abs(answer.time - time.time()) < 5.0


def test_server_that_is_not_there() -> None:
    """Connection refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = server_of(f"http://127.0.0.1:{taken.getsockname()[1]}").write(LINE)

    assert ("later", "network", True) == (answer.verdict, answer.reason, "refused" in answer.detail)


@pytest.mark.parametrize("reply", [Reply(silent=True), Reply(delay=5.0)])
def test_fault_2_server_that_accepts_and_never_answers(fake: FakeInfluxdb, reply: Reply) -> None:
    """The timeout ends it."""
    fake.script = lambda number, lines: reply
    began = time.monotonic()

    answer = server_of(fake.url, timeout_seconds=0.2).write(LINE)

    assert ("later", "timeout") == (answer.verdict, answer.reason)
    assert time.monotonic() - began < 3.0


def test_fault_2_server_that_does_not_even_read() -> None:
    """A connection nobody accepts: the kernel took it, and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        answer = server_of(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout_seconds=0.2).write(LINE * 100_000)

    assert ("later", "timeout") == (answer.verdict, answer.reason)


class Pouring:
    """A server that answers one request with a beginning, and then with a piece again and again, after pauses."""

    def __init__(self, beginning: bytes, piece: bytes, pause: float) -> None:
        self._answer = beginning, piece, pause
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Pouring:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._socket.close()
        self._thread.join(5.0)

    def _serve(self) -> None:
        beginning, piece, pause = self._answer
        with suppress(OSError):
            connection, _ = self._socket.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(beginning)
                while not self._over.wait(pause):
                    connection.sendall(piece)


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 503 Later\r\n\r\n"])
def test_fault_2_server_that_drips_its_answer(beginning: bytes) -> None:
    """Each byte comes in time, but the whole never does: the timeout is one for all of it."""
    with Pouring(beginning, b"x", 0.02) as dripping:
        began = time.monotonic()
        answer = server_of(dripping.url, timeout_seconds=0.2).write(LINE)
        took = time.monotonic() - began

    assert ("later", "timeout", True) == (answer.verdict, answer.reason, took < 2.0)


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
def test_server_whose_answer_never_ends_takes_no_memory(status: bytes) -> None:
    """Nobody reads more than 8 MiB."""
    with Pouring(b"HTTP/1.1 %s\r\n\r\n" % status, b"x" * 2**20, 0.0) as endless:
        tracemalloc.start()
        answer = server_of(endless.url, timeout_seconds=20.0).write(LINE)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert ("later", "network", True) == (answer.verdict, answer.reason, "longer than 8388608" in answer.detail)
    assert peak < 40 * 2**20


def test_answer_of_an_impossible_length_is_none() -> None:
    """Whatever a server says, it is an answer of ours."""
    with Pouring(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % 10**30, b"x", 0.0) as lying:
        answer = server_of(lying.url).write(LINE)

    assert ("later", "network") == (answer.verdict, answer.reason)


def test_answer_is_not_unpacked(fake: FakeInfluxdb) -> None:
    """It was not asked to be packed; a few bytes could be gigabytes."""
    packed = gzip.compress(bytes(2**20))
    fake.script = lambda number, lines: Reply(503, {"Content-Encoding": "gzip"}, packed)

    answer = server_of(fake.url).write(LINE)

    assert ("later", "server", True) == (answer.verdict, answer.reason, answer.detail.startswith("503"))


def test_connection_is_used_again(fake: FakeInfluxdb) -> None:
    """After an answer that was read to its end, with all of the timeout again."""
    server = server_of(fake.url)
    answers = [server.write(LINE) for _ in range(3)]

    assert [True] * 3 == [answer.verdict == "stored" for answer in answers]
    assert 1 == fake.connections


def test_answer_that_ends_early_is_none(fake: FakeInfluxdb) -> None:
    """Whether the lines were stored is unknown, so they are sent again."""
    fake.script = lambda number, lines: Reply(200, {}, b"{", short=True)

    answer = server_of(fake.url).write(LINE)

    assert ("later", "network") == (answer.verdict, answer.reason)


def test_fault_5_new_credential_is_read_when_the_file_changes(fake: FakeInfluxdb, tmp_path: Path) -> None:
    """Without a restart; also a file that was not there."""
    file = tmp_path / "token"
    server = server_of(fake.url, token_file=file)

    missing = server.write(LINE)
    token_file(tmp_path, "first")
    came, first = server.changed(), server.write(LINE)
    token_file(tmp_path, "second-one")
    second = server.write(LINE)

    assert ("forbidden", "auth", f"{file}: No such file or directory") == (
        missing.verdict,
        missing.reason,
        missing.detail,
    )
    assert (True, "stored", "stored", False) == (came, first.verdict, second.verdict, server.changed())
    assert ["Token first", "Token second-one"] == [sent["Authorization"] for sent in fake.headers]


@pytest.mark.parametrize("content", [b"", b" \n", b"two\nlines", b"caf\xc3\xa9", b"a\x00b"])
def test_credential_that_no_header_can_carry_is_said(fake: FakeInfluxdb, tmp_path: Path, content: bytes) -> None:
    """Before it is sent, and without showing it."""
    file = tmp_path / "token"
    file.write_bytes(content)

    answer = server_of(fake.url, token_file=file).write(LINE)

    assert ("forbidden", f"{file}: is not one line of printable ASCII") == (answer.verdict, answer.detail)
    assert [] == fake.requests


def test_credential_is_nowhere_to_be_seen(
    fake: FakeInfluxdb, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in what is logged at the lowest level, in `repr`, nor in what a server repeats of it."""
    fake.script = lambda number, lines: Reply(401, {}, b'{"message":"bad token s3cr3t-tok"}')
    server = server_of(fake.url, token_file=token_file(tmp_path))

    with caplog.at_level(logging.DEBUG):
        answer = server.write(LINE)

    assert "Token s3cr3t-tok" == fake.headers[0]["Authorization"]
    printed = capsys.readouterr()
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("gpuwatch")]
    for shown in (*logged, repr(server), repr(answer), str(vars(answer) if hasattr(answer, "__dict__") else ""),
                  printed.out, printed.err):  # fmt: skip
        assert "s3cr3t" not in shown


def test_proxy_of_the_environment_is_not_used(fake: FakeInfluxdb, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for other traffic; `proxy` names one."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert "stored" == server_of(fake.url).write(LINE).verdict
    assert "stored" == server_of("http://influxdb.invalid", proxy=fake.url).write(LINE).verdict


def test_files_of_certificates_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    """And tried again: they are renewed while this runs."""
    nonsense = token_file(tmp_path, "nonsense", "ca.pem")

    missing = server_of("https://127.0.0.1:1", ca_file=tmp_path / "none.pem").write(LINE)
    broken = server_of("https://127.0.0.1:1", ca_file=nonsense).write(LINE)

    assert ("later", "network") == (missing.verdict, missing.reason)
    assert f"ca_file {tmp_path}/none.pem: No such file or directory" == missing.detail
    assert ("later", True) == (broken.verdict, broken.detail.startswith(f"ca_file {nonsense}: "))


def test_check_leaves_nothing_behind(fake: FakeInfluxdb) -> None:
    """One request without a line says all: it is there, may be written, its clock."""
    probes = check_server("influxdb:main", server_of(fake.url), time.time())

    assert [(True, "influxdb:main writes"), (True, "influxdb:main clock")] == [
        (each.ok, each.what) for each in probes
    ]
    assert ([NOTHING], []) == (fake.requests, fake.stored)


@pytest.mark.parametrize(
    ("reply", "ok", "detail"),
    [
        (Reply(401), False, "the credential may not write; 401"),
        (Reply(404, {}, b"no bucket"), False, "no such bucket, or no InfluxDB under this address; 404 no bucket"),
        (Reply(503), False, "not now; 503"),
        (Reply(405), False, "refused; 405"),
        (Reply(400, {}, b"HTTP request to an HTTPS port"), False, "refused; 400 HTTP request to an HTTPS port"),
        (Reply(400, {}, b'{"message":"writing requires points"}'), True, "takes points"),
        (Reply(204, {"X-Influxdb-Version": "1.8.10"}), True, "takes points; influxdb 1.8.10"),
        (
            Reply(204, {"X-Influxdb-Version": "1.8.0", "X-Server-Hostname": "vm"}),
            True,
            "takes points; victoria-metrics 1.8.0",
        ),
    ],
)
def test_check_says_what_is_wrong(fake: FakeInfluxdb, reply: Reply, ok: bool, detail: str) -> None:
    """And what to do about it, where that is known."""
    fake.script = lambda number, lines: reply

    probe = check_server("influxdb:main", server_of(fake.url), time.time())[0]

    assert (ok, True) == (probe.ok, probe.detail.endswith(detail))


def test_check_compares_clocks(fake: FakeInfluxdb) -> None:
    """By the Date header; a minute is too much."""
    ahead = check_server("influxdb:main", server_of(fake.url), time.time() - 90.0)[1]
    behind = check_server("influxdb:main", server_of(fake.url), time.time() + 3600.0)[1]

    assert (False, False) == (ahead.ok, behind.ok)
    assert ("ahead of ours", "behind ours") == (ahead.detail[-13:], behind.detail[-11:])


def test_check_of_a_server_that_is_not_there() -> None:
    """Only that is said."""
    (probe,) = check_server("influxdb:main", server_of("http://127.0.0.1:1"), time.time())

    assert ("influxdb:main reachable", False, True) == (probe.what, probe.ok, "refused" in probe.detail)


def test_check_of_the_spool(tmp_path: Path) -> None:
    """A directory that can be made is good; a file in its place is not."""
    (tmp_path / "file").write_text("")

    assert check_spool(tmp_path / "a" / "b", 2**20).ok
    assert not check_spool(tmp_path / "a" / "b", 2**60).ok
    assert not check_spool(tmp_path / "file" / "b", 2**20).ok
