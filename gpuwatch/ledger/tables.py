"""The ledger's tables. Keys begin with the job, because every question does; a change here is a migration."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, Table, literal_column

from gpuwatch.ledger.measures import MEASURES, NEEDED
from gpuwatch.ledger.sql import TEXT, WHOLE, WORDS
from gpuwatch.model import STATES

SCHEMA_VERSION = 9

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))


def _table(name: str, *columns: Column[Any]) -> Table:
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


def _key(name: str, kind: Any = WORDS) -> Column[Any]:
    # A part of a key is never counted up by the database.
    return Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def _row_key() -> tuple[Column[Any], ...]:
    return (
        _key("job_id"), _key("started", WHOLE), _key("cluster"), _key("node"), _key("epoch"), _key("uuid"),
    )  # fmt: skip


KEY = ("job_id", "started", "cluster", "node", "epoch", "uuid")
"""The key of a row of usage, in the order of its columns."""

usage = _table(
    "usage",
    *_row_key(),
    Column("last_seen", Float, nullable=False),
    Column("share", Float, nullable=False),
    Column("basis", WORDS, nullable=False),
    Column("model", WORDS, nullable=False),
    Column("open", Boolean, nullable=False),
    *(Column(name, Float, nullable=name not in NEEDED) for name in MEASURES),
)
"""One row for each job on each device, in each epoch of a node's agent; what is kept of a job for ever."""
# Rows are in the one while they grow, so that growing moves no index, and in the other once they are over.
Index("usage_open", usage.c.job_id, sqlite_where=usage.c.open, postgresql_where=usage.c.open)
Index(
    "usage_closed", usage.c.last_seen, usage.c.job_id, sqlite_where=~usage.c.open, postgresql_where=~usage.c.open
)

journal = _table(
    "journal",
    _key("cluster"),
    _key("node"),
    _key("epoch"),
    _key("seq", WHOLE),
    Column("time", Float, nullable=False),
    Column("job_id", WORDS),
    Column("started", WHOLE, nullable=False),
    Column("channel", WORDS, nullable=False),
    Column("uid", WHOLE),
    Column("pid", WHOLE),
    Column("text", TEXT, nullable=False),
    # Found by these; what counts is the text.
    Column("campaign", WORDS),
    Column("scope_kind", WORDS),
    Column("scope", WORDS),
    # The name of who declared, where one is proven; `uid` is the kernel's word.
    Column("who", WORDS),
)
Index("journal_job", journal.c.job_id)
Index("journal_campaign", journal.c.campaign)
Index("journal_scope", journal.c.scope_kind, journal.c.scope)

progress = _table(
    "progress",
    _key("job_id"),
    _key("started", WHOLE),
    _key("cluster"),
    _key("node"),
    Column("time", Float, nullable=False),
    Column("step", Float, nullable=False),
    Column("total", Float, nullable=False),
    Column("start_step", Float, nullable=False),
    # The farthest step, and the sum of all that the job went back.
    Column("best", Float),
    Column("lost", Float),
    # The bounds of the totals that it gave: a plan may change while it runs.
    Column("least_total", Float),
    Column("most_total", Float),
)

