"""The page of accounting: who sees what, what protects it, and that names of others stay text."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from gpuwatch.errors import Forbidden
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.schedulers.base import Live
from gpuwatch.web.desk import Gate
from gpuwatch.web.identity import Caller, Identity
from gpuwatch.web.names import FixedNames
from gpuwatch.web.page import asking, overview
from gpuwatch.web.page.assets import FOLDER, Assets
from gpuwatch.web.page.frame import Passed
from gpuwatch.web.page.html import tag
from gpuwatch.web.peer_proof import PeerProof
from gpuwatch.web.roles import Person
from tests.ledger.batch import T0, record, running
from tests.web import ui_site
from tests.web.asking import ask
from tests.web.ledgers import ACCESS, NOW, OWNERS, UIDS, Said, as_user, fill
from tests.web.test_api import BUDGETS, READS

VIEWS = (
    "", "jobs?since=0", "jobs/7", "campaigns", "campaigns/llama", "budgets/ml", "outcomes?since=0", "estimate",
    "estimate?way=flops&params=7B&tokens=300B&device=H100+SXM&devices=64", "estimate?way=like&user=ada",
)  # fmt: skip
PASSED = Passed(3.0, NOW - 20.0, 60.0)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The ledger of several people's jobs; nothing here changes it."""
    store = open_store(str(tmp_path_factory.mktemp("ledger") / "ledger.db"))
    fill(store)
    yield store
    store.close()


def gate(*proofs: object) -> Gate:
    return Gate(Identity(proofs or [Said()]), FixedNames(UIDS, {"sam": ("desk",)}), ACCESS)


def get(store: Store | None, path: str, user: str = "root", **more: object) -> httpx.Response:
    app = ui_site.app(lambda: store, gate(), lambda: NOW, lambda: PASSED)
    headers = {**(as_user(user) if user else {}), **more.pop("headers", {})}
    return ask(app, "GET", f"/ui/{path}", headers=headers, **more)


class Elements(HTMLParser):
    """Every element with its attributes, and the text of each kind of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def jobs_in(answer: httpx.Response) -> set[str]:
    """The jobs that a view leads to."""
    links = (each.get("href") or "" for each in Elements(answer.text).of("a"))
    return {unquote(link.removeprefix("/ui/jobs/")) for link in links if link.startswith("/ui/jobs/")}


@pytest.mark.parametrize("user", READS)
def test_everybody_sees_the_jobs_that_the_api_gives_him(ledger: Store, user: str) -> None:
    """In the table, and beside what is about them; nobody's else, whatever he filters by."""
    assert READS[user] == jobs_in(get(ledger, "jobs?since=0", user))
    assert READS[user] >= jobs_in(get(ledger, "", user))
    assert {job for job in READS[user] if OWNERS[job] == "bob"} == jobs_in(
        get(ledger, "jobs?since=0&user=bob", user)
    )


@pytest.mark.parametrize("user", READS)
@pytest.mark.parametrize("job", OWNERS)
def test_a_job_that_is_anothers_is_as_if_there_were_none(ledger: Store, user: str, job: str) -> None:
    """The same page to the byte."""
    answer, none = get(ledger, f"jobs/{quote(job)}", user), get(ledger, "jobs/nothing", user)

    assert 404 == none.status_code
    if job in READS[user]:
        assert 200 == answer.status_code
    else:
        assert (404, none.content) == (answer.status_code, answer.content)


@pytest.mark.parametrize("user", BUDGETS)
def test_budgets_are_for_coordinators_and_staff(ledger: Store, user: str) -> None:
    """Names of accounts and what they used are in no view of others."""
    shown = {
        each
        for each in ("ml", "nlp", "vision")
        if f'href="/ui/budgets/{each}"' in get(ledger, "campaigns", user).text
    }

    assert BUDGETS[user] == shown
    for account in ("ml", "nlp", "vision"):
        assert (200 if account in BUDGETS[user] else 404) == get(ledger, f"budgets/{account}", user).status_code


