"""What a card draws; and of a module that is two devices (MI250, MI250X), what of it is each die's.

The driver gives the power, the energy counter and the limit of the whole module at one of its dies, and 0 at the
other (`aldebaran_ppt.c`). Nothing tells what each draws, so each is given half: jobs on either are charged, and
the two are the module. Which die is which one's other is told by their links: there are four within a module and
two at most to each die of another one. Where the driver does not tell, it is the order of their PCI addresses, in
which they are neighbours. A die whose other one is not to be seen has the whole module.

An MI300A has its processor in the same package, to which its rating applies, and the driver calls the power that
of the socket: it is taken as the module's, so that a processor that is measured as well is not counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuwatch.devices import amd_files as files
from gpuwatch.devices import amd_topology as topology
from gpuwatch.devices.amd_cards import Card, Sensors, look_for_sensors
from gpuwatch.devices.amd_metrics import Table, parse
from gpuwatch.model import Labels

HALF = 0.5
_OWN = tuple((window, scope) for window in ("average", "instant") for scope in ("device", "module"))
# Some kernels print an error number as if it were microwatts without a sign.
_ERRORS = range(2**32 - 4096, 2**32)


class Draw(NamedTuple):
    """What a card draws, by window and scope; of its module's counter and limit `part` is the card's."""

    watts: Mapping[Labels, float]
    part: float

    @property
    def own(self) -> float | None:
        """The card's own power, as an average where there is one."""
        return next((self.watts[key] for key in _OWN if key in self.watts), None)


class Supply:
    """Power, limit and energy counter of one card; `other` is the other die of its module."""

    def __init__(self, card: Card, other: Card | None) -> None:
        self.card = card
        self.other = other
        self._others_sensors = Sensors() if other is None else other.sensors
        self._apart = not card.module

    def draw(self, sensors: Sensors, rejected: dict[str, int]) -> Draw:
        """What the card draws now, its own `sensors` given."""
        own, other = dict(_watts(sensors, rejected)), self._others_watts()
        self._apart = self._apart or bool(own and other)
        if self._apart:
            scope = "module" if self.card.with_cpu else "device"
            return Draw({(window, scope): watts for window, watts in own.items()}, 1.0)
        part = 1.0 if self.other is None else HALF
        parts: dict[Labels, float] = {(window, "device"): watts * part for window, watts in (own or other).items()}
        return Draw({**parts, **{(window, "module"): watts for window, watts in own.items()}}, part)

    def counter(self, table: Table | None, part: float) -> float | None:
        """The card's part of the energy counter, joules: the one in its own `table`, or at the other die."""
        joules = None if table is None else table.energy_joules
        if joules is None and not self._apart:
            joules = self._others_counter()
        return None if joules is None else joules * part

    def limit(self, sensors: Sensors, part: float) -> float | None:
        """The card's part of the power limit, watts; looks for the other's sensors, too, so not for each read."""
        microwatts = _cap(sensors)
        if not microwatts and not self._apart and self.other is not None and is_awake(self.other):
            self._others_sensors = look_for_sensors(self.other.path)
            microwatts = _cap(self._others_sensors)
        return microwatts * 1e-6 * part if microwatts else None

    def windows(self, sensors: Sensors) -> list[str]:
        """Over which times the power is told."""
        return [window for window, _ in sensors.powers or (() if self._apart else self._others_sensors.powers)]

    def table(self) -> bytes | None:
        """The table with the card's energy counter, for who looks at it."""
        own = files.content(f"{self.card.path}/gpu_metrics")
        known = parse(own or b"")
        if self._apart or self.other is None or (known is not None and known.energy_joules is not None):
            return own
        return files.content(f"{self.other.path}/gpu_metrics")

    @property
    def words(self) -> str:
        """Whose the card's power is, for who looks at it."""
        if self._apart:
            return ""
        return " of the module, whose other die is not seen" if self.other is None else (
            f"; half of the module's, the other half is {self.other.uid}'s"
        )  # fmt: skip

    def _others_watts(self) -> dict[str, float]:
        if self.other is None or not is_awake(self.other):
            return {}
        return dict(_watts(self._others_sensors, {}))

    def _others_counter(self) -> float | None:
        if self.other is None or not is_awake(self.other):
            return None
        table = parse(files.content(f"{self.other.path}/gpu_metrics") or b"")
        return None if table is None else table.energy_joules


def is_awake(card: Card) -> bool:
    """Whether a card may be asked: one that its driver put to sleep would wake up."""
    return files.content(f"{card.path}/power/runtime_status") != b"suspended\n"


def _watts(sensors: Sensors, rejected: dict[str, int]) -> Iterator[tuple[str, float]]:
    for window, file in sensors.powers:
        microwatts = files.integer(file)
        if microwatts in _ERRORS:
            rejected["sentinel"] = rejected.get("sentinel", 0) + 1
        elif microwatts:
            yield window, microwatts * 1e-6


def _cap(sensors: Sensors) -> int | None:
    return None if sensors.cap is None else files.integer(sensors.cap)


def others(sysfs: str, cards: Sequence[Card]) -> dict[str, Card]:
    """The other die of each card that is one of two, by the card's uid."""
    dies = [card for card in cards if card.module]
    if not dies:
        return {}
    return _by_links(sysfs, dies) or _by_address(dies)


def _by_links(sysfs: str, dies: Sequence[Card]) -> dict[str, Card]:
    """Two dies of which each has its widest connection, and no other as wide, to the other one."""
    cards = {card.uid: card for card in dies}
    numbers = {number: uid for number, (uid, _) in topology.nodes(sysfs, dies).items()}
    widest: dict[str, str] = {}
    for number, uid in numbers.items():
        links = {numbers[to]: width for to, width in topology.bandwidths(sysfs, number).items() if to in numbers}
        most = max(links.values(), default=0)
        if most and list(links.values()).count(most) == 1 and len(links) > 1:
            widest[uid] = max(links, key=links.__getitem__)
    return {one: cards[other] for one, other in widest.items() if widest.get(other) == one}


def _by_address(dies: Sequence[Card]) -> dict[str, Card]:
    """Neighbours, two by two; none where one is missing."""
    if len(dies) % 2:
        return {}
    pairs = list(zip(dies[::2], dies[1::2], strict=True))
    return {one.uid: other for pair in pairs for one, other in (pair, pair[::-1])}