refusals = _table(
    "refusals",
    _key("cluster"),
    _key("id", WHOLE),
    Column("time", Float, nullable=False),
    Column("who", WORDS, nullable=False),
    Column("uid", WHOLE),
    # The way by which who it was is proven.
    Column("how", WORDS, nullable=False),
    Column("text", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
)
"""Declarations that were refused, and why."""

runs = _table(
    "runs",
    _key("job_id"),
    _key("cluster"),
    _key("node"),
    _key("kind"),
    Column("time", Float, nullable=False),
    Column("name", WORDS),
    Column("uid", WHOLE),
    Column("exit_code", WHOLE),
)
Index("runs_time", runs.c.time)
Index("runs_uid", runs.c.uid)

nodes = _table(
    "nodes",
    _key("cluster"),
    _key("node"),
    Column("epoch", WORDS, nullable=False),
    Column("seen", Float, nullable=False),
)

watermarks = _table(
    "watermarks",
    _key("cluster"),
    _key("origin"),
    Column("epoch", WORDS, nullable=False),
    Column("seq", WHOLE, nullable=False),
    # What the source needs to go on from there.
    Column("state", TEXT),
)

records = _table(
    "records",
    _key("job_id"),
    _key("submitted", WHOLE),
    _key("cluster"),
    # The facts seen last.
    Column("seen", Float, nullable=False),
    Column("state", WORDS, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("devices", Float),
    Column("rule", WORDS, nullable=False),
    Column("doubt", WORDS, nullable=False),
    Column("cpus", Float),
    Column("nodes", TEXT, nullable=False),
    Column("whole", WORDS, nullable=False),
    Column("display", WORDS, nullable=False),
    Column("name", WORDS, nullable=False),
    Column("user", WORDS, nullable=False),
    Column("account", WORDS, nullable=False),
    Column("partition", WORDS, nullable=False),
    Column("qos", WORDS, nullable=False),
    Column("limit_seconds", Float),
    Column("billing", Float),
    Column("restarts", WHOLE),
    Column("exit_code", WHOLE),
    Column("tasks", WHOLE, nullable=False),
    # What only its lifetime shows, as it was seen last; without `live_seen` nobody saw it alive.
    Column("live_seen", Float),
    Column("comment", TEXT),
    Column("admin_comment", TEXT),
    # Found by it; what counts is the comments' text.
    Column("campaign", WORDS),
    Column("live_devices", Float),
    Column("indices", TEXT),
)
"""One row for each submission that a batch system told of (`schedulers.base.Record`); times are Unix seconds,
`nodes` and `indices` JSON."""
Index("records_ended", records.c.ended)
Index("records_started", records.c.started)
Index("records_user", records.c.user, records.c.started)
_OVER = records.c.ended.is_not(None)
# What a user's jobs came to is read by when they ended; what runs is not in it, so that running moves nothing.
Index("records_user_ended", records.c.user, records.c.ended, sqlite_where=_OVER, postgresql_where=_OVER)
Index("records_whole", records.c.whole)
Index("records_account", records.c.account)
Index("records_campaign", records.c.campaign)
Index("records_display", records.c.display)

grants = _table(
    "grants",
    _key("cluster"),
    _key("account"),
    _key("user"),
    _key("resource"),
    _key("source"),
    _key("starts", Float),
    Column("seen", Float, nullable=False),
    Column("limit_seconds", Float),
    Column("used_seconds", Float),
    Column("parent", WORDS, nullable=False),
    Column("coordinators", TEXT, nullable=False),
    Column("ends", Float),
)
"""What accounts may use (`schedulers.base.Grant`); one without a period has 0 for `starts`."""

polls = _table("polls", _key("scheduler"), _key("cluster"), Column("until", Float, nullable=False))
"""How far the history of each scheduler has been read."""


clusters = _table("clusters", _key("cluster"), Column("made", Float, nullable=False))
"""The clusters that this ledger keeps; an accounting of another one does not write into it unasked."""

changed = _table("changed", _key("cluster"), _key("job_id"))
"""Jobs of which something was told since they were last charged."""

history = _table(
    "history",
    _key("job_id"),
    _key("cluster"),
    _key("minute", WHOLE),
    Column("seen", Float, nullable=False),
    Column("held_seconds", Float, nullable=False),
    *(Column(f"{state}_seconds", Float, nullable=False) for state in STATES),
    Column("busy_seconds", Float),
    Column("throttled_seconds", Float, nullable=False),
    Column("energy_unmeasured_seconds", Float, nullable=False),
    Column("energy_joules", Float),
)
"""What a job id had used, over all nodes and devices, when it was last seen (`seen`) in a minute (since 1970).

Fine at first, thinned as it grows old; by the day it is kept in `charges` for ever.
"""
Index("history_minute", history.c.minute)

charges = _table(
    "charges",
    _key("job_id"),
    _key("cluster"),
    _key("attempt", WHOLE),
    _key("day", WHOLE),
    _key("model"),
    _key("edition", WHOLE),
    Column("current", Boolean, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("previous_day", WHOLE),
    Column("counts", WHOLE, nullable=False),
    Column("begins", Float, nullable=False),
    Column("ends", Float, nullable=False),
    Column("user", WORDS, nullable=False),
    Column("account", WORDS, nullable=False),
    Column("partition", WORDS, nullable=False),
    Column("charged_seconds", Float),
    Column("allocated_seconds", Float),
    Column("held_seconds", Float),
    Column("cpu_seconds", Float),
    Column("energy_joules", Float),
    Column("host_joules", Float),
    Column("facility_joules", Float),
    Column("cost", Float),
    Column("currency", WORDS, nullable=False),
    Column("carbon_grams", Float),
    Column("covered_seconds", Float),
    Column("seen", Float, nullable=False),
    Column("rates", WORDS, nullable=False),
)
"""What one attempt of a job came to on one day and one model of device: hours, energy, money, carbon.

`attempt` is the Unix second at which it began, `day` counts days since 1970 in the site's time zone. `edition`
grows with each restatement, `current` marks the last one; `final`: the attempt had ended. `previous_day` is the
last day before this one on which the job id had anything. `counts`: 0 where another row stands for the job id on
this day, else 1, 2 if it is also its first in the month, 3 if it is its first at all. `seen` is up to when agents'
counters are in it. `host_joules` are those of the nodes' processors and memory, `energy_joules` those of devices
alone. `rates` is the version in `rate_sets` that money and carbon were reckoned by. Seconds are device-seconds
(CPU-seconds), None: not known.
"""
Index("charges_day", charges.c.day, charges.c.cluster)
COMES_BACK = charges.c.previous_day < charges.c.day - literal_column("1")
"""A job id that had nothing on the day before, and had something on an earlier one."""
# Few rows are in these, so that they cost nothing and find at once what daily sums cannot say.
Index("charges_again", charges.c.day, sqlite_where=COMES_BACK, postgresql_where=COMES_BACK)
_UNKNOWN = charges.c.charged_seconds.is_(None)
Index("charges_unknown", charges.c.day, sqlite_where=_UNKNOWN, postgresql_where=_UNKNOWN)

daily = _table(
    "daily",
    _key("cluster"),
    _key("day", WHOLE),
    _key("user"),
    _key("account"),
    _key("partition"),
    _key("currency"),
    *(
        Column(name, Float)
        for name in (
            "charged_seconds", "allocated_seconds", "held_seconds", "cpu_seconds", "energy_joules",
            "host_joules", "facility_joules", "cost", "carbon_grams", "covered_seconds",
        )
    ),
    Column("jobs", WHOLE, nullable=False),
    Column("jobs_new_in_month", WHOLE, nullable=False),
    Column("jobs_new", WHOLE, nullable=False),
    Column("jobs_unknown", WHOLE, nullable=False),
)  # fmt: skip
"""`charges` of the current edition added up, so that a year is read in no time; made anew for days that change."""

rate_sets = _table(
    "rate_sets",
    _key("version"),
    Column("since", Float, nullable=False),
    Column("text", TEXT, nullable=False),
)
"""Prices, PUE and grid intensities as they were configured, for ever: figures name the version they used."""

restatements = _table(
    "restatements",
    _key("cluster"),
    _key("edition", WHOLE),
    Column("time", Float, nullable=False),
    Column("begins", Float, nullable=False),
    Column("ends", Float, nullable=False),
    Column("rates", WORDS, nullable=False),
    Column("by", WORDS, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("rows", WHOLE, nullable=False),
)

# Whoever makes all tables must make these too; they are in a file of their own, and need the metadata.
from gpuwatch.ledger import alert_tables, campaign_tables, forecast_tables  # noqa: E402, F401
