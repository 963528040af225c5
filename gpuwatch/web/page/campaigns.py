"""Campaigns, and budgets of accounts: what was used of what was declared or granted, and whether it will do."""

from __future__ import annotations

from collections.abc import Sequence

from gpuwatch.web.page import pictures, words
from gpuwatch.web.page.asking import Asker, View
from gpuwatch.web.page.html import Child, Html, joined, name, tag
from gpuwatch.web.page.jobs import jobs_table
from gpuwatch.web.page.tables import Cell, Column, facts, table
from gpuwatch.web.page.words import HOURS, UNKNOWN, Document

_CAMPAIGNS = (
    Column("Campaign"), Column("State"), Column("Jobs", number=True, wide=True), Column("Began", wide=True),
    Column("Used", number=True), Column("Declared", number=True, hint="device-hours, at most"),
    Column("Projected", number=True, hint="device-hours when it ends, in 8 of 10 cases"),
    Column("Over", number=True, wide=True), Column("Time in states", wide=True),
    Column("Energy", number=True, wide=True),
)  # fmt: skip
_BUDGETS = (
    Column("Account"), Column("Granted", number=True, hint="hours of the resource"), Column("Used", number=True),
    Column("Left", number=True, wide=True), Column("Still to come", number=True, wide=True,
           hint="what running and waiting jobs are expected to use"),
    Column("Over", number=True, hint="probability that it does not do"), Column("Runs out", wide=True),
    Column("At a glance"),
)  # fmt: skip
_USERS = (
    Column("User"), Column("Granted", number=True), Column("Reported", number=True),
    Column("Recorded", number=True),
)  # fmt: skip
_CHAINS = (
    Column("Chain"), Column("State"), Column("Jobs", number=True), Column("Restarts", number=True),
    Column("Done", number=True), Column("Work lost", number=True), Column("Device-hours", number=True),
)  # fmt: skip
MOST_MEMBERS = 200


def view(asker: Asker) -> View | None:
    """Both."""
    return View(
        "Campaigns and budgets",
        joined([
            tag("h1", "Campaigns and budgets"),
            asker.part("Budgets", lambda: _budgets(asker)),
            asker.part("Campaigns", lambda: _campaigns(asker)),
        ]),
    )  # fmt: skip


def _budgets(asker: Asker) -> Html:
    found = asker.said("/budgets")["budgets"]
    body: Child = budgets_table(found) if found else tag(
        "p", "No budget that you may read: they are for coordinators of accounts, and for staff.", class_="none"
    )  # fmt: skip
    return tag("section", tag("h2", "Budgets", id="budgets"), body, aria_labelledby="budgets")


def budgets_table(budgets: Sequence[Document]) -> Html:
    """A row for each account."""
    return table("Budgets of accounts", _BUDGETS, [_budget(each) for each in budgets], data_table=True)


def _budget(budget: Document) -> Sequence[Child | Cell]:
    granted, used, coming = (budget[f"{each}_seconds"] for each in ("granted", "used", "expected"))
    return (
        Cell(words.link(budget["account"], "budgets", budget["account"]), budget["account"]),
        Cell(words.hours(granted), granted),
        Cell(words.hours(used), used),
        Cell(words.hours(budget["left_seconds"]), budget["left_seconds"]),
        Cell(words.hours(coming), coming),
        Cell(words.chance(budget["over_probability"]), budget["over_probability"]),
        Cell(words.time(budget["runs_out"]), budget["runs_out"]),
        _glance(granted, used, coming) or UNKNOWN,
    )


def _glance(granted: float | None, used: float | None, coming: float | None) -> Html | None:
    if not granted or used is None:
        return None
    told = [f"{words.ratio(used / granted)} used"]
    if coming:
        told.append(f"{words.ratio(coming / granted)} still to come")
    over = used + (coming or 0.0) > granted
    return pictures.bar([("spent", used), ("over" if over else "coming", coming or 0.0)], granted, ", ".join(told))


def budget(asker: Asker) -> View | None:
    """One account's budget, with its users."""
    found = asker.ask("/budgets/{name}", asker.name)
    if found is None:
        return None
    users = [
        (
            Cell(name(each["user"]), each["user"]),
            *(Cell(words.hours(each[f"{key}_seconds"]), each[f"{key}_seconds"])
              for key in ("granted", "reported", "recorded")),
        )
        for each in found["users"]
    ]  # fmt: skip
    main = joined([
        tag("p", tag("a", "Campaigns and budgets", href=words.address("campaigns")), class_="up"),
        tag("h1", "Account ", name(found["account"])),
        budgets_table([found]),
        facts([
            ("Resource", found["resource"]),
            ("Period", joined([words.time(found["starts"]), " to ", words.time(found["ends"])])
             if found["starts"] or found["ends"] else None),
            *(("Jobs that " + ("run" if key == "running" else "wait"),
               f"{found[f'{key}_jobs']:,}, at most {words.hours(found[f'{key}_seconds'])} h more")
              for key in ("running", "waiting")),
            ("Still to come, 8 of 10", f"{words.hours(found['expected_low_seconds'])} to"
             f" {words.hours(found['expected_high_seconds'])} h"),
            ("Said by", joined([name(found["source"] or UNKNOWN), ", ", words.time(found["seen"])])),
            ("Coordinators", joined(_listed(found["coordinators"])) if found["coordinators"] else None),
        ]),
        tag("h2", "Users"),
        table("What each user used, in hours", _USERS, users, data_table=True) if users
        else tag("p", "No user has used anything of it.", class_="none"),
        tag("p", tag("a", "Its jobs", href=words.address("jobs", account=found["account"])), class_="more"),
    ])  # fmt: skip
    return View(f"Account {found['account']}", main)


