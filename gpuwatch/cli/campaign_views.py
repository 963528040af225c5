"""A campaign as text: totals, outcomes, members and why they belong; and what differs from a snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import amount, money, split
from gpuwatch.cli.chain_views import chain_lines
from gpuwatch.cli.periods import columns
from gpuwatch.ledger.campaign_document import pattern_document, possible_document
from gpuwatch.ledger.campaigns import Decision, Pattern, name_of
from gpuwatch.ledger.jobs import Campaign, Job, used
from gpuwatch.ledger.snapshots import Difference, Snapshot

_HOURS = "device-hours"
_SHOWN = 50
_POSSIBLE = 10
_UNTAGGED = "(without)"
_MEMBERS = ("JOB", "NAME", "USER", "STATE", "DEVICE-HOURS", "ENERGY", "RUNS", "BELONGS", "TAGS")

Document = Mapping[str, Any]


def log_documents(said: Sequence[Decision]) -> list[Document]:
    """What was said, the oldest first, for JSON; without a job it was of all jobs of who said it."""
    return [
        {
            "time": each.time,
            "what": each.what,
            "by": name_of(each.by),
            "standing": each.standing or None,
            "cluster": each.job.cluster if each.job else None,
            "job_id": each.job.job_id if each.job else None,
            "reason": each.reason or None,
        }
        for each in said
    ]


def log_lines(said: Sequence[Decision]) -> list[str]:
    """The same for people."""
    if not said:
        return ["Nothing was said of it after the fact."]
    lines = []
    for each in said:
        about = f"job {each.job.job_id} of {each.job.cluster}" if each.job else "all own jobs"
        standing = f" as {each.standing}" if each.standing else ""
        why = f": {each.reason}" if each.reason else ""
        text = f"{_moment(each.time)} {name_of(each.by)}{standing}: {each.what} {about}{why}"
        lines.append(hygiene.log(text))
    return lines


def list_documents(names: Sequence[str], found: Mapping[str, Campaign]) -> list[dict[str, Any]]:
    """All campaigns, for JSON."""
    return [{"campaign": name, **_summary(found.get(name))} for name in names]


def _summary(campaign: Campaign | None) -> dict[str, Any]:
    if campaign is None:
        return {"jobs": 0, "state": None, "began": None, "ended": None, "device_seconds": 0.0, "joules": None}
    return {
        "jobs": len(campaign.jobs), "state": campaign.state, "began": campaign.started,
        "ended": campaign.last_seen, "device_seconds": campaign.device_seconds,
        "joules": used(campaign, "energy"),
    }  # fmt: skip


def list_lines(names: Sequence[str], found: Mapping[str, Campaign]) -> list[str]:
    """All campaigns, one line each."""
    if not names:
        return [
            "No campaign in the ledger yet: jobs declare one, or `gpuwatch campaign add NAME JOBS…` makes one."
        ]
    rows = [("CAMPAIGN", "STATE", "FROM", "TO", "JOBS", "DEVICE-HOURS", "ENERGY")]
    for each in list_documents(names, found):
        began, ended = each["began"], each["ended"]
        rows.append((
            hygiene.label(each["campaign"]), each["state"] or "", _day(began), _day(ended), f"{each['jobs']:,}",
            split(_HOURS, each["device_seconds"])[0], _energy(each["joules"]),
        ))  # fmt: skip
    return columns(rows, left=4)


def beside(possible: Iterable[Job], frozen: Iterable[Snapshot]) -> dict[str, Any]:
    """What stands beside a campaign's figures, for JSON: jobs that may belong, and snapshots that were made."""
    return {
        "possible": list(possible_document(possible)),
        "snapshots": [_snapshot(each) for each in frozen],
    }


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "snapshot": snapshot.name, "time": snapshot.time, "by": snapshot.by, "label": snapshot.label or None,
        "digest": snapshot.digest, "intact": snapshot.intact,
    }  # fmt: skip


def detail_lines(document: Document, projected: Iterable[str] = ()) -> Iterator[str]:
    """A campaign, line by line; `projected` are the words of what is forecast of it."""
    yield f"campaign {hygiene.label(document['campaign'])}"
    for title, lines in (
        ("", _when(document["totals"])),
        ("charged", _charged(document["totals"])),
        ("held", _held(document["totals"])),
        ("energy", _energies(document["totals"])),
        ("runs", _outcomes(document["totals"])),
        ("chains", chain_lines(document.get("chains", ()))),
        ("projected", projected),
        ("declared", _declared(document)),
        ("snapshots", _snapshots(document.get("snapshots", ()))),
        ("asked", _asked(document["asked"])),
        ("patterns", _patterns(document["patterns"])),
    ):
        for number, line in enumerate(lines):
            yield f"  {title if number == 0 else '':10} {hygiene.log(line)}".rstrip()
    yield from _members(document["members"])
    yield from possible_lines(document.get("possible", ()), _POSSIBLE, brief=True)


