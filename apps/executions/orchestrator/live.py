"""A streamed execution: it runs in a thread of its own, so that its reader may leave and nothing is lost.

The reader takes events from a queue. When it leaves, the provider's answer is still taken to its end, recorded and
charged. What waits in a queue is at most one answer, whose size the adapters limit.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from queue import Empty, SimpleQueue

import structlog
from django.conf import settings

from apps.executions.orchestrator.command import Command, Finished
from apps.executions.orchestrator.running import Prepared, prepare, run
from apps.models.providers.base import Delta
from everquant.api.bulkhead import Bulkhead, Slot
from everquant.api.errors import ApiError
from everquant.db import release_connection

logger = structlog.get_logger(__name__)

LiveEvent = Delta | Finished | ApiError


def most_running() -> int:
    """Streams of a process, with and without a reader: each waiting reader's, and as many whose reader has left."""
    return 2 * int(settings.WEB_WAITING_SLOTS)


RUNNING = Bulkhead(most_running)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(most_running(), thread_name_prefix="stream")


class LiveExecution:
    """`prepared` is stored; `begin` makes its call, once; `events` may be read once."""

    def __init__(self, prepared: Prepared, slot: Slot) -> None:
        self.prepared = prepared
        self._slot = slot
        self._queue: SimpleQueue[LiveEvent] = SimpleQueue()

    def begin(self) -> None:
        """From here on the thread owns `prepared`: it changes while its answer comes."""
        _threads().submit(copy_context().run, self._run)

    def cancel(self) -> None:
        """Stop the call, unless it has ended."""
        self.prepared.cancellation.request()

    def events(self, heartbeat_s: float) -> Iterator[LiveEvent | None]:
        """Deltas, then the finished execution (or the error why there is none); None when nothing came for a while."""
        while True:
            try:
                event = self._queue.get(timeout=heartbeat_s)
            except Empty:
                yield None
                continue
            yield event
            if not isinstance(event, Delta):
                return

    def _run(self) -> None:
        try:
            finished = run(self.prepared, self._queue.put)
            if finished.is_replayed and finished.payload.output:
                self._queue.put(Delta(text=finished.payload.output))
            self._queue.put(finished)
        except ApiError as error:
            self._queue.put(error)
        except Exception:
            logger.exception("stream_failed", execution_id=str(self.prepared.execution.id))
            self._queue.put(ApiError("The server failed; it has been logged."))
            raise
        finally:
            self._slot.release()
            release_connection()


def prepare_live(command: Command) -> LiveExecution:
    """To be begun. Raises what `prepare` raises, and ServiceUnavailable when too many streams run."""
    slot = RUNNING.enter()
    try:
        prepared = prepare(command)
    except BaseException:
        slot.release()
        raise
    release_connection()
    return LiveExecution(prepared, slot)
