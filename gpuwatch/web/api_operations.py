"""The operations of the API, each declared once: docs/api.md describes them in words."""

from __future__ import annotations

from gpuwatch.ledger.budgets import RESOURCES
from gpuwatch.ledger.periods import BY
from gpuwatch.notifiers.kinds import KINDS
from gpuwatch.web import (
    alert_examples,
    alert_schemas,
    alerts,
    answers,
    declarations,
    examples,
    record_schemas,
    records,
    schemas,
)
from gpuwatch.web.operations import Action, Operation
from gpuwatch.web.parameters import Parameter, choice, hours, moment, scope, whole, word, zone

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100

_CURSOR = word("cursor", "the `next` of the page before")
_LIMIT = whole("limit", "so many at most", 1, MAX_LIMIT, DEFAULT_LIMIT)
_JOBS: tuple[Parameter, ...] = (
    word("user", "only this user's"),
    word("account", "only of this account"),
    word("partition", "only in this partition"),
    word("campaign", "only of this campaign"),
    choice("state", "only in this state", ("running", "waiting", "unseen", "ended")),
    moment("since", "only those seen at this time or later (default: 7 days ago)"),
    moment("until", "only those that began before this time"),
    _CURSOR,
    _LIMIT,
)
_RESOURCE = word("resource", f"a TRES name, as {', '.join(RESOURCES)} (default: {RESOURCES[0]})")
_BUDGETS: tuple[Parameter, ...] = (
    Parameter(
        "resource",
        _RESOURCE.description,
        _RESOURCE.read,
        {**_RESOURCE.schema, "default": RESOURCES[0]},
        RESOURCES[0],
    ),
    word("cluster", "only of this cluster"),
)

