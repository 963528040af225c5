"""The tables of forecasts: how scopes came to where they are, what was forecast of them, and how right it was."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index

from gpuwatch.ledger.sql import TEXT, WHOLE, WORDS
from gpuwatch.ledger.tables import _key, _table

QUANTILES = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")

burnups = _table(
    "burnups",
    _key("job_id"),
    _key("started", WHOLE),
    _key("cluster"),
    Column("seen", Float, nullable=False),
    Column("points", TEXT, nullable=False),
    # Once it is over: JSON of what its burn-up projected as it came into each bucket (`forecast.burnup`).
    Column("projected", TEXT),
)
"""What a job had used by when, and how far it was: `points` is JSON, evenly apart and at most 128 of them."""
Index("burnups_seen", burnups.c.seen)

forecasts = _table(
    "forecasts",
    _key("scope"),
    _key("scope_kind"),
    _key("cluster"),
    _key("quantity"),
    Column("time", Float, nullable=False),
    Column("used", Float, nullable=False),
    Column("against", WORDS, nullable=False),
    Column("reference", Float),
    Column("p_over", Float),
    Column("p_limit", Float),
    Column("crosses_at", Float),
    Column("crosses_from", Float),
    Column("crosses_to", Float),
    Column("stage", WORDS, nullable=False),
    Column("basis", TEXT, nullable=False),
    Column("record", TEXT, nullable=False),
    # Of how many runs the weightiest class is.
    Column("n", WHOLE, nullable=False),
    *(Column(name, Float) for name in QUANTILES),
)
"""What was forecast in the latest pass of everything that ran then."""

forecast_points = _table(
    "forecast_points",
    _key("scope"),
    _key("scope_kind"),
    _key("cluster"),
    _key("quantity"),
    _key("started", WHOLE),
    _key("time", WHOLE),
    Column("used", Float, nullable=False),
    Column("declared", Float),
    Column("p_over", Float),
    Column("crosses_at", Float),
    *(Column(name, Float) for name in QUANTILES),
)
"""What was forecast of a scope that began at `started`, as it was at a time: closer together while it is young."""
Index("forecast_points_time", forecast_points.c.time)

trials = _table(
    "trials",
    _key("scope"),
    _key("scope_kind"),
    _key("cluster"),
    _key("quantity"),
    _key("started", WHOLE),
    Column("user", WORDS, nullable=False),
    Column("against", WORDS, nullable=False),
    Column("declared", Float, nullable=False),
    # JSON, by stage and by threshold (`forecast.trials`).
    Column("marks", TEXT, nullable=False),
    Column("calls", TEXT, nullable=False),
    Column("final", Float),
    Column("ended", Float),
    Column("cut", Boolean),
)
"""What was forecast of a scope at each stage, beside what it came to (`final`, once it `ended`)."""
Index("trials_ended", trials.c.ended)

calibration = _table(
    "calibration",
    _key("cluster"),
    _key("quantity"),
    _key("stage"),
    _key("level", Float),
    Column("place", Float, nullable=False),
    Column("n", WHOLE, nullable=False),
)
"""Which raw quantile stands for the `level` by what this site saw (`forecast.calibration`), after `n` runs."""

learned = _table(
    "learned",
    _key("cluster"),
    Column("state", TEXT, nullable=False),
)
"""What forecasts learned about how much each kind of evidence is worth: JSON (`accounting.learned`)."""