def _when(totals: Document) -> Iterator[str]:
    if not totals["jobs"]:
        yield "has no job yet"
        return
    wall = amount("wall", totals["wall_seconds"])
    yield f"{_count(totals['jobs'], 'job')}, {_moment(totals['began'])} to {_moment(totals['ended'])} ({wall})"
    if totals["users"]:
        yield f"of {', '.join(totals['users'])}"


def _charged(totals: Document) -> Iterator[str]:
    yield amount(_HOURS, totals["device_seconds"])
    if totals["allocated_device_seconds"] is not None:
        yield f"{amount(_HOURS, totals['allocated_device_seconds'])} by the batch system's word"
    if totals["devices_not_known_jobs"]:
        yield f"the devices of {_count(totals['devices_not_known_jobs'], 'job')} are not known to it"
    for currency, spent in totals["cost"].items():
        yield f"{amount('cost', spent, currency)} by rates {', '.join(totals['rates'])}"
    if totals["carbon_grams"] is not None:
        yield f"{amount('carbon', totals['carbon_grams'])} of carbon"


def _held(totals: Document) -> Iterator[str]:
    held = totals["held_device_seconds"]
    yield amount(_HOURS, held) if held else "no agent saw a device held"
    for state, seconds in totals["state_seconds"].items():
        if seconds > 0:
            yield f"{amount(_HOURS, seconds)} {state} ({_share(seconds, held)})"


def _energies(totals: Document) -> Iterator[str]:
    if not totals["energy_joules"]:
        yield "not measured"
        return
    covered = totals["energy_covered_ratio"]
    partly = (
        f", measured for {100 * covered:.0f} % of the held time" if covered is not None and covered < 0.995 else ""
    )
    yield amount("energy", sum(totals["energy_joules"].values())) + partly
    if totals.get("host_energy_joules") is not None:
        yield f"{amount('energy', totals['host_energy_joules'])} of the nodes' processors and memory, where known"
    if totals["facility_joules"] is not None:
        yield f"{amount('energy', totals['facility_joules'])} with host and cooling"


def _outcomes(totals: Document) -> Iterator[str]:
    for outcome, part in totals["outcomes"].items():
        yield f"{part['runs']:,} {outcome}: {_part(part)}"
    if totals["debugging"]["jobs"]:
        yield f"of all, {_count(totals['debugging']['jobs'], 'job')} debugging: {_part(totals['debugging'])}"


def _part(part: Document) -> str:
    share = f" ({100 * part['share']:.0f} %)" if part["share"] is not None else ""
    return amount(_HOURS, part["device_seconds"]) + share


def _declared(document: Document) -> Iterator[str]:
    if not document["declared"]:
        yield "nothing"
    for quantity, each in document["declared"].items():
        now, first = each["in_force"], each["original"]
        text = f"{_labelled(quantity, now)}, {_moment(now['declared_at'])}"
        if first is not None and first != now:
            text += f"; originally {_labelled(quantity, first)}, {_moment(first['declared_at'])}"
        yield text


def _labelled(quantity: str, estimate: Document) -> str:
    text = amount(quantity, estimate["likely"], estimate["unit"])
    return text if quantity == _HOURS else f"{text} {quantity}"


def _snapshots(snapshots: Iterable[Document]) -> Iterator[str]:
    for each in snapshots:
        label = f" {each['label']}" if each["label"] else ""
        yield f"{each['snapshot']}{label}, {_moment(each['time'])} by {each['by']}"


def _asked(asked: Sequence[Document]) -> Iterator[str]:
    for each in asked[:_SHOWN]:
        what = "refused by its owner" if each["refused"] else "its owner has not agreed"
        yield f"{each['job']}: {what}; {each['asked_by']} asked {_moment(each['asked_at'])}"
    if len(asked) > _SHOWN:
        yield f"and {len(asked) - _SHOWN:,} more"


def pattern_lines(patterns: Sequence[Pattern]) -> list[str]:
    """The patterns of a campaign, one line each."""
    return [hygiene.log(line) for line in _patterns([*map(pattern_document, patterns)])] or ["No pattern."]


def _patterns(patterns: Iterable[Document]) -> Iterator[str]:
    for each in patterns:
        words = [f"{key} {each[key]}" for key in ("user", "account", "partition") if each[key] is not None]
        words += [
            f"{word} {_moment(each[key])}" for word, key in (("from", "begins"), ("to", "ends")) if each[key]
        ]
        yield f"{each['number']}: {', '.join([each['name'], *words])}; by {each['by']}"


