"""Energy from a register that wraps, and from power that is sampled; pure.

Both count from 0 when the source begins: a register wraps every few minutes to hours, so that what it shows says
nothing by itself. What is not believed, and the time of which nothing is known, adds nothing and is no total:
whoever adds up differences begins anew there.
"""

from __future__ import annotations

from dataclasses import dataclass

# A package of 250 W wraps a range of 262 kJ after 17 minutes: read later than this, a register tells nothing.
MOST_SECONDS = 60.0
# A register is updated in steps, and may be read a little late.
SLACK_SECONDS = 2.0


@dataclass(slots=True)
class Register:
    """A register of microjoules that wraps after `span` of them; `joules` is what it counted so far."""

    time: float | None = None
    value: int = 0
    joules: float = 0.0

    def advance(self, now: float, value: int, span: int, most_watts: float) -> str | None:
        """Take a reading; why it is not believed, or None.

        `most_watts` is more than the register can count in a second. One below the last has wrapped, or begun
        anew: whichever would be too much is not taken.
        """
        then, before = self.time, self.value
        if not 0 <= value <= span:
            self.time = None
            return "too_high" if value > span else "too_low"
        self.time, self.value = now, value
        if then is None:
            return None
        if not 0 <= now - then <= MOST_SECONDS:
            return "gap"
        rise = (value - before if value >= before else span - before + value) * 1e-6
        if rise > most_watts * (now - then + SLACK_SECONDS):
            return "jump" if value >= before else "reset"
        self.joules += rise
        return None


@dataclass(slots=True)
class Sampled:
    """Power that is read now and then, in watts; `joules` is the trapezoid between readings close enough."""

    time: float | None = None
    watts: float = 0.0
    joules: float = 0.0

    def advance(self, now: float, watts: float, gap_seconds: float) -> bool:
        """Take a reading; whether the time since the last one is known."""
        then, before = self.time, self.watts
        self.time, self.watts = now, watts
        if then is None:
            return True
        if not 0 <= now - then <= gap_seconds:
            return False
        self.joules += (before + watts) / 2 * (now - then)
        return True