@pytest.mark.parametrize("view", (*VIEWS, "events"))
def test_who_proves_nothing_is_told_how(ledger: Store, view: str) -> None:
    """And nothing else: no figure, no name, and no age of them."""
    answer = get(ledger, view, user="")

    assert (401, "Test", "close") == (
        answer.status_code, answer.headers["www-authenticate"], answer.headers["connection"],
    )  # fmt: skip
    assert "say who you are" in answer.text
    assert "ssh -L" in answer.text
    assert 'id="age"' not in answer.text


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_in_a_view_runs_or_is_drawn_but_its_files(ledger: Store, view: str) -> None:
    """No script but by a file of ours, no style in an attribute, nothing of another site; more is forbidden."""
    answer = get(ledger, view)

    assert 200 == answer.status_code
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert ("nosniff", "no-referrer", "same-origin") == tuple(
        answer.headers[each]
        for each in ("x-content-type-options", "referrer-policy", "cross-origin-opener-policy")
    )
    elements = Elements(answer.text)
    names = {name for _, attributes in elements.found for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "srcdoc")}
    assert not {name for name, _ in elements.found} & {"style", "iframe", "object", "embed", "base"}
    sources = [
        each[name] or "" for _, each in elements.found for name in ("src", "href", "action") if name in each
    ]
    assert [] == [each for each in sources if not each.startswith(("/ui/", "/api/v1/", "/metrics", "#"))]


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_read_by_those_who_do_not_see_it(ledger: Store, view: str) -> None:
    """Landmarks, one first heading, captions, heads with a scope, names of fields and pictures."""
    elements = Elements(get(ledger, view).text)

    kinds = [name for name, _ in elements.found]
    assert (1, 1, 1, 1) == tuple(kinds.count(each) for each in ("main", "nav", "h1", "footer"))
    assert kinds.count("table") == kinds.count("caption")
    assert all(each.get("scope") in ("col", "row") for each in elements.of("th"))
    assert all(each.get("aria-label") for each in elements.of("svg"))
    assert all(each.get("aria-label") or each.get("aria-labelledby") for each in elements.of("form"))
    assert {"#main"} == {each["href"] for each in elements.of("a") if each.get("class") == "skip"}
    ids = [each["id"] for _, each in elements.found if "id" in each]
    assert len(ids) == len({*ids})


HOSTILE = (
    "<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "' onmouseover='alert(1)", "x" * 10_000,
    "\u202egnp.exe", "שלום עולם", "训练任务", "🦙🔥", "a\nb\x00c", "</table></main>", "&lt;b&gt;", "\udcff",
)  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_names_of_others_stay_text(tmp_path: Path, hostile: str) -> None:
    """Wherever they are shown, whoever chose them; long ones are cut, and apart in their direction."""
    store = open_store(str(tmp_path / "ledger.db"))
    said = Live(float(T0 + 60), f"gpuwatch: device-hours=3 campaign={hostile} tag={hostile}:{hostile}")
    with store.writing() as connection:
        post_records(
            connection,
            [
                record(
                    "7", said, name=hostile, user=hostile, account=hostile, partition=hostile, nodes=(hostile,)
                ),
                running("8", name=hostile, seen=NOW - 60),
            ],
        )
    for view in (
        "",
        "jobs?since=0",
        "jobs/7",
        "jobs/8",
        "campaigns",
        "outcomes?since=0",
        f"jobs?user={quote(hostile.encode('utf-8', 'replace'))[:3000]}",
    ):
        answer = get(store, view)
        assert answer.status_code in (200, 400), view
        elements = Elements(answer.text)
        assert not {name for name, _ in elements.found} & {"img", "i", "iframe"}, view
        assert 1 == len(elements.of("script")), view
        assert not {name for _, each in elements.found for name in each if name.startswith("on")}, view
        assert "\u202e" not in answer.text and "\x00" not in answer.text
        assert len(answer.text) < 120_000, view
    assert 200 == get(store, "jobs/7").status_code
    store.close()


def test_an_empty_ledger_has_words_instead_of_tables(tmp_path: Path) -> None:
    """In every view."""
    store = open_store(str(tmp_path / "ledger.db"))

    for view in ("", "jobs", "campaigns", "outcomes", "estimate"):
        answer = get(store, view, "ada")
        assert (200, True) == (answer.status_code, 'class="none"' in answer.text or view == "estimate")
    store.close()


def test_a_view_that_did_not_change_is_not_sent_again(ledger: Store) -> None:
    """Its tag is that of what is sent; with gzip another."""
    first = get(ledger, "jobs?since=0")
    again = get(ledger, "jobs?since=0", headers={"if-none-match": first.headers["etag"]})
    packed = get(ledger, "jobs?since=0", headers={"accept-encoding": "gzip"})

    assert (304, b"") == (again.status_code, again.content)
    assert "private, no-cache" == first.headers["cache-control"]
    assert first.text == packed.text and packed.headers["etag"] != first.headers["etag"]


def test_files_are_everybodys_and_kept_by_what_is_in_them(ledger: Store) -> None:
    """A file of another version is never kept; what is not there is not there."""
    page = get(ledger, "").text
    found = re.findall(r"/ui/(static/[0-9a-f]{12}/[a-z.]+)", page)

    assert {"page.css", "page.js", "icon.svg"} == {each.rpartition("/")[2] for each in found}
    for each in found:
        answer = get(ledger, each, user="")
        assert (200, "public, max-age=31536000, immutable") == (
            answer.status_code,
            answer.headers["cache-control"],
        )
        assert 304 == get(ledger, each, user="", headers={"if-none-match": answer.headers["etag"]}).status_code
    old = get(ledger, "static/000000000000/page.js", user="")
    assert (200, "no-cache", "text/javascript; charset=utf-8") == (
        old.status_code, old.headers["cache-control"], old.headers["content-type"],
    )  # fmt: skip
    for path in (
        "static/x/nothing.js",
        "static/x/../page/routes.py",
        "static/x/%2e%2e/page/routes.py",
        "static/x/",
    ):
        assert 404 == get(ledger, path, user="").status_code


