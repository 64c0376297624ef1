"""Stopping a call from another thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from typing import Any


class Cancellation:
    """Asked for once, from any thread; the call that has it stops within milliseconds, also while it waits.

    Connecting is not interrupted: it ends by its own timeout. `is_interruption` says that nobody wished it, but that
    the process ends.
    """

    def __init__(self) -> None:
        self.is_interruption = False
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._connection: Any = None
        self._deadline: Any = None
        self._included: set[Cancellation] = set()

    @property
    def is_requested(self) -> bool:
        return self._asked.is_set()

    def request(self, *, is_interruption: bool = False) -> None:
        with self._lock:
            if not self._asked.is_set():
                self.is_interruption = is_interruption
            self._asked.set()
            connection, included = self._connection, list(self._included)
        for other in included:
            other.request(is_interruption=self.is_interruption)
        # A connection that serves another call by now has that call's deadline.
        if connection is not None and connection.deadline is self._deadline:
            # Not the object's own shutdown: that of a TLS socket takes its state away from the reading thread.
            with suppress(OSError):
                socket.shutdown(connection, SHUT_RDWR)

    @contextmanager
    def includes(self, other: "Cancellation") -> Iterator[None]:
        """Meanwhile a request to this one is one to the other too; so is one that has come already."""
        with self._lock:
            self._included.add(other)
        if self.is_requested:
            other.request(is_interruption=self.is_interruption)
        try:
            yield
        finally:
            with self._lock:
                self._included.discard(other)

    def pause(self, seconds: float) -> None:
        """Sleep, at most until the call is to stop."""
        self._asked.wait(seconds)

    def hold(self, connection: Any) -> bool:
        """The connection (with its call's `deadline`) that a request will close; False when it has come already."""
        with self._lock:
            self._connection, self._deadline = connection, connection.deadline
            return not self._asked.is_set()
