"""Where `gpuwatch top` reads from: the agent of this node each second, the ledger or its API now and then."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from gpuwatch.cli.api_client import ApiClient
from gpuwatch.cli.top_state import DeviceNow, JobNow, Top, devices_in, job_now
from gpuwatch.errors import GpuwatchError, Unavailable

TIMEOUT_SECONDS = 2.0
LEAST_SECONDS = 5.0
PART = 100.0
"""Reading jobs takes no more than so small a part of the time, and passes are made every minute."""

_MOST_BYTES = 32 * 2**20

ReadJobs = Callable[[], tuple[JobNow, ...]]


def devices_of(url: str) -> tuple[DeviceNow, ...]:
    """The devices of the agent at an address; `Unavailable` where it does not answer."""
    where = urlsplit(url)
    if where.scheme not in ("http", "https") or not where.hostname:
        raise Unavailable(f"--agent: {url!r} is no address; write http://HOST:PORT")
    try:
        if where.scheme == "https":
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                where.hostname, where.port or 9838, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
            )
        else:
            made = http.client.HTTPConnection(where.hostname, where.port or 9838, timeout=TIMEOUT_SECONDS)
        try:
            made.request("GET", "/metrics", headers={"accept": "text/plain;version=0.0.4"})
            answer = made.getresponse()
            page = answer.read(_MOST_BYTES)
        finally:
            made.close()
    except (OSError, http.client.HTTPException) as exc:
        raise Unavailable(f"no agent at {url}: {exc}") from exc
    if answer.status != 200:
        raise Unavailable(f"agent at {url}: {answer.status} {answer.reason}")
    return devices_in(page.decode("utf-8", "replace"))


def jobs_of_api(client: ApiClient) -> tuple[JobNow, ...]:
    """The running jobs that one may read over the API."""
    from gpuwatch.cli.api_views import view_of

    views = [view_of(each) for each in client.pages("/jobs", "jobs", state="running")]
    return tuple(job_now(view.job, view.forecasts, view.alerts, _devices(view.job)) for view in views)


def reader_of_ledger(ledger: str | None, config_file: Path | None) -> ReadJobs:
    """Reads the running jobs of the ledger: the jobs alone, and what the latest pass said of them."""
    from gpuwatch.accounting.views import with_declared
    from gpuwatch.cli.jobs import opened
    from gpuwatch.ledger import alert_store, latest_forecasts, queries
    from gpuwatch.model import EMPTY

    def read() -> tuple[JobNow, ...]:
        now = time.time()
        with opened(ledger, config_file) as connection:
            jobs = [job for job in queries.current(connection, now).jobs if job.state == "running"]
            latest = latest_forecasts.of_scopes(connection, [(job.cluster, job.scope) for job in jobs])
            alerts = defaultdict(list)
            for cluster in {job.cluster for job in jobs}:
                for alert in alert_store.active(connection, cluster).values():
                    alerts[cluster, alert.scope].append(alert)
        return tuple(
            job_now(job, with_declared(latest.get((job.cluster, job.scope), EMPTY), job),
                    alerts.get((job.cluster, job.scope), ()), _devices(job))
            for job in jobs
        )  # fmt: skip

    return read


def _devices(job: object) -> float:
    from gpuwatch.ledger.jobs import Job
    from gpuwatch.ledger.records import devices_of as counted

    assert isinstance(job, Job)
    told = counted(job.record) if job.record is not None else None
    held = sum(line.share for line in job.runs[-1].lines if line.open) if job.runs else 0.0
    return told or held or float(len(job.devices))


class Readings:
    """What was read last: devices whenever they are asked for, jobs in a thread, so that keys are never late."""

    def __init__(self, agent: str, wanted: bool, jobs: ReadJobs | None, trouble: str = "") -> None:
        self._agent, self._wanted = agent, wanted
        self._jobs = jobs
        self._found: tuple[JobNow, ...] = ()
        self._as_of: float | None = None
        self._trouble = trouble
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def read_once(self) -> Top:
        """Everything, waited for."""
        self._read_jobs()
        return self.now()

    def now(self) -> Top:
        """Devices as they are, and jobs as they were read last; begins to read them again where that is due."""
        devices: tuple[DeviceNow, ...] = ()
        trouble = ""
        try:
            devices = devices_of(self._agent)
        except Unavailable as exc:
            trouble = str(exc) if self._wanted else ""
        if self._jobs is not None and time.monotonic() >= self._due and not self._is_reading():
            self._thread = threading.Thread(target=self._read_jobs, daemon=True)
            self._thread.start()
        return Top(devices, self._found, self._as_of, trouble, self._trouble)

    def _is_reading(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _read_jobs(self) -> None:
        if self._jobs is None:
            return
        began = time.thread_time()
        try:
            self._found, self._as_of, self._trouble = self._jobs(), time.time(), ""
        except GpuwatchError as exc:
            self._trouble = str(exc)
        took = time.thread_time() - began
        self._due = time.monotonic() + max(LEAST_SECONDS, PART * took)
