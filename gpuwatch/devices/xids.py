"""XIDs: the driver's error reports, counted by device and code."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from gpuwatch.devices.nvml import DRIVER_GONE, Handle, address

logger = logging.getLogger(__name__)

WAIT_MILLISECONDS = 1000
RETRY_SECONDS = 5.0
XID_EVENT = 0x8


class XidWatch:
    """Counts XIDs by device and code, in a thread of its own because waiting for events blocks.

    Slices (MIG) cannot be listened to; what happens on one is reported by its whole device.
    The set of events is rebuilt after every error and whenever the devices change.
    """

    def __init__(self, clock: Callable[[], float] = time.time, retry_seconds: float = RETRY_SECONDS) -> None:
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._counts: dict[str, dict[str, float]] = {}
        self._last: dict[str, dict[str, float]] = {}
        self._handles: dict[int, tuple[str, Handle]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def counts(self, uid: str) -> Mapping[str, float] | None:
        """XIDs of a device by code since the agent started; None where there was none."""
        return self._counts.get(uid)

    def last(self, uid: str) -> Mapping[str, float] | None:
        """When each code was last reported, Unix seconds."""
        return self._last.get(uid)

    def watch(self, api: Any, handles: Mapping[str, Handle]) -> None:
        """From now on listen to these devices, by uid."""
        wanted = {address(handle): (uid, handle) for uid, handle in handles.items()}
        if _uids(wanted) != _uids(self._handles):
            self._handles = wanted
        if self._thread is None and wanted:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(api, self._stop), name="xid", daemon=True)
            self._thread.start()

    def stop(self) -> bool:
        """End the thread; False where it is stuck in the driver."""
        self._stop.set()
        if self._thread is None:
            return True
        self._thread.join(timeout=2 * WAIT_MILLISECONDS / 1000)
        if self._thread.is_alive():
            return False
        self._thread, self._handles = None, {}
        return True

    def _run(self, api: Any, stop: threading.Event) -> None:
        told = 0
        while not stop.is_set():
            try:
                self._listen(api, stop)
                told = 0
            except api.NVMLError as error:
                if error.value != told:
                    logger.warning("xid events interrupted error=%s code=%d", error, error.value)
                told = error.value
                stop.wait(self._retry_seconds)

    def _listen(self, api: Any, stop: threading.Event) -> None:
        handles = self._handles
        events = api.nvmlEventSetCreate()
        try:
            if not _register(api, handles, events):
                stop.wait(self._retry_seconds)
                return
            while handles is self._handles and not stop.is_set():
                try:
                    event = api.nvmlEventSetWait_v2(events, WAIT_MILLISECONDS)
                except api.NVMLError_Timeout:
                    continue
                self._note(handles, event)
        finally:
            with suppress(api.NVMLError):
                api.nvmlEventSetFree(events)

    def _note(self, handles: Mapping[int, tuple[str, Handle]], event: Any) -> None:
        found = handles.get(address(event.device))
        if found is None or not event.eventType & XID_EVENT:
            return
        uid, code, now = found[0], str(event.eventData), self._clock()
        counts = self._counts.get(uid, {})
        # New mappings, never changed ones: readings that were handed out keep the old.
        self._counts[uid] = counts | {code: counts.get(code, 0.0) + 1}
        self._last[uid] = self._last.get(uid, {}) | {code: now}
        logger.warning("xid reported device=%s xid=%s", uid, code)


def _uids(handles: Mapping[int, tuple[str, Handle]]) -> dict[int, str]:
    return {number: uid for number, (uid, _) in handles.items()}


def _register(api: Any, handles: Mapping[int, tuple[str, Handle]], events: Any) -> int:
    registered = 0
    for _, handle in handles.values():
        try:
            api.nvmlDeviceRegisterEvents(handle, XID_EVENT, events)
        except api.NVMLError as error:
            if error.value in DRIVER_GONE:
                raise
        else:
            registered += 1
    return registered
