"""The API over a real socket: a crowd, and requests that were made to hurt."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from gpuwatch.ledger import tables
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.web.api_operations import OPERATIONS
from gpuwatch.web.cursors import cursor
from gpuwatch.web.limits import Limits
from gpuwatch.web.operations import Operation
from gpuwatch.web.server import WebServer
from tests.faults.ledgers import rows
from tests.ledger.fixtures import ON_POSTGRES
from tests.web.ledgers import api, fill

pytestmark = pytest.mark.integration

CROWD = 200
REFUSED = {400, 404, 414, 431}
HOSTILE = (
    "' OR 1=1 --", "'; DROP TABLE usage; --", '" UNION SELECT text FROM rate_sets --', "%' AND '1'='1", "7') OR (",
    "../../../../etc/passwd", "..\\..\\etc\\passwd", "/etc/passwd", "%2e%2e%2f", "a\0b", "\0", "\n\r\n", "-1", "0",
    "99999999999999999999", "1e309", "NaN", "-0", "0x10", "١٢", "1;2", "{}", "[]", "null", "${jndi:ldap://x}", "*",
    "%", "_", "\ud800", "\u202e", "🤖" * 64, "x" * 8000, "",
)  # fmt: skip
CURSORS = (
    cursor(5, "\ud800"), cursor(5, "\0"), cursor("\ud800"), cursor("\0"), cursor(2**70, "x"), cursor(-5, "x"),
    cursor("x" * 1400), cursor(5, "' OR 1=1 --"), "A" * 2000, "W" * 60_000, "=" * 10, "WzE" * 600, "-_-_",
)  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=ON_POSTGRES)])
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """With jobs of several people, charged."""
    if request.param == "sqlite":
        where = str(tmp_path_factory.mktemp("ledger") / "ledger.db")
    else:
        where = request.getfixturevalue("postgres_server").make_database()
    store = open_store(where)
    fill(store)
    yield store
    store.close()


@pytest.fixture(scope="module")
def server(ledger: Store) -> Iterator[WebServer]:
    served = WebServer(api(ledger), "127.0.0.1:0", limits=Limits(connections=256))
    served.start()
    yield served
    served.stop()


def port_of(server: WebServer) -> int:
    return int(server.url.rpartition(":")[2])


def ask(server: WebServer, path: str, user: str = "root") -> tuple[int, bytes]:
    """A request of its own connection; which `path` is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=30)
    try:
        connection.request("GET", path, headers={"x-test-user": user})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ConnectionResetError:
        # It refused, and closed before it had read all of a request that is too long.
        return 414, b""
    finally:
        connection.close()


def quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def test_200_at_once_are_all_answered(server: WebServer) -> None:
    """Over as many connections; who is told to ask again is told so."""
    paths = ["/api/v1/jobs?since=0", "/api/v1/usage?from=0", "/api/v1/me", "/api/v1/rates"]
    with ThreadPoolExecutor(CROWD) as crowd:
        answers = list(crowd.map(lambda number: ask(server, paths[number % 4]), range(CROWD)))

    statuses = [status for status, _ in answers]
    assert {*statuses} <= {200, 503}
    assert statuses.count(200) >= CROWD / 2
    assert all(json.loads(body) for _, body in answers)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_no_parameter_takes_what_it_cannot_be(server: WebServer, ledger: Store, operation: Operation) -> None:
    """SQL, paths, NUL, numbers without end: an answer of the document each, and the ledger as it was."""
    path, parameters = operation.path, operation.parameters
    before = len(rows(ledger, tables.usage))
    asked = [
        f"/api/v1{path.replace('{name}', '7')}?{each.name}={quoted(bad)}" for each in parameters for bad in HOSTILE
    ]
    asked += [f"/api/v1{path.replace('{name}', '7')}?{quoted(bad)}=1" for bad in HOSTILE]
    asked += [f"/api/v1{path.replace('{name}', quoted(bad))}" for bad in HOSTILE] if "{name}" in path else []
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda each: (each, *ask(server, each)), asked))

    assert [] == [(each, status) for each, status, _ in answers if status not in REFUSED | {200}]
    assert not any(b"root:" in body or b"Traceback" in body or b"sqlalchemy" in body for _, _, body in answers)
    assert before == len(rows(ledger, tables.usage)) > 0


