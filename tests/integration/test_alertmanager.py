"""A real Alertmanager is told by accounting: once, in time, whatever is killed, however often it hears of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gpuwatch.accounting import alerts, metrics
from gpuwatch.accounting.accountant import Accountant, Report
from gpuwatch.accounting.alert_policy import telling
from gpuwatch.accounting.alerts import Around
from gpuwatch.accounting.outbox import Outbox
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.site_policy import SitePolicy
from gpuwatch.http.client import Client, ServerSettings
from gpuwatch.ledger import alert_store, mutes
from gpuwatch.ledger.alert_store import Mode, Noted
from gpuwatch.ledger.mutes import Mute
from gpuwatch.ledger.scopes import key_of
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.model import Alert, Scope, Site
from gpuwatch.notifiers.alertmanager import AlertmanagerNotifier
from gpuwatch.notifiers.alertmanager_alerts import Dress, Entry, Moment, labels_of
from gpuwatch.notifiers.alertmanager_server import Server
from gpuwatch.notifiers.base import Change
from gpuwatch.notifiers.kinds import KINDS
from gpuwatch.usage.base import Delivery
from tests.accounting.fakes import FakeSource, everything_told
from tests.http.serving import server
from tests.integration.alertmanager import GROUP_SECONDS, Alertmanager, Hook, hook
from tests.integration.debian import REPOSITORY, Prometheus, wait_until
from tests.ledger.deliveries import declared, delivery, progress, row
from tests.web.authority import ALICE, Authority

pytestmark = pytest.mark.integration

HELD = 60.0
SOON = 15.0
RULES = REPOSITORY / "deploy" / "prometheus"
Start = Callable[..., Alertmanager]


def alert(name: str = "4711", **changed: Any) -> Alert:
    text = f"job {name} is projected to need 2 kWh, 100 % more than the 1 kWh declared"
    made = Alert("projected", Scope("job", name), "energy", "warning", time.time(), 7.2e6, 3.6e6, text)
    return replace(made, **changed)


def notifier(*servers: Alertmanager, **settings: Any) -> AlertmanagerNotifier:
    urls = tuple(each.url for each in servers)
    return AlertmanagerNotifier(AlertmanagerNotifier.Settings(urls=urls, **settings), Site())


def renew(told: AlertmanagerNotifier, *active: Alert, held: float = HELD) -> None:
    now = time.time()
    assert {} == told.renew(active, now, now + held)


def told_of(webhook: Hook, *expected: tuple[str, str]) -> None:
    """Wait until the webhook was told that, and see that it is told no more."""
    wait_until(lambda: len(webhook.told()) >= len(expected), SOON, f"told {len(expected)} times")
    time.sleep(3 * GROUP_SECONDS)
    assert sorted(expected) == sorted(webhook.told())


def test_raised_and_resolved_are_told_once_each(alertmanager_server: Start, webhook: Hook) -> None:
    """However often it is renewed meanwhile, with whatever numbers; in the words of the alert."""
    told, one = notifier(alertmanager_server(webhook)), alert()

    renew(told, one)
    assert told.notify([Change("raised", one)])
    for value in (8e6, 9e6, 1e7):
        renew(told, replace(one, value=value, text=f"needs {value:g} J"))
    told_of(webhook, ("firing", "4711"))
    renew(told)
    assert told.notify([Change("resolved", replace(one, text="the job ended: it needed 3 kWh"))])
    renew(told)
    told_of(webhook, ("firing", "4711"), ("resolved", "4711"))

    first, last = webhook.alerts()
    assert ("GpuwatchOverrunProjected", "energy") == (first["labels"]["alertname"], first["labels"]["quantity"])
    assert "need" in first["annotations"]["description"]
    assert "the job ended: it needed 3 kWh" == last["annotations"]["description"]


def test_an_alert_lasts_while_it_is_renewed_and_ends_with_accounting(
    alertmanager_server: Start, webhook: Hook
) -> None:
    """It does not end by itself before."""
    told, one = notifier(alertmanager_server(webhook)), alert()

    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        renew(told, one, held=2.0)
        time.sleep(0.5)
    lasting = webhook.told()

    assert [("firing", "4711")] == lasting
    told_of(webhook, ("firing", "4711"), ("resolved", "4711"))


def test_a_killed_alertmanager_knows_it_again_after_the_next_pass(
    alertmanager_server: Start, webhook: Hook
) -> None:
    """It forgot whom it told, too: the second message is its own."""
    alertmanager = alertmanager_server(webhook)
    told, one = notifier(alertmanager), alert()
    renew(told, one)
    told_of(webhook, ("firing", "4711"))

    alertmanager.kill()
    now = time.time()
    assert {"unrenewed": 1} == told.renew([one], now, now + HELD)
    alertmanager.start()
    forgotten = alertmanager.alerts()
    renew(told, one)

    assert [] == forgotten
    assert ["4711"] == [each["labels"]["scope"] for each in alertmanager.alerts()]
    told_of(webhook, ("firing", "4711"), ("firing", "4711"))


def test_a_restarted_alertmanager_tells_nobody_again(alertmanager_server: Start, webhook: Hook) -> None:
    """It wrote down whom it told."""
    alertmanager = alertmanager_server(webhook)
    told, one = notifier(alertmanager), alert()
    renew(told, one)
    told_of(webhook, ("firing", "4711"))

    alertmanager.stop()
    alertmanager.start()
    renew(told, one)

    told_of(webhook, ("firing", "4711"))
    assert 1 == len(alertmanager.alerts())


def test_an_end_that_comes_while_it_is_away_is_told_when_it_is_back(
    alertmanager_server: Start, webhook: Hook
) -> None:
    """The outbox keeps the change; nobody is told that something began which is over."""
    alertmanager = alertmanager_server(webhook)
    alertmanager.stop()
    told, one = notifier(alertmanager), alert()
    now = time.time()
    told.renew([one], now, now + HELD)
    told.renew([], now + 1.0, now + HELD)
    away = told.notify([Change("raised", one), Change("resolved", one)])
    alertmanager.start()
    renew(told)

    assert (False, True) == (away, told.notify([Change("raised", one), Change("resolved", one)]))
    told_of(webhook)


def test_every_one_of_several_is_told(alertmanager_server: Start) -> None:
    """Those that do not know of each other tell each for itself."""
    with hook() as first, hook() as second:
        renew(notifier(alertmanager_server(first), alertmanager_server(second)), alert())

        told_of(first, ("firing", "4711"))
        told_of(second, ("firing", "4711"))


def test_those_that_agree_tell_once(alertmanager_server: Start, webhook: Hook) -> None:
    """Also where the one that would have told is killed before the end."""
    first = alertmanager_server(webhook, peers=[])
    assert first.gossip is not None
    second = alertmanager_server(webhook, peers=[first.gossip])
    wait_until(lambda: first.peers() == second.peers() == 2, SOON, "they agree")
    told, one = notifier(first, second), alert()
    renew(told, one)
    told_of(webhook, ("firing", "4711"))
    time.sleep(2.5)
    assert [("firing", "4711")] == webhook.told()

    first.kill()
    now = time.time()
    assert {"unrenewed": 1} == told.renew([], now, now + HELD)

    told_of(webhook, ("firing", "4711"), ("resolved", "4711"))


def test_a_bad_alert_never_blocks_the_others(alertmanager_server: Start, webhook: Hook) -> None:
    """A label that Alertmanager refuses: the good ones are taken, and told once."""
    alertmanager = alertmanager_server(webhook)
    told = Server(alertmanager.url, Client(ServerSettings()), Dress())
    good = [Entry(labels_of(each, Dress()), each) for each in map(alert, ("1", "2", "3"))]
    bad = Entry((("alertname", "x"), ("bad-name", "y"), ("scope", "bad")), alert())
    now = time.time()

    assert told.tell([good[0], bad, *good[1:]], Moment(now, now + HELD))
    assert {"refused": 1} == dict(told.wrong())
    assert told.tell([good[0], bad, *good[1:]], Moment(now + 1.0, now + HELD))
    assert {} == dict(told.wrong())

    told_of(webhook, ("firing", "1"), ("firing", "2"), ("firing", "3"))


HOSTILE = {
    "channel": "<!channel> <@everyone>",
    "markup": '<script>alert("1")</script>&amp;',
    "lines": "x\n# HELP\r\n\x00\x1b[2J",
    "template": "{{ .Labels }} $labels %s",
    "quotes": '"\\"},{"labels":{}}',
    "long": "y" * 10_000,
    "other letters": "Größe 🔥 " + "e\u0301" * 10,
}


def test_hostile_names_arrive_as_text(alertmanager_server: Start, webhook: Hook) -> None:
    """Each as one alert, on one line, with its letters as they were where they are letters."""
    alertmanager = alertmanager_server(webhook)
    renew(notifier(alertmanager), *(alert(name, scope=Scope("campaign", name)) for name in HOSTILE.values()))
    wait_until(lambda: len(webhook.told()) >= len(HOSTILE), SOON, "told of all")

    found = {each["labels"]["scope"]: each["annotations"]["description"] for each in webhook.alerts()}
    assert len(HOSTILE) == len(found) == len(alertmanager.alerts())
    assert {HOSTILE["channel"], HOSTILE["markup"], HOSTILE["template"], HOSTILE["quotes"]} <= set(found)
    assert "x\ufffd# HELP\ufffd\ufffd\ufffd\ufffd[2J" in found
    for name, described in found.items():
        assert len(name) <= 128
        assert f"job {name} is projected to need 2 kWh, 100 % more than the 1 kWh declared" == described


def test_a_trial_finds_it_there(alertmanager_server: Start, webhook: Hook) -> None:
    """By its version; nobody is told anything."""
    alertmanager = alertmanager_server(webhook)
    found = notifier(alertmanager).check(time.time())

    assert [True, True] == [each.ok for each in found]
    assert re.fullmatch(r"takes alerts; Alertmanager \d+\.\d+\.\d+.*", found[0].detail)
    assert [] == alertmanager.alerts()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    with closing(open_store(str(tmp_path / "ledger.db"))) as store:
        yield store


PROTECTED = f"""\
tls_server_config: {{cert_file: cert.pem, key_file: key.pem}}
basic_auth_users: {{alice: {ALICE}}}
"""


def test_one_that_asks_who_we_are_is_told_over_tls(
    alertmanager_server: Start, webhook: Hook, tmp_path: Path
) -> None:
    """With an authority of the site's own, and a password that may be wrong at first."""
    authority, web, password = Authority(), tmp_path / "web.yml", tmp_path / "password"
    authority.issue(tmp_path)
    authority.write(tmp_path / "ca.pem")
    web.write_text(PROTECTED)
    port = alertmanager_server(webhook, web=web).port
    settings = AlertmanagerNotifier.Settings(
        urls=(f"https://127.0.0.1:{port}",), ca_file=tmp_path / "ca.pem", username="alice", password_file=password
    )
    told, one, now = AlertmanagerNotifier(settings, Site()), alert(), time.time()

    password.write_text("guess")
    assert {"unrenewed": 1} == told.renew([one], now, now + HELD)
    password.write_text("wonderland")
    renew(told, one)

    told_of(webhook, ("firing", "4711"))


