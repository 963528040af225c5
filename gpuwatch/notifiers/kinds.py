"""What kinds of alerts there are, what each is called, and for whom it is: one place for rules and letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Kind(NamedTuple):
    """A kind of alert: its name in rules and runbooks, a sentence on what it is about, a few words for a list.

    `audience` is who can do something about it: the owner of the job, or the operators of the cluster. A `fact` is
    right as soon as it is said; of everything else it is counted how often it was.
    """

    alertname: str
    summary: str
    heading: str
    audience: Literal["owner", "operators"] = "owner"
    fact: bool = False


KINDS: Mapping[str, Kind] = {
    "exceeded": Kind(
        "GpuwatchEstimateExceeded", "A job, campaign or account used more than was declared for it.",
        "used more than declared", fact=True,
    ),
    "projected": Kind(
        "GpuwatchOverrunProjected",
        "A job, campaign or account is projected to use more than was declared for it.",
        "will use more than declared",
    ),
    "pace": Kind(
        "GpuwatchBudgetPace",
        "An account uses its budget faster than its period goes by, or will leave much of it.",
        "budget and time do not go together", fact=True,
    ),
    "limit": Kind(
        "GpuwatchLimitProjected", "A job will be killed by its time limit before it is done.",
        "will be killed by its time limit",
    ),
    "idle": Kind(
        "GpuwatchJobIdle", "A job holds devices and does not use them.", "holds devices and does nothing"
    ),
    "hung": Kind(
        "GpuwatchJobHung", "A job's devices report that they are busy and draw no power: it hangs.",
        "spins and does no work",
    ),
    "no_start": Kind(
        "GpuwatchJobNoStart", "A job holds devices and has not begun to work on them.", "has not begun to work"
    ),
    "stalled_progress": Kind(
        "GpuwatchProgressStalled", "A job that reported how far it is does so no more.", "makes no progress"
    ),
    "throttled": Kind(
        "GpuwatchJobThrottled", "A job's devices hold their clocks down for a good part of the time.",
        "is slowed down by its devices", "operators",
    ),
    "rate": Kind(
        "GpuwatchRateHigh", "An account uses much more in a day than it does on other days.",
        "uses far more than on other days", fact=True,
    ),
    "unmeasured": Kind(
        "GpuwatchJobUnmeasured", "A job runs on devices that nobody measures.", "runs unmeasured", "operators",
        fact=True,
    ),
    "outlier_device": Kind(
        "GpuwatchDeviceOutlier", "One device of a job does not do what its others do.",
        "has a device unlike the others", "operators",
    ),
    "health": Kind(
        "GpuwatchHealth", "Accounting cannot do all it should, and its figures may be incomplete.",
        "gpuwatch itself", "operators", fact=True,
    ),
}  # fmt: skip
"""By the value of `Alert.kind`, in the order in which a letter tells them."""


def kind_of(name: str) -> Kind:
    """What is known of a kind; something sensible of one that a plugin made up."""
    known = KINDS.get(name)
    if known is not None:
        return known
    words = "".join(word.capitalize() for word in name.split("_"))
    return Kind(f"Gpuwatch{words}", "gpuwatch accounting raised an alert.", name.replace("_", " "), "operators")