def post(
    server: WebServer, body: bytes, user: str = "root", path: str = "/api/v1/declarations"
) -> tuple[int, bytes]:
    """Declare, with a body as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=30)
    try:
        connection.request("POST", path, body, {"x-test-user": user, "content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "text", ["{}", "device-hours={} for=job:7", "device-hours=1 for=job:{}", "for=campaign:{} wall=1h"]
)
def test_no_declaration_does_what_it_says_to_the_ledger(server: WebServer, ledger: Store, text: str) -> None:
    """SQL, paths, NUL and numbers without end in any place of it: refused, or a name like another."""
    before = {table: len(rows(ledger, table)) for table in (tables.usage, tables.records, tables.runs)}
    bodies = [json.dumps({"text": text.replace("{}", bad)}).encode() for bad in HOSTILE]
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda each: (each, *post(server, each)), bodies))

    assert [] == [(each, status) for each, status, _ in answers if status not in {200, 400, 403, 404, 429}]
    assert not any(b"root:" in body or b"Traceback" in body or b"sqlalchemy" in body for _, _, body in answers)
    assert before == {table: len(rows(ledger, table)) for table in before}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b"null", b"1e999", b'{"text":NaN}', b'{"text":"\\ud800"}', b"[" * 65_000,
        b'{"a":' * 10_000, b'{"text":"' + b"x" * 65_000 + b'"}', b'{"text":"x","text":"y"}', b"x" * 10**6,
        b'{"text":"wall=1h"}' * 2,
    ],
)  # fmt: skip
def test_a_body_that_is_none_is_refused(server: WebServer, ledger: Store, body: bytes) -> None:
    """With a status, or the end of the connection where it goes on too long; nothing is kept."""
    before = len(rows(ledger, tables.journal))
    try:
        status = post(server, body, "ada")[0]
    except (ConnectionError, http.client.HTTPException):
        status = 413

    assert status in {400, 413, 429}
    assert before == len(rows(ledger, tables.journal))
    assert 200 == ask(server, "/api/v1/me")[0]


def test_many_who_declare_at_once_are_all_answered(server: WebServer, ledger: Store) -> None:
    """What was answered with 200 is there, each once; who says too much is told so."""
    before = len(rows(ledger, tables.journal))

    def declare(number: int) -> int:
        text = f"device-hours={number + 1} for=campaign:crowd-{number % 5}"
        return post(server, json.dumps({"text": text}).encode(), ("ada", "bob", "grace", "linus")[number % 4])[0]

    with ThreadPoolExecutor(CROWD // 4) as crowd:
        statuses = list(crowd.map(declare, range(CROWD // 2)))

    assert {*statuses} <= {200, 403, 429, 503}
    assert statuses.count(200) == len(rows(ledger, tables.journal)) - before > 0


@pytest.mark.parametrize(
    "path", [each.path for each in OPERATIONS if "cursor" in {one.name for one in each.parameters}]
)
def test_a_cursor_that_no_list_gave_is_refused_or_finds_what_there_is(server: WebServer, path: str) -> None:
    """Whatever somebody puts together."""
    statuses = {word: ask(server, f"/api/v1{path}?cursor={quoted(word)}")[0] for word in CURSORS}

    assert {} == {word: status for word, status in statuses.items() if status not in REFUSED | {200}}


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: b"GET /api/v1/me HTTP/1.1\r\nHost: a\r\nX-Test-User: " + b"a" * 2**20 + b"\r\n\r\n",
        lambda: b"GET /api/v1/me HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 2**17 + b"\r\n",
        lambda: b"GET /api/v1/jobs?user=" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda: b"GET /api/v1/me\0 HTTP/1.1\r\nHost: a\r\nX-Test-User: root\r\n\r\n",
        lambda: b"GET /api/v1/me HTTP/1.1\r\nHost: a\r\nX-Test-User: ro\0ot\r\n\r\n",
    ],
    ids=["header of 1 MB", "128 thousand headers", "line of 1 MB", "NUL in the path", "NUL in a header"],
)
def test_what_is_too_long_or_no_http_is_refused(server: WebServer, request_of: Callable[[], bytes]) -> None:
    """With a status or by the end of the connection, after little of it was read; others are served."""
    content = request_of()
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as connection:
        try:
            connection.sendall(content)
            answer = connection.recv(4096)
        except ConnectionError:
            answer = b""

    assert not answer or answer.split()[1][:1] == b"4"
    assert 200 == ask(server, "/api/v1/me")[0]


@pytest.mark.parametrize("path", ["/api/v1/nonsense", "/api/v1/", "/api/v1/jobs/a%0Ab", "/api/v1/jobs/%0A"])
def test_what_there_is_not_is_said_in_json_too(server: WebServer, path: str) -> None:
    """Whatever is asked, a client of the API can read why not."""
    status, body = ask(server, path)

    assert status in (400, 404)
    assert json.loads(body)["error"]
