"""Forecasts from pass to pass: what runs is looked at, what ended is learned from, and what was said is kept.

Its memory is what the ledger has, and a little more: of runs that it saw itself it learns also which evidence told
best. Whoever takes over, or starts again, reads the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat

from sqlalchemy import Connection

from gpuwatch.accounting import cases, forecasts, learned, telling
from gpuwatch.accounting.burning import BurnUps, run_of
from gpuwatch.accounting.experience import OutcomeReader
from gpuwatch.accounting.forecasts import Parts, Told
from gpuwatch.accounting.site_record import SiteRecord
from gpuwatch.accounting.telling import Answer, Known
from gpuwatch.accounting.trial_keeping import calibration_of, calibration_rows, finished_trial, open_trial
from gpuwatch.accounting.trying import Said, Trying, is_over, key_of, outcome_of
from gpuwatch.forecast.evidence import Begun, Experience
from gpuwatch.forecast.projection import HOURS
from gpuwatch.forecast.trials import Trial
from gpuwatch.ledger import charging, coming, forecast_store, latest_forecasts, queries, trial_store
from gpuwatch.ledger.burnup_store import RunKey, load_projected
from gpuwatch.ledger.chains import Chain
from gpuwatch.ledger.charging import Cost, JobId
from gpuwatch.ledger.forecast_store import LastKept, PointKey
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.past import normalised
from gpuwatch.ledger.queries import Campaign, Current
from gpuwatch.ledger.trial_store import TrialKey
from gpuwatch.model import BurnUp, Forecast, Scope

MISSED_AT_ONCE = 500
"""So many trials at once are looked for whose runs ended while nobody looked."""

RECORDED = 5000


@dataclass(frozen=True, slots=True)
class Policy:
    """How far above what is declared an overrun begins; how jobs are called that have no end to be forecast."""

    tolerance: float = 0.1
    open_ended: Sequence[str] = ()


GoingOn = tuple[Campaign, tuple[Chain, ...], tuple[Job, ...]]
"""A campaign, its chains that have more to come, and the jobs beside them that run."""


class Forecaster:
    """The forecasts of one cluster; one thread uses it. `forecasts` reads the ledger, `keep` writes to it.

    `record` is how right it was here; `taken_up` are running jobs of chains, whose work others go on with.
    """

    def __init__(self, cluster: str, policy: Policy) -> None:
        self._cluster, self._policy = cluster, policy
        self.forget()

    def forget(self) -> None:
        """Read everything anew when next asked: somebody else may have written."""
        self._loaded = self._has_learned = False
        self._experience = Experience()
        self._calibration = calibration_of({})
        self._reader = OutcomeReader(self._cluster)
        self._renewals = 0
        self._burnups = BurnUps()
        self._trying = Trying(self._policy.tolerance)
        self._begun: dict[RunKey, Begun] = {}
        self._points: dict[PointKey, LastKept] = {}
        self._new_points: dict[PointKey, LastKept] = {}
        self._starts: dict[Scope, float] = {}
        self.taken_up: frozenset[Scope] = frozenset()
        self.record = SiteRecord(self._policy.tolerance)

    def forecasts(
        self, connection: Connection, current: Current, costs: Mapping[JobId, Cost], now: float
    ) -> tuple[Forecast, ...]:
        """What is to become of everything that runs, and what became of what ended a moment ago."""
        if not self._loaded:
            self._load(connection)
        running = [job for job in current.jobs if job.state != "ended" and not self._is_open_ended(job)]
        self._burnups.grow(connection, self._cluster, running, now)
        self._end(connection, current.jobs, running, now)
        self._read(connection, running, now)
        self._begin(running)
        going = [(campaign, *forecasts.goes_on(campaign, now)) for campaign in current.campaigns]
        self.taken_up = frozenset(
            job.scope for _, of_it, _ in going for chain in of_it for job in chain.jobs if job.state != "ended"
        )
        told, chains = self._tell(running, going, now)
        tolerance = self._policy.tolerance
        found: list[Forecast] = []
        for job in current.jobs:
            cost = charging.cost_of([job], costs)
            if self._is_open_ended(job):
                found += forecasts.open_ended_forecasts(job, cost, now)
            else:
                found += forecasts.job_forecasts(job, told.get(run_of(job)), cost, tolerance, now)
        waiting = self._waiting(connection, going, now)
        for campaign, its_chains, beside in going:
            later, unknown = waiting.get(campaign.scope.name, ((), 0))
            parts = _parts(its_chains, beside, told, chains)
            parts = replace(parts, coming=later, unknown=parts.unknown + unknown)
            cost = charging.cost_of(campaign.jobs, costs)
            found += forecasts.campaign_forecasts(campaign, parts, cost, tolerance, now)
        self._starts = {each.scope: float(each.started) for each in current.scopes if each.state != "ended"}
        return tuple(found)

    def keep(self, connection: Connection, found: Sequence[Forecast], now: float) -> None:
        """Write down what was said and learned, in the caller's transaction; say `kept` once that is over."""
        mine = [
            (each, self._starts[each.scope]) for each in found if each.scope in self._starts and each.quantiles
        ]
        if mine and not self._points:
            self._points = forecast_store.last_points(connection, self._cluster, self._starts.keys())
        self._new_points = dict(self._points)
        forecast_store.keep_points(connection, self._cluster, mine, self._new_points)
        going_on = [each for each in found if each.scope in self._starts]
        latest_forecasts.save(connection, self._cluster, going_on, now)
        self._burnups.keep(connection, self._cluster, now)
        trial_store.drop(connection, self._cluster, self._trying.dropped)
        trial_store.save_trials(connection, self._cluster, self._trying.to_save())
        if self._has_learned:
            trial_store.save_calibration(connection, self._cluster, calibration_rows(self._calibration))
            learned.save(connection, self._cluster, self._experience)

    def kept(self) -> None:
        """What was written is in the ledger."""
        self._burnups.kept()
        self._trying.saved()
        self._has_learned = False
        self._points = {key: each for key, each in self._new_points.items() if key.scope in self._starts}

    @property
    def burnups(self) -> Mapping[RunKey, BurnUp]:
        """How what runs came to where it is, by run."""
        return self._burnups.now

    def _is_open_ended(self, job: Job) -> bool:
        return cases.is_open_ended(job, self._policy.open_ended)

    def _load(self, connection: Connection) -> None:
        self._experience = learned.load(connection, self._cluster)
        self._calibration = calibration_of(trial_store.load_calibration(connection, self._cluster))
        self._burnups.projected = load_projected(connection, self._cluster)
        kept = trial_store.open_trials(connection, self._cluster)
        self._trying.open = {key: open_trial(each) for key, each in kept.items()}
        over = trial_store.finished(connection, self._cluster, HOURS, RECORDED)
        self.record.add(trial for _, each in over if (trial := finished_trial(each)) is not None)
        self.record.refresh()
        self._loaded = True

    def _read(self, connection: Connection, running: Iterable[Job], now: float) -> None:
        """Take what ended since; where all was read anew it takes the place of what was known."""
        users = {user for job in running if (user := cases.owner_of(job))}
        outcomes = self._reader.look(connection, users, now, self._burnups.projected)
        if self._reader.renewals != self._renewals:
            self._renewals = self._reader.renewals
            before = self._experience
            self._experience = Experience(tails=before.tails, learned=before.learned)
            self._begun = {}
        for outcome in outcomes:
            self._experience.add(outcome)

    def _begin(self, running: Iterable[Job]) -> None:
        """What runs is known to come to more than it has, and what does not run any more is not."""
        there = {run_of(job): job for job in running if job.state == "running"}
        # In an order of their own: sums of the same numbers differ by it in their last digits.
        for key in sorted(self._begun.keys() - there.keys()):
            self._experience.over(f"{key[0]} {key[1]}", self._begun.pop(key))
        for key in sorted(there.keys() - self._begun.keys()):
            begun = self._begun[key] = _begun(there[key])
            self._experience.begin(f"{key[0]} {key[1]}", begun)

    def _tell(
        self, running: Sequence[Job], campaigns: Iterable[GoingOn], now: float
    ) -> tuple[dict[RunKey, Told], dict[RunKey, Told]]:
        """What may become of jobs by run, and of chains by the run of their first job."""
        known = [
            telling.known_of(job, self._burnups.now[run_of(job)], self._trying.expected(key_of(job)))
            for job in running
        ]
        chains = [
            (chain, telling.chain_of(chain, campaign, self._burnups.now, len(going) == 1 and not beside))
            for campaign, going, beside in campaigns
            for chain in going
        ]
        found = self._answers([*known, *(each for _, each in chains)], now)
        told: dict[RunKey, Told] = {}
        for job, each, answer in zip(running, known, found, strict=False):
            if answer is not None:
                told[run_of(job)] = answer.told
                self._try(key_of(job), each, answer)
        # What is left are those of the chains.
        of_chains = zip((run_of(chain.jobs[0]) for chain, _ in chains), found, strict=True)
        return told, {key: answer.told for key, answer in of_chains if answer is not None}

    def _answers(self, known: Sequence[Known], now: float) -> Iterator[Answer | None]:
        return telling.answers(known, self._experience, self._calibration, self.record.words, now)

    def _waiting(
        self, connection: Connection, campaigns: Iterable[GoingOn], now: float
    ) -> dict[str, tuple[list[Told], int]]:
        """What may become of jobs that wait in the queue, by campaign, and of how many nothing can be said.

        Those that will go on with a chain are no more than what it is forecast to need.
        """
        chains = {campaign.scope.name: going for campaign, going, _ in campaigns}
        waiting = coming.waiting_for(connection, self._cluster, chains.keys(), now)
        whole: dict[str, int] = {}
        if sum(map(len, waiting.values())) >= coming.MOST:
            whole = coming.tasks_waiting(connection, self._cluster, chains.keys(), now)
        found: dict[str, tuple[list[Told], int]] = {}
        for name in sorted(waiting.keys() | whole.keys()):
            said = waiting.get(name, [])
            unread = max(0, whole.get(name, 0) - sum(each.tasks for each in said))
            facts = [
                each for each in said if not any(telling.takes_up(going, each.name) for going in chains[name])
            ]
            answers = self._answers([telling.waiting_one(each) for each in facts], now)
            known = zip(facts, answers, strict=True)
            tasks = (repeat(answer.told, each.tasks) for each, answer in known if answer is not None)
            told = [*islice(chain.from_iterable(tasks), coming.MOST)]
            found[name] = told, unread + sum(each.tasks for each in facts) - len(told)
        return found

    def _try(self, key: TrialKey, known: Known, answer: Answer) -> None:
        against, foretold = answer.told.against, answer.told.foretold
        if against is None:
            return
        over = against.amount * (1.0 + self._policy.tolerance)
        if against.amount > 0:
            self._trying.take(
                Said(
                    key, known.case.user, known.case.used, against.kind, against.amount, foretold.quantiles,
                    foretold.places.in_force, foretold.beyond(over), answer.outlook, foretold.kind,
                )
            )  # fmt: skip

    def _end(self, connection: Connection, jobs: Iterable[Job], running: Iterable[Job], now: float) -> None:
        """Learn from what ended, also while nobody looked."""
        there = {key_of(job) for job in running}
        missing = [key for key in self._trying.open if key not in there]
        ended = {key_of(job): job for job in jobs if is_over(job, now)}
        lost = [key for key in missing if key not in ended][:MISSED_AT_ONCE]
        found = self._found(connection, lost, now)
        self._trying.drop(key for key in lost if key not in found)
        ended |= {key: job for key, job in found.items() if is_over(job, now)}
        # Of one that ended while nobody looked the burn-up is in the ledger.
        self._burnups.grow(connection, self._cluster, [ended[key] for key in missing if key in ended], now)
        self._burnups.end(ended.values())
        self._burnups.forget_others(running)
        # In the order in which they ended, as if somebody had looked each time.
        known = sorted((ended[key].last_seen, key) for key in missing if key in ended)
        over = [trial for _, key in known if (trial := self._finish(key, ended[key]))]
        self._has_learned = self._has_learned or bool(over)
        self.record.add(over)
        self.record.refresh()

    def _found(self, connection: Connection, keys: Collection[TrialKey], now: float) -> dict[TrialKey, Job]:
        """The runs of some trials, as the ledger has them."""
        if not keys:
            return {}
        ids = {key.scope.name.partition("@")[0] for key in keys}
        jobs = queries.jobs_of(connection, ids, now, by_device=False)
        return {key_of(job): job for job in jobs if job.cluster == self._cluster}

    def _finish(self, key: TrialKey, job: Job) -> Trial | None:
        return self._trying.finish(key, outcome_of(job), cases.batch(job), self._experience, self._calibration)


def _begun(job: Job) -> Begun:
    spent = job.device_seconds / job.wall_seconds if job.wall_seconds > 0 else cases.rate_of(job)
    declared, _ = cases.declared_hours(job)
    return Begun(
        cases.owner_of(job), cases.account_of(job), normalised(job.name or ""), cases.batch(job),
        float(job.started), spent, declared,
    )  # fmt: skip


def _parts(
    chains: Iterable[Chain], beside: Iterable[Job], told: Mapping[RunKey, Told], of_chains: Mapping[RunKey, Told]
) -> Parts:
    """The parts of a campaign, with what may become of each."""
    chained = [(chain, of_chains.get(run_of(chain.jobs[0]))) for chain in chains]
    single = [(job, told.get(run_of(job))) for job in beside]
    return Parts(
        tuple((chain, each) for chain, each in chained if each is not None),
        tuple((job, each) for job, each in single if each is not None),
        unknown=sum(each is None for _, each in (*chained, *single)),
    )
