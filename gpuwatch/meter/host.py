"""The node's own energy, divided among its jobs. Pure but for what it remembers; reads no clock and does no I/O.

The rule, for each interval between two readings of the host's meters:

- The energy is that of the processor packages and their memory (RAPL); where there is none, that of the CPU by its
  meter (Grace); else, where the site wants it, that of the chassis less its devices.
- Of the packages' energy (and of all that is not memory's) a job has the part that its processor time is of all
  the processor time there was, idle time included; of the memory's the part that its memory is of the node's.
- The rest – idle processors, the system, jobs without a control group – stays with the node.
- Σ jobs + node = host, and no part is negative. What is not known of an interval is nobody's.
- A device whose meter covers its CPU too (a module) has the host's energy in its own: then nothing is divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuwatch.model import GroupUse, HostReading, Labels, Reading

CHASSIS = "chassis"
# The host's meters are read every 5 s; two readings that are farther apart are not one interval.
GAP_SECONDS = 60.0
# So are control groups, at other seconds.
READ_GAP_SECONDS = 15.0
# A controller answers every half minute, and averages: it less the devices says something over minutes only.
CHASSIS_SECONDS = 60.0
CHASSIS_GAP_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Part:
    """What a job has of the host: joules, and the seconds in which that was known."""

    joules: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Domains:
    """The energy to divide, counted so far: by processor time and by memory; and which meters it is of."""

    meters: frozenset[str]
    processor: float
    memory: float = 0.0

    @property
    def is_chassis(self) -> bool:
        """Whether it is what is left of the chassis."""
        return CHASSIS in self.meters


@dataclass(slots=True)
class _Job:
    """A job's processor time at the interval's begin (or when it was first read in it), and the last reading."""

    since: float
    before: float
    read: float
    use: GroupUse


@dataclass(slots=True)
class HostShares:
    """Totals of the host's energy: `advance` once for each look; `jobs` and `node` sum to what was known."""

    jobs: float = 0.0
    node: float = 0.0
    _time: float | None = None
    _before: Domains | None = None
    _known: dict[str, _Job] = field(default_factory=dict)

    def advance(
        self,
        now: float,
        host: HostReading | None,
        uses: Mapping[str, GroupUse],
        device_joules: float | None,
        processors: float,
    ) -> dict[str, Part]:
        """What became known of each job since the last look that anything did.

        `now` is monotonic. `host` is a new reading of the node, None between two; `uses` what was just read of
        jobs' control groups, if anything; `device_joules` what all devices have used so far, None where that is
        not known of each; `processors` how many there are.
        """
        self._see(now, uses)
        if host is None:
            return {}
        domains = domains_of(host.energy_joules, device_joules)
        then, before = self._time, self._before
        if domains is None or before is None or then is None or not _follows(before, domains, now - then):
            self._begin(now, domains)
            return {}
        seconds = now - then
        if domains.is_chassis and (seconds < CHASSIS_SECONDS or domains.processor <= before.processor):
            return {}
        parts = self._divide(now, before, domains, processors * seconds, host.memory_total_bytes)
        self._begin(now, domains)
        return parts

    def restart(self) -> None:
        """Nothing of the time up to the next look will be divided."""
        self._begin(0.0, None)

    def _see(self, now: float, uses: Mapping[str, GroupUse]) -> None:
        for job_id, use in uses.items():
            known = self._known.get(job_id)
            if use.cpu_seconds is None:
                continue
            if known is None or known.use.cpu_seconds is None or use.cpu_seconds < known.use.cpu_seconds:
                # New, or its group was made anew.
                self._known[job_id] = _Job(now, use.cpu_seconds, now, use)
            else:
                known.read, known.use = now, use

    def _begin(self, now: float, domains: Domains | None) -> None:
        """The next interval: jobs of which nothing was read for a while are over."""
        self._time, self._before = (None if domains is None else now), domains
        self._known = {
            job_id: _Job(now, job.use.cpu_seconds or 0.0, job.read, job.use)
            for job_id, job in self._known.items()
            if now - job.read < READ_GAP_SECONDS
        }

    def _divide(
        self, now: float, before: Domains, domains: Domains, capacity: float, installed: float | None
    ) -> dict[str, Part]:
        processor, memory = domains.processor - before.processor, domains.memory - before.memory
        jobs = {job_id: job for job_id, job in self._known.items() if job.read > job.since and capacity > 0}
        if memory > 0:
            # Without its memory a job's part is not known as a whole.
            jobs = {job_id: job for job_id, job in jobs.items() if job.use.memory_bytes is not None and installed}
        times = {job_id: max(0.0, (job.use.cpu_seconds or 0.0) - job.before) for job_id, job in jobs.items()}
        held = {job_id: job.use.memory_bytes or 0.0 for job_id, job in jobs.items()}
        by_time, by_memory = parts_of(processor, times, capacity), parts_of(memory, held, installed or 0.0)
        parts = {
            job_id: Part(by_time[job_id] + by_memory[job_id], now - job.since) for job_id, job in jobs.items()
        }
        given = sum(part.joules for part in parts.values())
        self.jobs += given
        self.node += processor + memory - given
        return parts


def domains_of(joules: Mapping[Labels, float], device_joules: float | None) -> Domains | None:
    """What is divided; None where there is no such meter, or the devices' part is not known."""
    packages = _of(joules, "package-")
    if packages:
        memory = _of(joules, "dram-")
        return Domains(frozenset((*packages, *memory)), sum(packages.values()), sum(memory.values()))
    if processors := _of(joules, "cpu-"):
        return Domains(frozenset(processors), sum(processors.values()))
    if CHASSIS in joules and device_joules is not None:
        return Domains(frozenset((CHASSIS,)), joules[CHASSIS] - device_joules)
    return None


def _of(joules: Mapping[Labels, float], prefix: str) -> dict[str, float]:
    return {str(domain): value for domain, value in joules.items() if str(domain).startswith(prefix)}


def _follows(before: Domains, now: Domains, seconds: float) -> bool:
    """Whether one reading and the next are of the same meters, none of which began anew."""
    if before.meters != now.meters or seconds <= 0:
        return False
    if now.is_chassis:
        return seconds <= CHASSIS_GAP_SECONDS
    return seconds <= GAP_SECONDS and now.processor >= before.processor and now.memory >= before.memory


def parts_of(amount: float, used: Mapping[str, float], whole: float) -> dict[str, float]:
    """`amount` by what each has `used` of the `whole`; where they used more than there is, by what they used."""
    total = max(whole, sum(used.values()))
    return {key: amount * value / total if total > 0 else 0.0 for key, value in used.items()}


def only_modules(readings: Mapping[str, Reading | None], before: frozenset[str]) -> frozenset[str]:
    """The devices of which power is known for the module alone, so that their CPU is in it.

    One that says nothing now is what it was `before`.
    """
    found = set()
    for uid, reading in readings.items():
        scopes = {labels[1] for labels in reading.power_watts} if reading is not None else set()
        if scopes == {"module"} or (not scopes and uid in before):
            found.add(uid)
    return frozenset(found)
