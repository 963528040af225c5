"""What ten thousand alerts cost: `python -m tests.benchmarks.alerting`.

All are raised in the first pass, and told to a thousand owners by a notifier that takes no time; the passes after
it find the same. In the last one all are over.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuwatch.accounting.alerting import Alerting, Seen
    from gpuwatch.ledger.store import Store
    from gpuwatch.model import Alert
    from gpuwatch.notifiers.base import Letter

ALERTS = 10_000
OWNERS = 1000
FEW = 10
PASS_SECONDS = 60.0
HOUR = 3600.0


class Silent:
    """Takes every letter."""

    def __init__(self) -> None:
        self.letters = 0

    def recipients(self, alert: Alert, to: Collection[str]) -> Collection[str]:
        """The owner."""
        return [f"user:{alert.concern.user}"]

    def send(self, letter: Letter) -> bool:
        """Count it."""
        self.letters += 1
        return True


def measure(alerts: int = ALERTS) -> Mapping[str, float]:
    """CPU seconds by name, on SQLite, and the number of letters."""
    from gpuwatch.accounting.alerting import Alerting
    from gpuwatch.accounting.overruns import Bounds
    from gpuwatch.accounting.site_policy import SitePolicy
    from gpuwatch.ledger.store import open_store

    if alerts > FEW:
        # A daemon has made its statements long ago.
        measure(FEW)
    people = Silent()
    with tempfile.TemporaryDirectory() as name:
        store = open_store(str(Path(name) / "alerts.db"), cluster="default")
        told = SitePolicy(told=["*"])
        alerting = Alerting(store, "default", {"people": people}, Bounds(), told, PASS_SECONDS)
        gc.disable()
        seen = _overruns(alerts)
        found = {f"alerts_{name}_seconds": each for name, each in _passes(store, alerting, seen).items()}
        store.close()
    return found | {"alerts_letters": float(people.letters)}


def _passes(store: Store, alerting: Alerting, seen: Seen) -> dict[str, float]:
    from gpuwatch.accounting.alerting import Seen
    from tests.ledger.batch import T0

    found = {}
    for number, name in enumerate(("raise", "again", "end")):
        now = T0 + HOUR + PASS_SECONDS * number
        began = time.process_time()
        with store.reading() as connection:
            decided = alerting.decide(connection, seen if name != "end" else Seen(type(seen.current)()), now)
        found[f"{name}_evaluate"] = time.process_time() - began
        began = time.process_time()
        with store.writing() as connection:
            alerting.write(connection, decided, now)
        found[f"{name}_write"] = time.process_time() - began
        began = time.process_time()
        alerting.tell(now)
        found[f"{name}_tell"] = time.process_time() - began
    return found


def _overruns(number: int) -> Seen:
    """So many jobs, each a tenth over what was declared."""
    from gpuwatch.accounting.alerting import Seen
    from gpuwatch.ledger.queries import Current
    from gpuwatch.ledger.scopes import Revision
    from gpuwatch.model import Estimate, Forecast, Scope
    from tests.ledger import made
    from tests.ledger.batch import running

    jobs, forecasts = [], []
    for n in range(number):
        scope = Scope("job", str(n))
        declared = Estimate(scope, "device-hours", 20 * HOUR, 20 * HOUR, 20 * HOUR, "s", declared_by="user:ada")
        usage = made.used({"working": 20 * HOUR, "idle": 2 * HOUR}, energy_joules={"counter": 4e7})
        run = made.run([made.line(usage)], allocated_seconds=22 * HOUR)
        record = running(str(n), user=f"user{n % OWNERS}")
        jobs.append(made.job(run, name=str(n), record=record, revisions=(Revision(declared, True),)))
        quantiles = {q: 30 * HOUR * (0.8 + 0.4 * q) for q in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)}
        forecasts.append(
            Forecast(
                scope, "device-hours", 22 * HOUR, quantiles, declared, "its burn-up at 70 %", 0.0, 1.0,
                against="declared", reference=20 * HOUR, record="no record at this site yet (n=0)",
            )
        )  # fmt: skip
    return Seen(Current(tuple(jobs)), forecasts)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
