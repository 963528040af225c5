"""The API of accounting answers as docs/api.md says."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from jsonschema_rs import validator_for

from gpuwatch.ledger.periods import BY
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.schedulers.base import Live
from gpuwatch.web.api import Gate
from gpuwatch.web.api_operations import OPERATIONS
from gpuwatch.web.identity import Identity
from gpuwatch.web.names import FixedNames
from gpuwatch.web.operations import Operation
from gpuwatch.web.threads import Patient
from tests.accounting.forecasting import forecast
from tests.ledger.batch import HOUR, T0, record, running
from tests.web.asking import ask, client
from tests.web.ledgers import ACCESS, NOW, OWNERS, UIDS, Said, api, as_user, fill

BASE = "/api/v1"
SINCE = {"since": "0"}
READS = {
    "ada": {"7", "run-1"},
    "bob": {"8", "9", "user:bob"},
    "grace": {"7", "9"},
    "linus": {"8"},
    "sam": {*OWNERS},
    "root": {*OWNERS},
    "eve": set(),
}
"""Who may read which jobs: ada and bob their own, grace those of ml and its part nlp, linus those of vision, whom
the configuration names, sam of the desk and root all; the job of another cluster is nobody's else."""
BUDGETS = {
    "ada": set(), "bob": set(), "eve": set(), "grace": {"ml", "nlp"}, "linus": {"vision"},
    "sam": {"ml", "nlp", "vision"}, "root": {"ml", "nlp", "vision"},
}  # fmt: skip


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The ledger of `fill`; nothing here changes it."""
    store = open_store(str(tmp_path_factory.mktemp("ledger") / "ledger.db"))
    fill(store)
    yield store
    store.close()


def get(store: Store, path: str, user: str = "root", **more: Any) -> httpx.Response:
    return ask(api(store), "GET", BASE + path, headers={**as_user(user), **more.pop("headers", {})}, **more)


def names(answer: httpx.Response, room: str = "jobs", key: str = "job") -> set[str]:
    assert 200 == answer.status_code, answer.text
    return {each[key] for each in answer.json()[room]}


@pytest.mark.parametrize("user", READS)
def test_everybody_lists_what_he_may_read(ledger: Store, user: str) -> None:
    """In all lists of jobs alike, and nothing of what he names himself."""
    jobs, quality = (names(get(ledger, path, user, params=SINCE)) for path in ("/jobs", "/quality"))
    of_bob = names(get(ledger, "/jobs", user, params={**SINCE, "user": "bob"}))
    declared = names(get(ledger, "/estimates", user, params=SINCE), "estimates", "scope")

    assert READS[user] == jobs == quality
    assert {job for job in READS[user] if OWNERS[job] == "bob"} == of_bob
    assert READS[user] & {"7", "8"} == declared


@pytest.mark.parametrize("user", READS)
@pytest.mark.parametrize("job", OWNERS)
def test_a_job_that_is_anothers_is_as_if_there_were_none(ledger: Store, user: str, job: str) -> None:
    """Nobody finds out by asking what others run, not even by name."""
    answer, none = get(ledger, f"/jobs/{quote(job)}", user), get(ledger, "/jobs/nothing", user)

    assert 404 == none.status_code
    if job in READS[user]:
        assert (200, job) == (answer.status_code, answer.json()["job"])
    else:
        assert (none.status_code, none.content) == (answer.status_code, answer.content)


@pytest.mark.parametrize("user", READS)
def test_usage_adds_up_what_he_may_read(ledger: Store, user: str) -> None:
    """By whatever it is grouped."""
    seconds = {"7": 7200.0, "8": 7180.0, "9": 7160.0, "66": 7140.0, "run-1": 100.0, "user:bob": 100.0}
    expected = sum(seconds[job] for job in READS[user])

    for by in BY:
        total = get(ledger, "/usage", user, params={"by": by, "from": "0"}).json()["total"]
        assert (pytest.approx(expected), len(READS[user])) == (total["device_seconds"] or 0.0, total["jobs"])


def test_usage_by_group_joins_accounts_as_the_site_says(ledger: Store) -> None:
    """Whose account is in none has no name."""
    gate = Gate(Identity([Said()]), FixedNames(UIDS), ACCESS, {"science": ("default/ml", "*/nlp")})
    params = {"by": "group", "from": "0"}

    answer = ask(api(ledger, gate), "GET", f"{BASE}/usage", params=params, headers=as_user("root"))

    found = {each["name"]: each["device_seconds"] for each in answer.json()["groups"]}
    assert {"science": 14_360.0, None: 14_520.0} == found


@pytest.mark.parametrize("user", BUDGETS)
def test_budgets_are_for_coordinators_and_staff(ledger: Store, user: str) -> None:
    """What an account's users used is nobody's else; sub-accounts go with the account."""
    assert BUDGETS[user] == names(
        get(ledger, "/budgets", user, params={"cluster": "default"}), "budgets", "account"
    )
    for account in ("ml", "nlp", "vision"):
        status = get(ledger, f"/budgets/{account}", user).status_code
        assert (200 if account in BUDGETS[user] else 404) == status


@pytest.mark.parametrize("user", READS)
def test_a_campaign_is_seen_as_far_as_its_jobs_are(ledger: Store, user: str) -> None:
    """Anybody can join one; that opens nobody else's jobs, and what is missing is said."""
    expected = READS[user] & {"7", "8"}

    answer = get(ledger, "/campaigns/llama", user)
    listed = get(ledger, "/campaigns", user)

    assert (200 if expected else 404) == answer.status_code
    assert ({"llama"} if expected else set()) == names(listed, "campaigns", "campaign")
    if expected:
        document = answer.json()
        assert expected == {each["job"] for each in document["members"]}
        assert (len(expected) == 2) == document["complete"] == listed.json()["campaigns"][0]["complete"]


