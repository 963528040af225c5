"""What tells one machine from another is replaced before anything of a driver's answer is written down."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from ctypes import Array, Structure
from typing import Any

FIRST_PID = 1001
MASKED_UUID = "00000000-0000-0000-0000-{:012d}"

_UUID = r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])"
_PCI = r"(?<![0-9a-fA-F])(?P<domain>[0-9a-fA-F]{4,8}):[0-9a-fA-F]{2}:(?P<slot>[0-9a-fA-F]{2}(?:\.[0-9a-fA-F])?)"


class Mask:
    """Replaces identities in one recording: the same by the same, others by others, in order of appearance."""

    def __init__(self) -> None:
        self._uuids: dict[str, int] = {}
        self._literals: dict[str, str] = {}
        self._pids: dict[int, int] = {}
        self._named: Mapping[str, Callable[[Any], Any]] = {
            "pid": self.pid,
            "domain": lambda _: 0,
            "bus": lambda _: 1,
            "clusterUuid": lambda octets: [0] * len(octets),
            "cliqueId": lambda number: int(number != 0),
        }

    def device(self, uid: str) -> str:
        """What stands for a device's identity, which is hidden from now on whatever its form."""
        if not re.search(_UUID, uid):
            kind = uid.partition("-")[0] if uid.startswith(("GPU-", "MIG-")) else "UID"
            self._literals.setdefault(uid, f"{kind}-masked-{len(self._literals)}")
        return self.text(uid)

    def pid(self, pid: int) -> int:
        """The process id that stands for this one."""
        return self._pids.setdefault(pid, FIRST_PID + len(self._pids))

    def text(self, text: str) -> str:
        """The text without identities, UUIDs, PCI domains and buses; their shape stays."""
        literals = sorted(filter(None, self._literals), key=len, reverse=True)
        # In one pass, so that nothing that stands for another is replaced again.
        return re.sub("|".join([*map(re.escape, literals), _UUID, _PCI]), self._stand_in, text)

    def _stand_in(self, found: re.Match[str]) -> str:
        if found["domain"]:
            return f"{'0' * len(found['domain'])}:01:{found['slot']}"
        if found[0] in self._literals:
            return self._literals[found[0]]
        key = found[0].replace("-", "").lower()
        masked = MASKED_UUID.format(self._uuids.setdefault(key, len(self._uuids)))
        return masked if "-" in found[0] else masked.replace("-", "")

    def plain(self, value: Any) -> Any:
        """What pynvml returned, as JSON can hold it, masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, float) and not math.isfinite(value):
            return repr(value)
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, Structure):
            return self._members({name: getattr(value, name) for name, *_ in value._fields_})
        if isinstance(value, list | tuple | Array):
            return [self.plain(each) for each in value]
        return self._members(vars(value))

    def _members(self, members: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self._named[name](value) if name in self._named else self.plain(value)
            for name, value in members.items()
        }
