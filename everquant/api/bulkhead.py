"""Bounds on the requests of a process that wait: for a model, an event or a client. So reads always find a thread."""

import threading
from collections.abc import Callable
from typing import Self

from django.conf import settings
from prometheus_client import Gauge

from everquant.api.errors import ServiceUnavailable
from everquant.metrics import BULKHEAD_REFUSALS, WAITING

RETRY_AFTER_S = 1
_BUSY = "Too many requests wait for models now; try again."


class Slot:
    """One place in a bulkhead. Release it once the wait is over; releasing again changes nothing."""

    __slots__ = ("_bulkhead", "_is_held")

    def __init__(self, bulkhead: "Bulkhead") -> None:
        self._bulkhead = bulkhead
        self._is_held = True

    def release(self) -> None:
        self._bulkhead._leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Bulkhead:
    """`limit()` places, asked for at each entry; `gauge` shows how many are taken, `refusal` tells who finds none."""

    def __init__(self, limit: Callable[[], int], gauge: Gauge | None = None, refusal: str = _BUSY) -> None:
        self._limit = limit
        self._gauge = gauge
        self._refusal = refusal
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        return self._taken

    def enter(self) -> Slot:
        """Raises ServiceUnavailable with Retry-After when every place is taken."""
        with self._lock:
            is_full = self._taken >= self._limit()
            if not is_full:
                self._taken += 1
        if is_full:
            BULKHEAD_REFUSALS.inc()
            raise ServiceUnavailable(self._refusal, retry_after_s=RETRY_AFTER_S)
        if self._gauge is not None:
            self._gauge.inc()
        return Slot(self)

    def _leave(self, slot: Slot) -> None:
        with self._lock:
            if not slot._is_held:
                return
            slot._is_held = False
            self._taken -= 1
        if self._gauge is not None:
            self._gauge.dec()


WAITING_CALLS = Bulkhead(lambda: settings.WEB_WAITING_SLOTS, WAITING)
# The server has no time limit for bodies: clients that never send theirs hold a part of the threads at most.
BODIES = Bulkhead(lambda: max(1, settings.WEB_THREADS // 2), refusal="Too many bodies are on their way; try again.")
