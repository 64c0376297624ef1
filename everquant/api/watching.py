"""Readers of what happens elsewhere: one thread of the process looks for all of them, while there are any."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar
from uuid import UUID

import structlog
from django.http import StreamingHttpResponse

from everquant.api.bulkhead import Slot
from everquant.api.sse import event_stream
from everquant.db import DATABASE_AWAY, release_connection

logger = structlog.get_logger(__name__)

LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing comes any more."""


@dataclass(slots=True, eq=False)
class Watch:
    """One reader's: news of the object `id` after the number `seen`."""

    id: UUID
    seen: int
    _news: SimpleQueue[Any] = field(default_factory=SimpleQueue)

    def put(self, news: Any) -> None:
        self._news.put(news)

    def news(self, heartbeat_s: float) -> Iterator[Any]:
        """None when nothing came for a while; ends after `Ended`."""
        while True:
            try:
                one = self._news.get(timeout=heartbeat_s)
            except Empty:
                yield None
                continue
            yield one
            if isinstance(one, Ended):
                return

    def wait(self, seconds: float) -> bool:
        """Whether it has ended in so many seconds; other news is passed over."""
        give_up_at = time.monotonic() + seconds
        while True:
            try:
                if isinstance(self._news.get(timeout=max(0.0, give_up_at - time.monotonic())), Ended):
                    return True
            except Empty:
                return False


AnyWatch = TypeVar("AnyWatch", bound=Watch)


class Watches(Generic[AnyWatch]):
    """`look` gives each watch its news, every LOOK_S; it answers those that have ended."""

    def __init__(self, look: Callable[[list[AnyWatch]], Iterable[AnyWatch]], name: str) -> None:
        self._look = look
        self._name = name
        self._lock = threading.Lock()
        self._open: set[AnyWatch] = set()
        self._thread: threading.Thread | None = None

    def add(self, watch: AnyWatch) -> AnyWatch:
        with self._lock:
            self._open.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_on, name=self._name, daemon=True)
                self._thread.start()
        return watch

    def close(self, watch: AnyWatch) -> None:
        with self._lock:
            self._open.discard(watch)

    @property
    def count(self) -> int:
        return len(self._open)

    def _look_on(self) -> None:
        while True:
            with self._lock:
                watches = list(self._open)
                if not watches:
                    self._thread = None
                    return
            try:
                for watch in self._look(watches):
                    self.close(watch)
            except DATABASE_AWAY as error:
                logger.warning("events_not_read", error=str(error))
            except Exception:
                logger.exception("watching_failed")
            finally:
                release_connection()
            time.sleep(LOOK_S)


def watched_stream(
    watches: Watches[AnyWatch], watch: AnyWatch, slot: Slot, parts: Iterator[bytes]
) -> StreamingHttpResponse:
    """The answer of a reader, which gives back its watch and its slot when it ends or leaves."""

    def leave() -> None:
        watches.close(watch)
        slot.release()

    return event_stream(parts, leave)