def _members(members: Sequence[Document]) -> Iterator[str]:
    if not members:
        return
    rows = [
        (
            each["display"], each["name"] or "", each["user"] or "", _state(each),
            split(_HOURS, each["device_seconds"])[0],
            _energy(sum(each["energy_joules"].values()) if each["energy_joules"] else None),
            f"{max(1, len(each['runs']))}", _why(each["why"]),
            " ".join(f"{key}:{value}" for key, value in each["tags"].items()),
        )
        for each in members[-_SHOWN:]
    ]  # fmt: skip
    yield ""
    yield from _table([_MEMBERS, *rows])
    if len(members) > _SHOWN:
        yield f"The latest {_SHOWN} of {len(members):,}; --json has all."


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    clean = [[hygiene.label(cell) for cell in row] for row in rows]
    return columns(clean, left=len(clean[0]))


def _state(member: Document) -> str:
    return member["runs"][-1]["outcome"] if member["state"] == "ended" and member["runs"] else str(member["state"])


def _why(why: Document) -> str:
    if why["by"] == "declared":
        return "declared"
    if why["by"] == "pattern":
        return f"looks like {why['reason']}"
    return f"added by {why['who']}"


def possible_lines(found: Sequence[Document], shown: int = 200, brief: bool = False) -> Iterator[str]:
    """Jobs that possibly belong, one line each."""
    if not found:
        if not brief:
            yield "No job looks as if it belonged and does not."
        return
    yield from ("", "Possibly forgotten, as they are named alike (`gpuwatch campaign add`):") if brief else ()
    head = ("JOB", "NAME", "USER", "BEGAN", "DEVICE-HOURS")
    rows = [
        (
            each["display"], each["name"] or "", each["user"] or "", _moment(each["started"]),
            split(_HOURS, each["device_seconds"])[0],
        )
        for each in found[:shown]
    ]  # fmt: skip
    yield from _table([head, *rows])
    if len(found) > shown:
        yield f"And {len(found) - shown:,} more: `gpuwatch campaign candidates` lists them."


def tag_lines(name: str, key: str, rows: Sequence[Document]) -> list[str]:
    """Totals by the value of a tag."""
    if not rows:
        return [f"Campaign {hygiene.label(name)} has no job yet."]
    head = (key.upper(), "JOBS", "RUNS", "DEVICE-HOURS", "OF IT FAILED", "ENERGY", "COST")
    cells = [
        (
            hygiene.label(_UNTAGGED if each["value"] is None else each["value"]), f"{each['jobs']:,}",
            f"{each['runs']:,}", split(_HOURS, each["device_seconds"])[0],
            split(_HOURS, each["outcomes"].get("failed", {}).get("device_seconds", 0.0))[0],
            _energy(sum(each["energy_joules"].values()) if each["energy_joules"] else None),
            money(each["cost"]) if each["cost"] else "",
        )
        for each in rows
    ]  # fmt: skip
    return columns([head, *cells])


def snapshot_document(found: Snapshot, changes: Sequence[Difference]) -> dict[str, Any]:
    """A snapshot and what is another today, for JSON."""
    return {
        **_snapshot(found),
        "frozen": dict(found.document),
        "differences": [
            {"job": each.job, "figure": each.figure, "then": each.then, "now": each.now} for each in changes
        ],
    }


def snapshot_lines(found: Snapshot, changes: Sequence[Difference]) -> Iterator[str]:
    """A snapshot, and what the ledger says otherwise today."""
    label = f" {hygiene.label(found.label)}" if found.label else ""
    yield f"{found.name}{label}, frozen {_moment(found.time)} by {hygiene.label(found.by)}"
    yield f"sha256 {found.digest}"
    if not found.intact:
        yield "THE LEDGER'S TEXT OF IT IS NOT THE ONE THAT WAS FROZEN: do not cite it."
        return
    yield from detail_lines(found.document)
    yield ""
    if not changes:
        yield "The ledger says the same today."
        return
    yield f"Since then {_count(len(changes), 'figure')} changed:"
    for each in changes[:_SHOWN]:
        yield f"  {hygiene.log(_change(each))}"
    if len(changes) > _SHOWN:
        yield f"  and {len(changes) - _SHOWN:,} more; --json has all"


def _change(change: Difference) -> str:
    if change.figure == "member":
        return f"job {change.job}: {'no longer a member' if change.then else 'became a member'}"
    where = f"job {change.job}: " if change.job is not None else ""
    return f"{where}{change.figure} was {_value(change.then)}, is {_value(change.now)}"


def _value(value: object) -> str:
    return "not known" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _energy(joules: float | None) -> str:
    return "" if joules is None else amount("energy", joules)


def _day(time: float | None) -> str:
    return "" if time is None else _moment(time)[:10]


def _moment(time: float) -> str:
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{time:.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole > 0 else "0 %"