def _listed(names: Sequence[str]) -> list[Child]:
    return [joined([", " if place else None, name(each)]) for place, each in enumerate(names)]


def _campaigns(asker: Asker) -> Html:
    found = asker.said("/campaigns", limit="100", cursor=asker.given.get("cursor"))
    rows = [_campaign(each) for each in found["campaigns"]]
    body: Child = table("Campaigns by name, in device-hours", _CAMPAIGNS, rows, data_table=True) if rows else tag(
        "p", "No job that you may read is in a campaign: `campaign=NAME` in a declaration makes it so.",
        class_="none",
    )  # fmt: skip
    more = words.address("campaigns", cursor=found["next"])
    return tag(
        "section", tag("h2", "Campaigns", id="campaigns"), body,
        tag("p", tag("a", "More campaigns", href=more, rel="next"), class_="more") if found["next"] else None,
        aria_labelledby="campaigns",
    )  # fmt: skip


def _campaign(found: Document) -> Sequence[Child | Cell]:
    declared, forecast = found["declared"].get(HOURS), found["forecasts"].get(HOURS)
    joules = words.energy(found)
    over = forecast["p_over"] if forecast else None
    partly = None if found["complete"] else tag("span", "as far as it is yours", class_="mode")
    return (
        Cell(
            joined([words.link(found["campaign"], "campaigns", found["campaign"]), " ", partly]), found["campaign"]
        ),
        Cell(tag("span", found["state"], class_=f"state {found['state']}"), found["state"]),
        Cell(f"{found['jobs']:,}", float(found["jobs"])),
        Cell(words.time(found["started"]), float(found["started"])),
        Cell(words.hours(found["device_seconds"]), found["device_seconds"]),
        Cell(words.hours(declared["high"] if declared else None), declared["high"] if declared else None),
        Cell(words.projected(forecast), forecast["quantiles"].get("0.5") if forecast else None),
        Cell(words.chance(over), over),
        pictures.states(found) or UNKNOWN,
        Cell(words.of("energy", joules), joules),
    )


def campaign(asker: Asker) -> View | None:
    """One campaign with its jobs."""
    found = asker.ask("/campaigns/{name}", asker.name)
    if found is None:
        return None
    members = found["members"][:MOST_MEMBERS]
    _, points = asker.jobs(campaign=found["campaign"], since="0", limit=str(MOST_MEMBERS))
    left = found["jobs"] - len(members)
    main = joined([
        tag("p", tag("a", "Campaigns and budgets", href=words.address("campaigns")), class_="up"),
        tag("h1", "Campaign ", name(found["campaign"])),
        table("The campaign as a whole, in device-hours", _CAMPAIGNS, [_campaign(found)]),
        facts([
            ("From first start to last end", words.span(found["wall_seconds"])),
            ("Held time", pictures.states_words(found) or UNKNOWN),
        ]),
        _chains(found["chains"]),
        tag("h2", "Jobs"),
        jobs_table("Its jobs, those that began last first", members, points),
        tag("p", f"and {left} more", class_="note") if left > 0 else None,
    ])  # fmt: skip
    return View(f"Campaign {found['campaign']}", main)


def _chain(jobs: Sequence[str]) -> Html | str:
    if not jobs:
        return UNKNOWN
    return joined([name(jobs[0], 24), f" and {len(jobs) - 1} more" if len(jobs) > 1 else None])


def _chains(chains: Sequence[Document]) -> Html | None:
    if not chains:
        return None
    rows = [
        (
            _chain(each["jobs"]),
            tag("span", each["state"], class_=f"state {each['state']}"),
            Cell(str(len(each["jobs"])), float(len(each["jobs"]))),
            Cell(str(each["restarts"]), float(each["restarts"])),
            Cell(words.ratio(each["ratio"]), each["ratio"]),
            Cell(words.ratio(each["lost_ratio"]), each["lost_ratio"]),
            Cell(words.hours(each["device_seconds"]), each["device_seconds"]),
        )
        for each in chains
    ]  # fmt: skip
    return joined([
        tag("h2", "Chains"),
        table("Jobs that continue each other's work", _CHAINS, rows, data_table=True),
    ])  # fmt: skip
