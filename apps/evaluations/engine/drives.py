"""The evaluations that this process drives, for its end."""

import threading
from typing import Protocol


class Interruptible(Protocol):
    def interrupt(self) -> None: ...


class Drives:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Interruptible] = []

    def add(self, drive: Interruptible) -> None:
        with self._lock:
            self._open.append(drive)

    def remove(self, drive: Interruptible) -> None:
        with self._lock:
            self._open.remove(drive)

    def interrupt_all(self) -> None:
        with self._lock:
            drives = list(self._open)
        for drive in drives:
            drive.interrupt()


DRIVES = Drives()