@pytest.mark.parametrize(
    ("user", "roles", "accounts"),
    [
        ("ada", ["coordinator", "self"], ["nothing"]),
        ("eve", ["self"], []),
        ("grace", ["coordinator", "self"], ["ml", "nlp"]),
        ("sam", ["support", "self"], []),
        ("root", ["admin", "self"], []),
    ],
)
def test_everybody_may_ask_who_he_is(ledger: Store, user: str, roles: list[str], accounts: list[str]) -> None:
    """Roles come from the configuration and from the batch system."""
    document = get(ledger, "/me", user).json()

    assert (user, roles, accounts, "test") == tuple(
        document[key] for key in ("name", "roles", "accounts", "identified_by")
    )


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_who_proves_nothing_is_told_how(ledger: Store, operation: Operation) -> None:
    """401 before anything else, wrong parameters included; the document of the API is for everybody."""
    path = BASE + operation.path.replace("{name}", "7")

    refused = ask(api(ledger), "GET", path, params={"nonsense": "1"})

    assert (401, "Test") == (refused.status_code, refused.headers["www-authenticate"])
    assert {"error": "who asks is not known; say who you are"} == refused.json()
    assert 200 == ask(api(ledger), "GET", f"{BASE}/openapi.json").status_code


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_answers_and_examples_are_as_their_schemas_say(ledger: Store, operation: Operation) -> None:
    """What the document promises is what comes."""
    name = {
        "/jobs/{name}": "7",
        "/history/{name}": "7",
        "/forecasts/{name}": "7",
        "/campaigns/{name}": "llama",
        "/budgets/{name}": "ml",
        "/alerts/{name}": "job:7",
    }.get(operation.path, "")
    given = {"since": "0", "scope": "job:7"}
    params = {each.name: given[each.name] for each in operation.parameters if each.name in given}

    answer = get(ledger, operation.path.replace("{name}", name), params=params)

    validator = validator_for(dict(operation.schema))
    validator.validate(answer.json())
    validator.validate(operation.example)