def overrun(now: int) -> Delivery:
    """A job that declared 0.05 device-hours a hundred seconds ago, used 100 s of them and is a quarter done."""
    begin = now - 100
    return delivery(
        [row(started=begin, last_seen=float(now))],
        [declared("device-hours=0.05", started=begin, time=begin + 1.0)],
        [progress(250, started=begin, time=float(now))],
    )


def passed(
    store: Store, told: AlertmanagerNotifier, answers: Sequence[Delivery] = (), policy: SitePolicy | None = None
) -> Report:
    """A pass of an accounting that was started just now; without a policy everything is told."""
    source = FakeSource(list(answers))
    accountant = Accountant(
        store, {"fake": source}, {"alertmanager": told}, Bounds(0.10, 0.0), policy=policy or everything_told()
    )
    return accountant.run_pass(time.time())


def idle() -> Alert:
    """A job of `overrun` that does nothing, by the words of accounting."""
    text = "job run-1 holds 1 device and has not worked on it since 11:15 (45 min): 0.8 device-hours so far"
    return alert("run-1", kind="idle", quantity="device-hours", value=2700.0, declared=1800.0, text=text)


def decided(
    store: Store, told: AlertmanagerNotifier, policy: SitePolicy, *found: Alert
) -> Sequence[tuple[Alert, Mode]]:
    """What becomes of alerts that a pass found, and of those that it does not find any more: by the ledger, the
    policy, mutes and the outbox, as of everything that accounting finds."""
    now = time.time()
    with store.writing() as connection:
        before = alert_store.standing(connection, "default")
        muted = mutes.in_force(connection, "default", now)

        def mode_of(each: Alert) -> Mode:
            if not telling(policy.now, each):
                return "observed"
            return "muted" if any(mute.matches(each) for mute in muted) else "told"

        around = Around({Scope("job", "run-1")})
        after = alerts.stand(before, {key_of(each): each for each in found}, mode_of, around, now)
        changes = alerts.changes_of(alerts.compare(before, after, around))
        noted = [Noted(change, mode, ("alertmanager",) if mode == "told" else ()) for change, mode in changes]
        alert_store.save(connection, "default", after.values(), noted, now)
    active = [each.alert for each in after.values() if each.mode == "told"]
    Outbox(store, "default", {"alertmanager": told}, 60.0).tell(active, policy.now, now)
    return [(each.alert, each.mode) for each in after.values()]


