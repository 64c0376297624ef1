"""Calls that went well need not wait until the shared gate knows that they have ended.

A thread tells it of them, or whoever asks next does in the same round trip: so in this process a place is free again
before it is asked for, and other processes find it free a moment later. What a process that is killed has not told is
over with the calls' leases.
"""

import threading
from collections import deque
from collections.abc import Callable

import structlog

from apps.models.gate.shared import Left

logger = structlog.get_logger(__name__)

_IDLE_S = 30.0


class Leaving:
    """`tell` is called with some that have left, in a thread that exists while calls end."""

    def __init__(self, tell: Callable[[list[Left]], None]) -> None:
        self._tell = tell
        self._left: deque[Left] = deque()
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, left: Left) -> None:
        self._left.append(left)
        self._news.set()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
                self._thread.start()

    def take(self) -> list[Left]:
        """All that have not been told of, to be told by the caller; those that are just being told are waited for."""
        with self._telling:
            return self._drain()

    def _drain(self) -> list[Left]:
        taken = []
        while self._left:
            try:
                taken.append(self._left.popleft())
            except IndexError:
                break
        return taken

    def _run(self) -> None:
        while True:
            has_news = self._news.wait(_IDLE_S)
            self._news.clear()
            with self._telling:
                left = self._drain()
                if left:
                    self._tell_safely(left)
            with self._lock:
                if not (has_news or left or self._left):
                    self._thread = None
                    return

    def _tell_safely(self, left: list[Left]) -> None:
        try:
            self._tell(left)
        except Exception:
            logger.exception("gate_not_told", count=len(left))
