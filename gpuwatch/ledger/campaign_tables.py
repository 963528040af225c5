"""Tables of what is said after the fact: of campaigns, tags, and what was frozen. Rows are never deleted."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Table

from gpuwatch.ledger.sql import TEXT, WHOLE, WORDS
from gpuwatch.ledger.tables import metadata

decisions = Table(
    "campaign_decisions",
    metadata,
    Column("id", WHOLE, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("campaign", WORDS, nullable=False),
    Column("what", WORDS, nullable=False),
    Column("by", WORDS, nullable=False),
    Column("uid", WHOLE),
    Column("standing", WORDS, nullable=False),
    Column("cluster", WORDS),
    Column("job_id", WORDS),
    Column("started", WHOLE),
    Column("reason", TEXT, nullable=False),
)
"""Who added or removed which job, agreed or disagreed, when, and why; without a job: of all of who said it."""
Index("campaign_decisions_campaign", decisions.c.campaign)
Index("campaign_decisions_job", decisions.c.job_id)

patterns = Table(
    "campaign_patterns",
    metadata,
    Column("id", WHOLE, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("campaign", WORDS, nullable=False),
    Column("by", WORDS, nullable=False),
    Column("uid", WHOLE),
    Column("role", WORDS, nullable=False),
    Column("name", WORDS, nullable=False),
    Column("user", WORDS),
    Column("account", WORDS),
    Column("partition", WORDS),
    Column("begins", Float),
    Column("ends", Float),
    Column("dropped", Float),
    Column("dropped_by", WORDS),
)
"""What jobs of a campaign look like, by whose word; one that was dropped counts no more, and stays."""

tags = Table(
    "job_tags",
    metadata,
    Column("id", WHOLE, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("cluster", WORDS, nullable=False),
    Column("job_id", WORDS, nullable=False),
    Column("started", WHOLE, nullable=False),
    Column("key", WORDS, nullable=False),
    Column("value", WORDS),
    Column("by", WORDS, nullable=False),
    Column("standing", WORDS, nullable=False),
)
"""Tags that jobs were given after the fact; without a value the tag was taken off."""
Index("job_tags_job", tags.c.job_id)

snapshots = Table(
    "campaign_snapshots",
    metadata,
    Column("campaign", WORDS, primary_key=True, nullable=False),
    Column("number", WHOLE, primary_key=True, nullable=False, autoincrement=False),
    Column("time", Float, nullable=False),
    Column("by", WORDS, nullable=False),
    Column("label", WORDS, nullable=False),
    Column("digest", WORDS, nullable=False),
    Column("document", TEXT, nullable=False),
)
"""What a campaign came to when it was frozen, as canonical JSON; `digest` is its SHA-256, in hexadecimal."""