def test_a_pass_tells_at_once_and_the_next_accounting_not_again(
    alertmanager_server: Start, webhook: Hook, ledger: Store
) -> None:
    """From the pass to the webhook within five seconds; what is active is in the ledger."""
    alertmanager = alertmanager_server(webhook)

    report = passed(ledger, notifier(alertmanager), [overrun(int(time.time()))])
    wait_until(webhook.told, 5.0, "told")
    again = passed(ledger, notifier(alertmanager))

    assert ["projected"] == [each.kind for each in report.alerts] == [each.kind for each in again.alerts]
    assert ({("alertmanager", "sent"): 1}, {}) == (report.collected.notifications, again.collected.notifications)
    told_of(webhook, ("firing", "run-1"))
    assert report.alerts[0].text == webhook.alerts()[0]["annotations"]["description"]


AWAY = AlertmanagerNotifier(AlertmanagerNotifier.Settings(urls=("http://127.0.0.1:1",)), Site())
PAGE = {"Content-Type": "text/plain; version=0.0.4"}
DECLARED = 'gpuwatch_declared{scope="run-1"}'


def page(report: Report) -> bytes:
    """Accounting's /metrics after a pass."""
    return metrics.render(report, metrics.after(metrics.at_start(), report))


def prometheus_configuration(scraped: str, alertmanager: Alertmanager, folder: Path) -> str:
    """The shipped rules on accounting's page, with an external label; what is over is held for two seconds."""
    for path in RULES.glob("*.rules.yml"):
        (folder / path.name).write_text(path.read_text().replace("keep_firing_for: 2m", "keep_firing_for: 2s"))
    return yaml.safe_dump(
        {
            "global": {
                "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s",
                "external_labels": {"cluster": "hydra"},
            },
            "rule_files": [f"{folder}/*.rules.yml"],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager.url.removeprefix("http://")]}]}]
            },
            "scrape_configs": [
                {"job_name": "gpuwatch-accounting", "static_configs": [{"targets": [scraped.removeprefix("http://")]}]}
            ],
        }
    )  # fmt: skip