def test_modules_lead_to_modules_that_are_there() -> None:
    """Every import of a script is a file beside it, and every one of a style sheet its own."""
    scripts = list(FOLDER.glob("*.js"))
    imports = {
        (path.name, each)
        for path in scripts
        for each in re.findall(r'(?:from|import\()\s*"\./([^"]+)"', path.read_text())
    }

    assert [] == [(name, each) for name, each in imports if not (FOLDER / each).is_file()]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", "".join(p.read_text() for p in scripts)
    )
    assert all(len(path.read_text().splitlines()) < 400 for path in FOLDER.glob("*.*"))
    assert 70_000 > sum(len(gzip.compress(path.read_bytes())) for path in FOLDER.rglob("*.*"))
    assert "MIT" in (FOLDER / "vendor" / "uplot" / "LICENSE.txt").read_text()
    with pytest.raises(KeyError):
        Assets().address("nothing.js")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("jobs?state=flying", 400, "state: 'flying' is not possible"),
        ("jobs?since=yesterday", 400, "since: 'yesterday' is no time"),
        ("jobs?user=a&user=b", 400, "user: is there twice"),
        ("jobs?cursor=nonsense", 400, "cursor"),
        ("jobs?" + "x" * 5000, 400, "too long"),
        ("jobs/%00", 400, "is no name"),
        ("nothing", 404, "no such view"),
        ("budgets/none", 404, "not yours to read"),
        ("estimate?way=flops&params=7Z&tokens=3B&device=H100+SXM", 200, "params: &#x27;7Z&#x27; is no number"),
        ("estimate?way=flops&device=H100+SXM", 200, "give parameters and tokens"),
        ("estimate?way=flops&flop=1e22&device=nonsense", 200, "is not known"),
        ("estimate?way=flops&flop=1e22&device=H100+SXM&mfu=x", 200, "mfu"),
        ("estimate?way=like&declared=-1", 200, "declared"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(ledger: Store, path: str, status: int, words: str) -> None:
    """In a page with its frame; what was typed into a form stays there."""
    answer = get(ledger, path)

    assert status == answer.status_code
    assert words.replace("'", "&#x27;") in answer.text or words in answer.text


def test_the_form_prints_the_line_to_paste(ledger: Store) -> None:
    """As `gpuwatch estimate` does."""
    text = get(ledger, VIEWS[-2]).text

    assert "#SBATCH --comment=&#x27;gpuwatch: device-hours=" in text
    assert "gpuwatch declare --device-hours " in text


def test_a_ledger_that_cannot_be_read_is_said() -> None:
    """503, to be asked again, and the frame stands."""
    answer = get(None, "")

    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
    assert "<main" in answer.text


def test_a_slow_part_holds_up_no_other(ledger: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is late; the others are there, with how old they are."""
    monkeypatch.setattr(asking, "PART_SECONDS", 0.0)
    late = get(ledger, "").text

    def slow(_asker: object) -> None:
        raise OperationalError("SELECT", {}, Exception("interrupted"))

    monkeypatch.setattr(asking, "PART_SECONDS", 8.0)
    monkeypatch.setattr(overview, "_tiles", slow)
    some = get(ledger, "").text

    assert 'id="age"' in late
    assert "This month: the ledger did not answer within 8 s" in some
    assert "What will overrun" in some and "Running jobs" in some


def test_the_age_of_figures_is_that_of_the_pass(ledger: Store) -> None:
    """The script counts on from there; without a pass it is said that there was none."""
    assert f'data-pass="{NOW - 20.0}"' in get(ledger, "").text
    app = ui_site.app(lambda: ledger, gate(), lambda: NOW, Passed)
    assert "No pass has ended yet." in ask(app, "GET", "/ui/", headers=as_user("ada")).text


def test_an_element_escapes_whatever_is_no_markup() -> None:
    """Children and attributes alike; what is None or False is left out."""
    made = tag("p", "<b>", None, [tag("br"), 3], class_='"x"', hidden=True, title=None, data_a_b="1")

    assert '<p class="&quot;x&quot;" hidden data-a-b="1">&lt;b&gt;<br>3</p>' == made


def test_the_address_without_a_slash_leads_to_the_page(ledger: Store) -> None:
    """For those who type it."""
    app = ui_site.app(lambda: ledger, gate(), lambda: NOW, lambda: PASSED)

    answer = ask(app, "GET", "/ui")

    assert (308, "/ui/") == (answer.status_code, answer.headers["location"])


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("localhost", True), ("LOCALHOST:9840", True), ("127.0.0.1:9840", True), ("[::1]:9840", True), ("", True),
        ("evil.example:9840", False), ("localhost.evil.example", False), ("192.0.2.7", False),
    ],
)  # fmt: skip
def test_a_page_of_another_site_is_nobody_at_the_socket(host: str, taken: bool) -> None:
    """Whoever leads the socket to a port of his own is not asked by whatever name leads to that port."""
    caller = Caller(headers={"host": (host,)} if host else {}, peer_uid=1000)
    proof = PeerProof("/run/api.sock", own_uid=lambda: 7)

    if taken:
        assert Person("socket", uid=1000) == asyncio.run(proof.person(caller))
    else:
        with pytest.raises(Forbidden, match="is for localhost"):
            asyncio.run(proof.person(caller))