OPERATIONS: tuple[Operation, ...] = (
    Operation("/me", "Who you are here, and what you may read", answers.me, schemas.ME, examples.ME),
    Operation(
        "/jobs", "Jobs, those that began last first", answers.jobs, schemas.JOBS, examples.JOBS, _JOBS
    ),
    Operation(
        "/jobs/{name}", "One job with its history", answers.job, schemas.ONE_JOB, examples.ONE_JOB,
        named="the job: its id, an attempt (JOB@STARTED) or the name of a run",
    ),
    Operation(
        "/history/{name}", "What one job had used over time, as running totals", answers.history, schemas.HISTORY,
        examples.HISTORY,
        named="the job, as in `/jobs/{name}`",
    ),
    Operation(
        "/forecasts/{name}", "How one job came to where it is, and what was forecast of it on the way",
        answers.forecasts, schemas.FORECASTS, examples.FORECASTS,
        named="the job, as in `/jobs/{name}`",
    ),
    Operation(
        "/burnups", "How the jobs of a page came to what they used, thinned for small pictures", answers.burnups,
        record_schemas.BURNUPS, record_schemas.BURNUPS_EXAMPLE, _JOBS,
    ),
    Operation(
        "/outcomes", "What jobs came to that declared device-hours, beside what they declared", records.outcomes,
        record_schemas.OUTCOMES, record_schemas.OUTCOMES_EXAMPLE,
        (
            *_JOBS[:4],
            moment("since", "only those that ended at this time or later (default: 90 days ago)"),
            _LIMIT,
        ),
    ),
    Operation(
        "/record", "How often what was forecast held at this site", records.record, record_schemas.RECORD,
        record_schemas.RECORD_EXAMPLE,
    ),
    Operation(
        "/usage", "What was allocated, by day, month or whose it was", answers.usage, schemas.USAGE,
        examples.USAGE,
        (
            choice("by", "what it is added up by", BY, "month"),
            moment("from", "only from this time on (default: 30 days before `to`)"),
            moment("to", "only before this time (default: now)"),
            zone("timezone", "whose midnight divides days"),
        ),
    ),
    Operation(
        "/campaigns", "Campaigns by name", answers.campaigns, schemas.CAMPAIGNS, examples.CAMPAIGNS,
        (_CURSOR, _LIMIT),
    ),
    Operation(
        "/campaigns/{name}", "One campaign with its jobs", answers.campaign, schemas.CAMPAIGN,
        examples.ONE_CAMPAIGN,
        named="the campaign",
    ),
    Operation("/budgets", "Budgets of accounts", answers.all_budgets, schemas.BUDGETS, examples.BUDGETS, _BUDGETS),
    Operation(
        "/budgets/{name}", "One account's budget", answers.budget, schemas.BUDGET, examples.BUDGET, _BUDGETS,
        named="the account",
    ),
    Operation(
        "/estimates", "What is declared for jobs, beside what they used and will have used", answers.estimates,
        schemas.ESTIMATES, examples.ESTIMATES, _JOBS,
    ),
    Operation(
        "/declarations", "Everything declared for a job, a campaign, an account or an array",
        declarations.declarations, schemas.DECLARATIONS, examples.DECLARATIONS,
        (scope("scope", "what it is for: job:ID, campaign:NAME, account:NAME or array:ID"),), may_miss=True,
    ),
    Operation(
        "/refusals", "Your declarations that were refused, and why; everybody's for staff", declarations.refused,
        schemas.REFUSALS, examples.REFUSALS, (_LIMIT,),
    ),
    Operation(
        "/expectations", "What jobs of a kind came to", answers.expectations, schemas.EXPECTATIONS,
        examples.EXPECTATIONS,
        (
            *_JOBS[:4],
            word("name", "only of this name, whatever its digits are; or of those like it, with `*` and `?`"),
            hours("declared", "device-hours that are to be declared, as 640"),
            moment("since", "only those seen at this time or later (default: a year ago)"),
        ),
    ),
    Operation(
        "/alerts", "Alerts that are active, the gravest first", alerts.alerts, alert_schemas.ALERTS,
        alert_examples.ALERTS,
        (
            choice("kind", "only of this kind", tuple(KINDS)),
            choice("mode", "only those that are told so", ("told", "observed", "muted")),
            *_JOBS[:2],
            moment("since", "also those that ended at this time or later, behind those that are active"),
            _CURSOR,
            _LIMIT,
        ),
    ),
    Operation(
        "/alerts/{name}", "Everything about the alerts of a scope, and why each is told or not", alerts.one,
        alert_schemas.WHY, alert_examples.WHY,
        named="the scope: job:ID, campaign:NAME, account:NAME, array:ID, or the id or name of a job alone",
    ),
    Operation(
        "/mutes", "Mutes of alerts, the latest first", alerts.all_mutes, alert_schemas.MUTES, alert_examples.MUTES,
        (choice("which", "those that are in force, or all that ever were", ("in-force", "all"), "in-force"),),
    ),
    Operation(
        "/rates", "Prices, PUE and grid intensities that figures name", answers.rates, schemas.RATES,
        examples.RATES,
    ),
    Operation(
        "/quality", "How far the figures of jobs can be trusted", answers.quality, schemas.QUALITY,
        examples.QUALITY, _JOBS,
    ),
)  # fmt: skip
"""What may be asked."""

ACTIONS: tuple[Action, ...] = (
    Action(
        "/declarations", "Declare what a job, a campaign, an account or an array will need", declarations.declare,
        schemas.DECLARATIONS, examples.DECLARATIONS, schemas.DECLARE, examples.DECLARE,
    ),
    Action(
        "/mutes", "Keep others from hearing of alerts, for a reason", alerts.mute, alert_schemas.MUTED,
        alert_examples.MUTED, alert_schemas.MUTE_BODY, alert_examples.MUTE_BODY,
    ),
    Action(
        "/unmutes", "Take a mute back", alerts.unmute, alert_schemas.MUTE, alert_examples.MUTE,
        alert_schemas.UNMUTE_BODY, alert_examples.UNMUTE_BODY,
    ),
    Action(
        "/acknowledgements", "Say that active alerts are known of", alerts.acknowledge,
        alert_schemas.ACKNOWLEDGED, alert_examples.ACKNOWLEDGED, alert_schemas.ACKNOWLEDGE_BODY,
        alert_examples.ACKNOWLEDGE_BODY,
    ),
)  # fmt: skip
"""What may be changed."""