@pytest.mark.parametrize("ours_first", [True, False])
def test_an_alert_that_comes_both_ways_is_told_once(
    alertmanager_server: Start, webhook: Hook, ledger: Store, tmp_path: Path,
    prometheus_server: Callable[[str], Prometheus], ours_first: bool,
) -> None:  # fmt: skip
    """By the rules of deploy/prometheus and by accounting itself, whichever is first; and so is its end."""
    alertmanager = alertmanager_server(webhook)
    ours = notifier(alertmanager, labels={"cluster": "hydra"}, resolve=False)
    report = passed(ledger, ours if ours_first else AWAY, [overrun(int(time.time()))])
    pages = [page(report)]

    with server(lambda _: (200, PAGE, pages[-1])) as scraped:
        prometheus = prometheus_server(prometheus_configuration(scraped, alertmanager, tmp_path))
        wait_until(lambda: sent(prometheus), 30.0, "Prometheus tells")
        wait_until(webhook.told, SOON, "told")
        passed(ledger, ours)
        told_of(webhook, ("firing", "run-1"))
        (held,) = alertmanager.alerts()
        pages.append(metrics.render(None, metrics.at_start()))
        renew(ours)
        told_of(webhook, ("firing", "run-1"), ("resolved", "run-1"))

    assert dict(labels_of(report.alerts[0], Dress({"cluster": "hydra"}))) == held["labels"]


