"""What becomes of alerts, as series."""

from __future__ import annotations

from gpuwatch.accounting.alert_metrics import CATALOGUE, series
from gpuwatch.accounting.alert_record import Record, Tally
from gpuwatch.ledger.letter_store import To
from gpuwatch.model import Scope
from tests.ledger.alerted import alert

SHOWN = {Scope("job", "7")}
RECORD = Record({"idle": Tally(10, 4, 2, 6, 2, 1), "exceeded": Tally(10, 6, 0, 5, 0, 3), "hung": Tally(1)})
LETTERS = {To("apprise", "user:ada"): 3, To("other", "user:ada"): 1, To("apprise", "user:bob"): 2,
           To("apprise", "operators"): 99}  # fmt: skip


def told(**changed: object) -> dict[tuple[str, ...], float]:
    values = {"observed": (), "record": RECORD, "letters": LETTERS, "shown": SHOWN} | changed
    return {(described.name, *labels): value for described, labels, value in series(**values)}  # type: ignore[arg-type]


def test_observed_alerts_are_exported_and_none_of_accounts() -> None:
    """Of scopes that are exported, and what is about the cluster itself."""
    observed = [
        alert(kind="idle"),
        alert("account:ml", "rate"),
        alert("job:99"),
        alert("cluster:default", "health"),
    ]

    found = [key for key in told(observed=observed) if key[0] == "gpuwatch_alert_observed"]

    assert [
        ("gpuwatch_alert_observed", "idle", "job", "7", "device-hours", "warning"),
        ("gpuwatch_alert_observed", "health", "cluster", "default", "device-hours", "warning"),
    ] == found


def test_the_record_is_exported_but_that_of_facts() -> None:
    """What is right as soon as it is said tells nothing; a ratio of nothing is absent."""
    assert {
        ("gpuwatch_alert_judged", "idle"): 8.0,
        ("gpuwatch_alert_right_ratio", "idle"): 0.75,
        ("gpuwatch_alert_judged", "hung"): 0.0,
        ("gpuwatch_alert_muted_ratio",): 2 / 21,
        ("gpuwatch_alert_acted_ratio",): 0.4,
        ("gpuwatch_alert_letters_per_person_week", "mean"): 3.0,
        ("gpuwatch_alert_letters_per_person_week", "most"): 4.0,
    } == told()
    assert {} == told(record=Record(), letters={})


def test_every_series_is_in_the_catalogue() -> None:
    """And each of the catalogue can be."""
    found = {described for described, _, _ in series([alert()], RECORD, LETTERS, SHOWN)}

    assert {*CATALOGUE} == found
