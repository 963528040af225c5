"""Slurm: what `sacct`, `squeue`, `scontrol`, `sacctmgr` and `sshare` tell, one command at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.model import Site
from gpuwatch.schedulers import slurm_command, slurm_grants, slurm_sacct, slurm_squeue
from gpuwatch.schedulers.base import RUNNING, Grant, Poll, Record, RecordId
from gpuwatch.schedulers.slurm_config import Configuration, configuration
from gpuwatch.schedulers.slurm_pace import FIRST_SECONDS, LONGEST_SECONDS, Pace
from gpuwatch.schedulers.slurm_sacct import DELIMITER, Reading

SPAN_SECONDS = 86_400.0
"""The longest time that one query asks sacct for; less after one failed."""
LOOK_BACK_SECONDS = 86_400.0
"""How far before `since` it looks now and then, for what reached slurmdbd late."""
LOOK_BACK_EVERY_SECONDS = 6 * 3600.0
_SOON_SECONDS = 1800.0
_CATCH_UP_SECONDS = 5.0
_SHORTEST_SPAN = 3600.0
_CONFIGURATION_SECONDS = 3600.0
_ONE_BY_ONE = 20
_MOST_UNREADABLE = 1000
_ENDED = "BF,CA,CD,DL,F,NF,OOM,PR,RQ,RS,TO"
_T = TypeVar("_T")


def _table(devices: dict[str, float]) -> dict[str, float]:
    wrong = [name for name, each in devices.items() if not 0 <= each <= 1024]
    if wrong:
        raise ValueError(f"must be from 0 to 1024 devices: {', '.join(wrong)}")
    return {
        name.strip().lower().removeprefix("gres/").removeprefix("gpu:"): each for name, each in devices.items()
    }


class SlurmScheduler:
    """Asks Slurm's own commands. One that is slow or fails is asked less often, and the others go on."""

    class Settings(BaseModel):
        """The table `[schedulers.slurm]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        sacct: str = Field(default="sacct", description="the command that tells what ended")
        squeue: str = Field(default="squeue", description="the command that tells what waits and runs")
        scontrol: str = Field(
            default="scontrol", description="the command that tells the configuration, and which devices jobs hold"
        )
        sacctmgr: str = Field(default="sacctmgr", description="the command that tells accounts and their limits")
        sshare: str = Field(default="sshare", description="the command that tells what accounts used")
        sreport: str = Field(
            default="sreport", description="the command that tells what accounts used this year, to compare with"
        )
        slurm_conf: Path | None = Field(
            default=None, description="slurm.conf for these commands; unset: where they look for it"
        )
        timeout_seconds: float = Field(default=60.0, gt=0, le=600, description="kill a command after this long")
        retry_seconds: float = Field(
            default=FIRST_SECONDS,
            gt=0,
            le=LONGEST_SECONDS,
            description="wait this long after a query failed, twice as long after each more, 15 minutes at most",
        )
        first_days: float = Field(
            default=7.0, ge=0, le=3660, description="how far back to ask for ended jobs the first time"
        )
        overlap_seconds: float = Field(
            default=600.0, ge=0, le=86_400, description="ask for ended jobs from this long before the last answer"
        )
        grants_seconds: float = Field(
            default=600.0, ge=60, le=86_400, description="ask for accounts and their limits this often"
        )
        devices: Annotated[dict[str, float], AfterValidator(_table)] = Field(
            default_factory=dict,
            description="devices for each of a type or resource: shards, MPS, MIG profiles, other accelerators",
        )

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._cluster = site.cluster
        conf = settings.slurm_conf
        self._env = slurm_command.environment(os.environ, None if conf is None else str(conf))
        self._paces: dict[str, Pace] = {}
        self._configuration: Configuration | None = None
        self._fields: tuple[str, ...] = ()
        self._indexed: set[RecordId] = set()
        self._told: tuple[bool, slurm_squeue.Known] = False, {}
        self._span = SPAN_SECONDS
        self._look_back_at = 0.0
        self._unreadable: list[str] = []

    def poll(self, since: float | None, known: Collection[str], now: float) -> Poll:
        """What Slurm tells now. A long history takes several polls."""
        failures: list[str] = []
        self._unreadable = []
        config = self._ask("scontrol show config", self._configure, now, failures, _CONFIGURATION_SECONDS)
        self._configuration = config or self._configuration
        reading = self._reading(now)
        current = self._ask("squeue", lambda: self._current(reading), now, failures)
        if current is not None:
            current = self._with_indices(current, known, reading, now, failures)
        ended = self._ask("sacct", lambda: self._ended(since, reading, now), now, failures)
        grants = self._ask(
            "sacctmgr", lambda: self._grants(now, failures), now, failures, self._settings.grants_seconds
        )
        if failures and current is None and ended is None:
            raise Unavailable("; ".join(failures))
        told, until = ended or ((), None)
        return Poll((*(current or ()), *told), until, grants, tuple(failures), tuple(self._unreadable))

    def check(self) -> tuple[str, ...]:
        """What Slurm's configuration makes gpuwatch lose, in words; `Unavailable` where it cannot be read."""
        return configuration(self._lines(self._settings.scontrol, "show", "config")).losses()

    def _ask(
        self, name: str, query: Callable[[], _T], now: float, failures: list[str], every: float = 0.0
    ) -> _T | None:
        """The answer, None where it failed or is not due. It is timed, and made less often where it is slow."""
        pace = self._paces.setdefault(name, Pace(self._settings.retry_seconds))
        if pace.wait(now) > 0:
            if pace.failures:
                failures.append(pace.reason)
            return None
        begun = time.monotonic()
        try:
            found = query()
        except (Unavailable, Rejected) as exc:
            failures.append(str(exc))
            pace.failed(now, str(exc))
            return None
        pace.succeeded(now, time.monotonic() - begun, every)
        return found

    def _lines(self, *command: str) -> Iterable[str]:
        return slurm_command.lines(command, self._env, self._settings.timeout_seconds)

    def _reading(self, now: float) -> Reading:
        config = self._configuration
        accounted = config is not None and config.accounts_devices
        return Reading(self._cluster, self._settings.devices, UTC, accounted, now)

    def _configure(self) -> Configuration:
        return configuration(self._lines(self._settings.scontrol, "show", "config"))

    def _current(self, reading: Reading) -> Sequence[Record]:
        lines = self._lines(
            self._settings.squeue, "--all", "--noheader", "--states=all", f"--Format={slurm_squeue.FORMAT}"
        )
        now: slurm_squeue.Known = {}
        # How rows are read depends on the configuration alone.
        before = self._told[1] if self._told[0] == reading.accounted else {}
        found = self._whole("squeue", slurm_squeue.records(lines, reading, before, now))
        self._told = reading.accounted, now
        return [_yielding(each) if each.facts.ended is not None else each for each in found]

    def _whole(self, name: str, found: Iterable[Record | Rejected]) -> Sequence[Record]:
        """The records of an answer, which may have rows that cannot be read, but not only such."""
        records: list[Record] = []
        wrong: list[str] = []
        for each in found:
            if isinstance(each, Record):
                records.append(each)
            elif len(wrong) < _MOST_UNREADABLE:
                wrong.append(f"{name}: {each}")
        if wrong and not records:
            raise Unavailable(f"{wrong[0]}; no row of its answer can be read")
        self._unreadable += wrong
        return records

    def _with_indices(
        self, current: Sequence[Record], known: Collection[str], reading: Reading, now: float, failures: list[str]
    ) -> Sequence[Record]:
        """With the devices' indices of those that run, once each."""
        running = {each.key: each for each in current if each.facts.state in RUNNING and each.facts.devices != 0}
        self._indexed &= running.keys()
        wanted = {key.job_id for key in running if key not in self._indexed and key.job_id not in known}
        if not wanted:
            return current
        found = self._ask("scontrol show job", lambda: self._details(wanted), now, failures)
        if found is None:
            return current
        self._indexed |= {key for key in running if key.job_id in wanted}
        return [
            slurm_squeue.with_detail(each, found[each.key.job_id], reading)
            if each.facts.state in RUNNING and each.key.job_id in found else each
            for each in current
        ]  # fmt: skip

    def _details(self, wanted: Collection[str]) -> dict[str, slurm_squeue.Detail]:
        show = (self._settings.scontrol, "--details", "show", "job")
        if len(wanted) > _ONE_BY_ONE:
            return {job: each for job, each in slurm_squeue.details(self._lines(*show)) if job in wanted}
        found: dict[str, slurm_squeue.Detail] = {}
        for job in sorted(wanted):
            try:
                found |= slurm_squeue.details(self._lines(*show, job))
            except Unavailable as exc:
                if "Invalid job id" not in str(exc):  # it has gone since it was listed
                    raise
        return found

    def _ended(self, since: float | None, reading: Reading, now: float) -> tuple[Sequence[Record], float]:
        """What ended from `since` on, and up to when that is all: in pieces, for as long as a poll may take."""
        begun = time.monotonic()
        looks_back = now >= self._look_back_at
        until = now - self._settings.first_days * 86_400.0 if since is None else min(since, now)
        begin = until - (LOOK_BACK_SECONDS if looks_back else self._settings.overlap_seconds)
        found, until = self._piece(begin, until, reading, now)
        while until < now and time.monotonic() - begun < _CATCH_UP_SECONDS:
            try:
                more, until = self._piece(until - self._settings.overlap_seconds, until, reading, now)
            except (Unavailable, Rejected):
                break  # the next poll begins there, and says so where it fails again
            found = (*found, *more)
        if looks_back:
            # After a failure slurmctld hands slurmdbd for a while what it could not before.
            failed = self._paces["sacct"].failures
            self._look_back_at = now + (_SOON_SECONDS if failed else LOOK_BACK_EVERY_SECONDS)
        return found, until

    def _piece(self, begin: float, until: float, reading: Reading, now: float) -> tuple[Sequence[Record], float]:
        """What ended from `begin` to a span after `until`, and when that is."""
        end = min(now, until + self._span)
        try:
            fields = self._known_fields()
            lines = self._lines(*self._sacct(begin, end), f"--format={','.join(fields)}")
            names = [name.lower() for name in fields]
            found = self._whole("sacct", slurm_sacct.records(lines, names, reading, DELIMITER))
        except (Unavailable, Rejected):
            self._span = max(self._span / 2, _SHORTEST_SPAN)
            self._look_back_at = 0.0
            raise
        self._span = min(self._span * 2, SPAN_SECONDS)
        return found, end

    def _sacct(self, begin: float, end: float) -> tuple[str, ...]:
        return (
            self._settings.sacct, "--allusers", "--allocations", "--duplicates", "--parsable2", "--noheader",
            f"--delimiter={DELIMITER}", f"--state={_ENDED}",
            f"--starttime={_utc(begin)}", f"--endtime={_utc(end)}",
        )  # fmt: skip

    def _known_fields(self) -> tuple[str, ...]:
        """Of the fields that are of use those that this sacct has."""
        if not self._fields:
            told = {
                word.lower() for line in self._lines(self._settings.sacct, "--helpformat") for word in line.split()
            }
            found = tuple(name for name in slurm_sacct.FIELDS if name.lower() in told)
            if not {"jobidraw", "state", "submit"} <= {name.lower() for name in found}:
                raise Unavailable("sacct --helpformat: does not name JobIDRaw, State and Submit")
            self._fields = found
        return self._fields

    def _grants(self, now: float, failures: list[str]) -> Sequence[Grant]:
        if self._configuration is None:
            raise Unavailable("accounts: scontrol does not tell which cluster's they are")
        settings, cluster = self._settings, self._configuration.cluster
        show = (settings.sacctmgr, "--noheader", "--parsable2", "show")
        found = list(slurm_grants.associations(
            self._lines(*show, "assoc", f"format={','.join(slurm_grants.ASSOCIATIONS)}"), cluster
        ))  # fmt: skip
        who = slurm_grants.coordinators(
            self._lines(*show, "account", "withcoord", f"format={','.join(slurm_grants.ACCOUNTS)}")
        )
        use = slurm_grants.shares(self._lines(
            settings.sshare, "--noheader", "--parsable2", "--all", f"--format={','.join(slurm_grants.SHARES)}"
        ))  # fmt: skip
        try:
            reported = self._reported(cluster, now)
        except (Unavailable, Rejected) as exc:
            failures.append(str(exc))
            reported = slurm_grants.Use()
        return tuple(slurm_grants.grants(found, who, use, reported, self._cluster, now))

    def _reported(self, cluster: str, now: float) -> slurm_grants.Use:
        """What was used this year, which slurmdbd adds up by the hour: a second word, and often the only one."""
        year = datetime.fromtimestamp(now, UTC).replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
        lines = self._lines(
            self._settings.sreport, "--noheader", "--parsable2", "-t", "seconds",
            f"--tres={','.join(slurm_grants.RESOURCES)}", "cluster", "AccountUtilizationByUser",
            f"clusters={cluster}", f"start={year:%Y-%m-%dT%H:%M:%S}", f"end={_utc(now)}",
            f"format={','.join(slurm_grants.UTILIZATION)}",
        )  # fmt: skip
        return slurm_grants.utilization(lines, cluster, year.timestamp(), now)


def _yielding(ended: Record) -> Record:
    """One that sacct's word replaces whenever it comes: squeue has no exit code, and goes on to show the job."""
    return replace(ended, facts=replace(ended.facts, seen=ended.facts.ended or ended.facts.seen))


def _utc(moment: float) -> str:
    return f"{datetime.fromtimestamp(max(moment, 0.0), UTC):%Y-%m-%dT%H:%M:%S}"