@pytest.mark.parametrize("ours_first", [True, False])
def test_what_is_no_overrun_comes_both_ways_and_is_told_once(
    alertmanager_server: Start, webhook: Hook, ledger: Store, tmp_path: Path,
    prometheus_server: Callable[[str], Prometheus], ours_first: bool,
) -> None:  # fmt: skip
    """As a job that is idle, of which a site's policy has it told; and so is its end."""
    alertmanager, policy, one = alertmanager_server(webhook), SitePolicy(told=["idle"]), idle()
    ours = notifier(alertmanager, labels={"cluster": "hydra"}, resolve=False)
    report = passed(ledger, AWAY, [overrun(int(time.time()))], policy)
    became = decided(ledger, ours if ours_first else AWAY, policy, one)
    pages = [page(replace(report, alerts=(one,)))]

    with server(lambda _: (200, PAGE, pages[-1])) as scraped:
        prometheus = prometheus_server(prometheus_configuration(scraped, alertmanager, tmp_path))
        wait_until(lambda: sent(prometheus), 30.0, "Prometheus tells")
        wait_until(webhook.told, SOON, "told")
        decided(ledger, ours, policy, one)
        told_of(webhook, ("firing", "run-1"))
        (held,) = alertmanager.alerts()
        pages.append(page(report))
        decided(ledger, ours, policy)
        told_of(webhook, ("firing", "run-1"), ("resolved", "run-1"))

    assert () == report.alerts
    assert {("projected", "observed"), ("idle", "told")} == {(each.kind, mode) for each, mode in became}
    assert dict(labels_of(one, Dress({"cluster": "hydra"}))) == held["labels"]
    for told in (held, *webhook.alerts()):
        assert "GpuwatchJobIdle" == told["labels"]["alertname"]
        assert KINDS["idle"].summary == told["annotations"]["summary"]
        assert "https://gpuwatch.dev/runbooks/GpuwatchJobIdle" == told["annotations"]["runbook_url"]


