"""One worker's time with a run: what all its nodes share, and how it is brought to a stop."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from apps.models.providers.base import Delta
from apps.models.providers.cancellation import Cancellation
from apps.workflows.definition.model import Definition
from apps.workflows.engine.events import Event
from apps.workflows.engine.steps import Recorded, Totals
from apps.workflows.models import WorkflowRun
from everquant.db import release_connection

_ENTER_POLL_S = 0.25
# Of one walk, for all its maps: those in maps would multiply.
MOST_MAP_THREADS = 256


class Halt(StrEnum):
    """Why a walk stops before its end."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    DRAINING = "draining"
    LOST = "lost"


@dataclass(slots=True)
class _Pieces:
    """Of an answer; `since` is when the first one came."""

    since: float = field(default_factory=time.monotonic)
    texts: list[str] = field(default_factory=list)


class Walk:
    """Nodes are begun until it is halted. Those under way are let finish, or are stopped as well.

    `deadline` is in seconds of `time.monotonic()`. `recorded` is what earlier workers did, by path. `storing` is held
    from taking pieces of answers until they are stored, so that none of them comes after its node's end.
    """

    def __init__(self, run: WorkflowRun, definition: Definition, recorded: Mapping[str, Recorded]) -> None:
        self.run = run
        self.definition = definition
        self.recorded = recorded
        self.settings = definition.settings
        self.started = time.monotonic()
        self.deadline = self.started + max(0.0, self.settings.timeout_s - run.active_ms / 1000)
        self.totals = Totals(run.node_count, run.cost_usd)
        self.halt_reason: Halt | None = None
        self.on_halt: Any = None
        self._halted = threading.Event()
        self._lock = threading.Lock()
        self._calls: set[Cancellation] = set()
        self._places = threading.BoundedSemaphore(self.settings.max_concurrency)
        self.storing = threading.RLock()
        self._deltas: dict[tuple[str, int], _Pieces] = {}
        self._threads_left = MOST_MAP_THREADS

    @property
    def is_halted(self) -> bool:
        return self._halted.is_set()

    @property
    def active_ms(self) -> int:
        return int((time.monotonic() - self.started) * 1000)

    @property
    def has_spent_its_budget(self) -> bool:
        limit = self.settings.max_cost_usd
        return limit is not None and self.totals.cost_usd >= Decimal(limit)

    def halt(self, reason: Halt, *, with_calls: bool = True) -> None:
        """The first reason stays, but a stronger stop of the calls is heeded at any time."""
        with self._lock:
            if self.halt_reason is None:
                self.halt_reason = reason
            calls = list(self._calls) if with_calls else []
            self._halted.set()
        if self.on_halt is not None:
            self.on_halt()
        for call in calls:
            call.request(is_interruption=reason in {Halt.DRAINING, Halt.LOST})

    def pause(self, seconds: float) -> None:
        """At most until it is halted; without a connection."""
        release_connection()
        self._halted.wait(seconds)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """A place among the nodes that run at once; False when the walk was halted while waiting for it.

        Who waits has no connection meanwhile: those at work need them to come to their end.
        """
        if not self._places.acquire(blocking=False):
            release_connection()
            while not self._places.acquire(timeout=_ENTER_POLL_S):
                if self.is_halted:
                    yield False
                    return
        try:
            yield not self.is_halted
        finally:
            self._places.release()

    @contextmanager
    def threads(self, wanted: int) -> Iterator[int]:
        """How many threads a map may begin: those it wants, as far as they are left."""
        with self._lock:
            given = min(wanted, self._threads_left)
            self._threads_left -= given
        try:
            yield given
        finally:
            with self._lock:
                self._threads_left += given

    @contextmanager
    def call(self) -> Iterator[Cancellation]:
        """What stops a node's call when the walk is halted."""
        cancellation = Cancellation()
        with self._lock:
            self._calls.add(cancellation)
            is_halted = self.is_halted
        if is_halted:
            cancellation.request(is_interruption=True)
        try:
            yield cancellation
        finally:
            with self._lock:
                self._calls.discard(cancellation)

    def add_delta(self, path: str, attempt: int, delta: Delta) -> None:
        if delta.text:
            with self._lock:
                self._deltas.setdefault((path, attempt), _Pieces()).texts.append(delta.text)

    def take_deltas(self, path: str | None = None, *, older_than_s: float = 0.0) -> list[Event]:
        """The events of what has come of streamed answers since, of one node or of all.

        Not of those whose first piece is younger than this: an answer that is whole soon is stored with its end.
        """
        latest = time.monotonic() - older_than_s
        with self.storing, self._lock:
            keys = [key for key, pieces in self._deltas.items() if pieces.since <= latest and path in {None, key[0]}]
            taken = {key: self._deltas.pop(key) for key in keys}
        return [
            ("node.delta", {"path": path, "attempt": attempt, "text": "".join(pieces.texts)})
            for (path, attempt), pieces in taken.items()
        ]

    def put_back(self, told: Sequence[Event]) -> None:
        """Before what has come since: it could not be stored."""
        with self._lock:
            for _, data in told:
                self._deltas.setdefault((data["path"], data["attempt"]), _Pieces()).texts.insert(0, data["text"])


class Walks:
    """Those of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[UUID, Walk] = {}

    def add(self, walk: Walk) -> None:
        with self._lock:
            self._open[walk.run.id] = walk

    def remove(self, walk: Walk) -> None:
        with self._lock:
            if self._open.get(walk.run.id) is walk:
                del self._open[walk.run.id]

    def all(self) -> list[Walk]:
        with self._lock:
            return list(self._open.values())

    def interrupt_all(self) -> None:
        """Stop every call: the process is about to end, and other workers go on."""
        for walk in self.all():
            walk.halt(Halt.DRAINING)


WALKS = Walks()
