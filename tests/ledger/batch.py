"""Records of batch systems, for tests: plain ones, and Hypothesis strategies of what is told about some jobs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gpuwatch.schedulers.base import Facts, Live, Record, RecordId

T0 = 1_699_948_800
HOUR = 3600.0


def facts(**changed: Any) -> Facts:
    """Two devices and 16 CPUs of ada's, held for an hour from `T0`."""
    values: dict[str, Any] = {
        "seen": T0 + HOUR, "state": "COMPLETED", "started": float(T0), "ended": T0 + HOUR, "devices": 2.0,
        "cpus": 16.0, "nodes": ("gw0",), "user": "ada", "account": "ml", "partition": "gpu", "name": "train",
        "limit_seconds": 2 * HOUR, **changed,
    }  # fmt: skip
    return Facts(**values)


def record(job_id: str = "7", live: Live | None = None, cluster: str = "default", **changed: Any) -> Record:
    """A record of a job submitted a minute before `T0`, with `facts` changed."""
    submitted = changed.pop("submitted", T0 - 60)
    return Record(RecordId(cluster, job_id, submitted), facts(**{"whole": job_id, **changed}), live)


def running(job_id: str = "7", **changed: Any) -> Record:
    """The same job while it runs, last seen half an hour after its start."""
    return record(job_id, **{"state": "RUNNING", "ended": None, "seen": T0 + HOUR / 2, **changed})


def pending(job_id: str = "7", **changed: Any) -> Record:
    """A job that waits."""
    return record(job_id, **{"state": "PENDING", "started": None, "ended": None, "seen": float(T0), **changed})


_times = st.integers(0, 9).map(lambda tick: float(T0 + tick))
_words = st.sampled_from(("", "a", "é", "z"))
_numbers = st.one_of(st.none(), st.sampled_from((0.0, 0.5, 2.0)))
_indices = st.sampled_from(({}, {"gw0": (0,)}, {"gw0": (0, 1)}, {"gw0": (0,), "gw1": (3,)}))

_lives = st.builds(Live, seen=_times, comment=_words, admin_comment=_words, devices=_numbers, indices=_indices)
_facts = st.builds(
    Facts,
    seen=_times,
    state=st.sampled_from(("PENDING", "RUNNING", "COMPLETED")),
    started=st.one_of(st.none(), st.just(float(T0))),
    ended=st.one_of(st.none(), _times),
    devices=_numbers,
    cpus=_numbers,
    nodes=st.sampled_from(((), ("gw0",), ("gw0", "gw1"))),
    name=_words,
    user=_words,
    billing=_numbers,
    restarts=st.sampled_from((None, 0, 1)),
    exit_code=st.sampled_from((None, 0, -1, 9)),
)
records = st.builds(
    Record,
    st.builds(RecordId, st.just("default"), st.sampled_from(("7", "8")), st.sampled_from((T0 - 60, T0 - 30))),
    _facts,
    st.one_of(st.none(), _lives),
)
"""What may be told, in any order, of two job ids with two submissions each."""