def test_what_is_only_observed_comes_neither_way(
    alertmanager_server: Start, webhook: Hook, ledger: Store, tmp_path: Path,
    prometheus_server: Callable[[str], Prometheus],
) -> None:  # fmt: skip
    """It is in the ledger, and fires no rule: an overrun that accounting found, and a job that is idle."""
    alertmanager, observing = alertmanager_server(webhook), SitePolicy()
    ours = notifier(alertmanager, labels={"cluster": "hydra"}, resolve=False)
    report = passed(ledger, ours, [overrun(int(time.time()))], observing)
    became = decided(ledger, ours, observing, *report.observed, idle())
    shown = page(replace(report, observed=(*report.observed, idle())))

    with server(lambda _: (200, PAGE, shown)) as scraped:
        prometheus = prometheus_server(prometheus_configuration(scraped, alertmanager, tmp_path))
        wait_until(lambda: prometheus.query(DECLARED), 30.0, "Prometheus reads the page")
        time.sleep(3.0)
        firing = prometheus.query('ALERTS{kind!=""}')

    assert (["projected"], ()) == ([each.kind for each in report.observed], report.alerts)
    assert [("projected", "observed"), ("idle", "observed")] == [(each.kind, mode) for each, mode in became]
    assert [] == firing
    told_of(webhook)
    assert [] == alertmanager.alerts()


def test_one_that_is_muted_ends_both_ways(
    alertmanager_server: Start, webhook: Hook, ledger: Store, tmp_path: Path,
    prometheus_server: Callable[[str], Prometheus],
) -> None:  # fmt: skip
    """Once, and it does not come again while it holds: the job goes on as it did."""
    alertmanager = alertmanager_server(webhook)
    ours = notifier(alertmanager, labels={"cluster": "hydra"}, resolve=False)
    report = passed(ledger, ours, [overrun(int(time.time()))])
    pages = [page(report)]

    with server(lambda _: (200, PAGE, pages[-1])) as scraped:
        prometheus = prometheus_server(prometheus_configuration(scraped, alertmanager, tmp_path))
        wait_until(lambda: sent(prometheus), 30.0, "Prometheus tells")
        told_of(webhook, ("firing", "run-1"))
        mute(ledger, report.alerts[0])
        muted = passed(ledger, ours)
        pages.append(page(muted))
        told_of(webhook, ("firing", "run-1"), ("resolved", "run-1"))
        passed(ledger, ours)
        told_of(webhook, ("firing", "run-1"), ("resolved", "run-1"))

    assert ((), ()) == (muted.alerts, muted.observed)


def test_one_that_is_muted_ends_where_accounting_tells_alone(
    alertmanager_server: Start, webhook: Hook, ledger: Store
) -> None:
    """In the words that say why."""
    told = notifier(alertmanager_server(webhook))
    report = passed(ledger, told, [overrun(int(time.time()))])
    told_of(webhook, ("firing", "run-1"))

    mute(ledger, report.alerts[0])
    passed(ledger, told)

    told_of(webhook, ("firing", "run-1"), ("resolved", "run-1"))
    assert webhook.alerts()[-1]["annotations"]["description"].startswith("muted from now on: job run-1 ")


def mute(store: Store, alert: Alert) -> None:
    """Somebody does not want to hear of a job for an hour."""
    now = time.time()
    with store.writing() as connection:
        mutes.keep(connection, "default", Mute(alert.scope, now, now + 3600.0, "alice", "known"))


def test_a_label_that_one_way_has_makes_two_of_it(alertmanager_server: Start, webhook: Hook) -> None:
    """What Prometheus calls external labels must be in the configuration here as well."""
    alertmanager, one = alertmanager_server(webhook), alert()

    renew(notifier(alertmanager), one)
    renew(notifier(alertmanager, labels={"cluster": "hydra"}), one)

    told_of(webhook, ("firing", "4711"), ("firing", "4711"))


def sent(prometheus: Prometheus) -> bool:
    """Whether its rules found the alert, and the Alertmanager took it."""
    told = httpx.get(f"{prometheus.url}/metrics", timeout=10.0).text
    taken, failed = (
        sum(map(float, re.findall(rf"(?m)^prometheus_notifications_{what}_total\b.* (\S+)$", told)))
        for what in ("sent", "errors")
    )
    return taken > failed