def test_pages_follow_each_other_and_miss_nothing(tmp_path: Path) -> None:
    """Also where many jobs began in one second; the order is that of their starts, the latest first."""
    store = open_store(str(tmp_path / "ledger.db"))
    starts = [T0 + (number // 7) for number in range(40)]
    with store.writing() as connection:
        post_records(connection, [record(str(n), started=float(start)) for n, start in enumerate(starts)])
    found: list[tuple[int, str]] = []
    params = {"since": "0", "limit": "9"}
    while True:
        page = get(store, "/jobs", "ada", params=params).json()
        assert len(page["jobs"]) <= 9
        found += [(-each["started"], each["job"]) for each in page["jobs"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    store.close()

    assert sorted((-start, str(number)) for number, start in enumerate(starts)) == found


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {"7", "8", "9", "66", "run-1", "user:bob"}),
        ({"account": "ml"}, {"7", "66"}),
        ({"user": "ada"}, {"7", "66"}),
        ({"user": "bob"}, {"8", "9", "user:bob"}),
        ({"partition": "gpu"}, {"7", "8", "9", "66"}),
        ({"partition": "none"}, set()),
        ({"campaign": "llama"}, {"7", "8"}),
        ({"state": "ended", "account": "nlp"}, {"9"}),
        ({"state": "waiting"}, set()),
        ({"until": str(T0 + 15)}, {"7", "8"}),
        ({"since": str(T0 + 3600)}, {"7", "8", "9", "66"}),
        ({"since": "2023-11-14T08:59:59"}, {"7", "8", "9", "66"}),
        ({"since": "2024-13"}, None),
    ],
)
def test_jobs_are_filtered(ledger: Store, params: dict[str, str], expected: set[str] | None) -> None:
    """By whose they are, their state and their time."""
    answer = get(ledger, "/jobs", params={"since": "0", **params})

    if expected is None:
        assert 400 == answer.status_code
    else:
        assert expected == names(answer)


@pytest.mark.parametrize(
    ("path", "params", "told"),
    [
        ("/jobs", {"usr": "ada"}, "'usr': is no parameter; there is: user, account, "),
        ("/jobs", [("user", "ada"), ("user", "bob")], "user: is there twice"),
        ("/jobs", {"limit": "0"}, "limit: '0' is not possible"),
        ("/jobs", {"limit": "1001"}, "limit: '1001' is not possible"),
        ("/jobs", {"cursor": "eyJ4IjoxfQ"}, "cursor: is none that a list gave as `next`"),
        ("/jobs", {"state": "'; DROP TABLE usage; --"}, 'state: "\'; DROP TABLE usage; --" is not possible'),
        ("/jobs", {"user": "a\0b"}, "user: 'a\\x00b' is no name"),
        ("/jobs", {"since": "yesterday"}, "since: 'yesterday' is no time"),
        ("/usage", {"by": "moon"}, "by: 'moon' is not possible; there is: day, month"),
        ("/usage", {"timezone": "../../etc/passwd"}, "timezone: '../../etc/passwd' is no time zone"),
        ("/usage", {"from": "2026", "to": "2025"}, "to: is not after from"),
        ("/rates", {"a": "b"}, "'a': is no parameter; there is: none"),
    ],
)
def test_what_cannot_be_asked_is_a_400_with_the_reason(ledger: Store, path: str, params: Any, told: str) -> None:
    """Nothing is ignored, and nothing reaches the ledger."""
    answer = get(ledger, path, params=params)

    assert 400 == answer.status_code
    assert answer.json()["error"].startswith(told)


def test_an_answer_that_is_known_is_not_sent_again(ledger: Store) -> None:
    """By its ETag, which is another for each encoding."""
    first = get(ledger, "/jobs", params=SINCE)
    packed = get(ledger, "/jobs", params=SINCE, headers={"accept-encoding": "gzip"})
    again = get(ledger, "/jobs", params=SINCE, headers={"if-none-match": f'"x", {first.headers["etag"]}'})
    other = get(ledger, "/jobs", "ada", params=SINCE, headers={"if-none-match": first.headers["etag"]})

    assert (304, b"", first.headers["etag"]) == (again.status_code, again.content, again.headers["etag"])
    assert (200, "private, no-cache") == (other.status_code, first.headers["cache-control"])
    assert ("gzip", first.json()) == (packed.headers["content-encoding"], packed.json())
    assert packed.headers["etag"] != first.headers["etag"]


def test_200_requests_at_once_are_bounded_and_answered(ledger: Store) -> None:
    """Four read at once, the others wait for their turn."""
    app = api(ledger)

    async def asking() -> list[int]:
        async with client(app) as asker:
            asked = [asker.get(f"{BASE}/jobs", params=SINCE, headers=as_user("ada")) for _ in range(200)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    statuses = asyncio.run(asking())

    assert 200 == len(statuses)
    assert {*statuses} <= {200, 503}
    assert statuses.count(200) >= 4


def test_whose_turn_does_not_come_is_told_to_ask_again(ledger: Store) -> None:
    """Where nobody reads at all, the wait is over at once."""
    answer = ask(api(ledger, readers=Patient(0, wait_seconds=0.0)), "GET", f"{BASE}/me", headers=as_user("ada"))

    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
    assert {"error": "too many ask at once; ask again"} == answer.json()


def test_without_a_ledger_yet_the_client_may_ask_again() -> None:
    """Accounting serves before it has opened it."""
    assert 503 == ask(api(None), "GET", f"{BASE}/jobs", headers=as_user("ada")).status_code


def test_a_question_that_takes_too_long_ends(tmp_path: Path) -> None:
    """The database gives up where the deadline is over, and the connection is as good as before."""
    from gpuwatch.errors import Unavailable
    from gpuwatch.ledger.deadline import limited

    store = open_store(str(tmp_path / "ledger.db"))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(Unavailable), store.reading() as connection, limited(connection, 0.0):
        connection.exec_driver_sql(endless)
    with store.reading() as connection, limited(connection, 1.0):
        assert 1 == connection.exec_driver_sql("SELECT 1").scalar()
    store.close()


def test_the_body_is_compact_json(ledger: Store) -> None:
    """Packed where the client takes it."""
    answer = get(ledger, "/me", "eve", headers={"accept-encoding": "gzip"})

    assert json.dumps(answer.json(), separators=(",", ":")) == answer.text
    assert 0 < len(gzip.compress(answer.content))


@pytest.mark.parametrize(
    ("user", "jobs"), [("ada", 2), ("bob", 2), ("grace", 2), ("linus", 1), ("sam", 5), ("root", 5), ("eve", 0)]
)
def test_what_jobs_of_a_kind_came_to_is_told_of_those_that_one_may_read(
    ledger: Store, user: str, jobs: int
) -> None:
    """Nobody is in another's sample, whatever he asks for."""
    told = get(ledger, "/expectations", user, params={"name": "*", **SINCE}).json()

    nearest = {each["display"] for each in told["nearest"]}
    assert jobs == told["jobs"]
    assert nearest <= READS[user]


@pytest.mark.parametrize("declared", ["0", "-1", "nan", "1e400", "x", "640h"])
def test_device_hours_that_cannot_be_declared_are_refused(ledger: Store, declared: str) -> None:
    """As every wrong parameter is."""
    told = get(ledger, "/expectations", params={"user": "ada", "declared": declared})

    assert (400, True) == (told.status_code, "declared" in told.json()["error"])


def test_what_is_forecast_is_for_those_who_may_read_it(tmp_path: Path) -> None:
    """A job's for who may read the job, with how it moved; a campaign's for who may read all of its jobs."""
    store = open_store(str(tmp_path / "ledger.db"))
    said = Live(float(T0), "gpuwatch: device-hours=3 campaign=llama")
    with store.writing() as connection:
        post_records(
            connection, [running("7", live=said, seen=NOW), running("8", live=said, user="bob", seen=NOW)]
        )
    forecast(store, NOW)

    mine = get(store, "/forecasts/7", "ada").json()
    theirs = [get(store, "/forecasts/7", user).status_code for user in ("bob", "eve")]
    campaigns = {user: get(store, "/campaigns/llama", user).json() for user in ("ada", "sam")}
    job = get(store, "/jobs/7", "ada").json()
    store.close()

    assert ("7", [[NOW, 4 * HOUR, None, None, None]]) == (mine["job"], mine["burnup"])
    (point,) = mine["points"]["device-hours"]
    assert (NOW, 4 * HOUR, 3 * HOUR) == (point["time"], point["used"], point["declared"])
    assert point["quantiles"] == job["forecasts"]["device-hours"]["quantiles"]
    assert [404, 404] == theirs
    assert ({}, True) == (campaigns["ada"]["forecasts"], "device-hours" in campaigns["sam"]["forecasts"])
