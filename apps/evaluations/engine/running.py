"""A worker's work at evaluations: take one, drive it, until others have to have their turn."""

import time
from concurrent.futures import Executor, ThreadPoolExecutor

import structlog

from apps.evaluations.engine import ending, queue
from apps.evaluations.engine.changes import LeaseLost
from apps.evaluations.engine.driver import Drive
from apps.evaluations.engine.drives import DRIVES
from apps.evaluations.engine.jobs import call_missing_drivers
from apps.evaluations.models import Evaluation, EvaluationStatus
from everquant.api.bulkhead import Bulkhead
from everquant.api.errors import ServiceUnavailable
from everquant.db import DATABASE_AWAY, patiently, release_connection
from everquant.workers import STOPPING, capacity

logger = structlog.get_logger(__name__)

SLICE_S = 30.0
# Where a process has one job at a time, the calls that a driver has asked for are made in between.
ALONE_SLICE_S = 0.2
CRASHED = "INTERNAL"
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.03, 0.25
_MOST_THREADS = 64


def most_drivers() -> int:
    """Of a process: they are few, and the calls of their evaluations need most of its jobs."""
    return max(1, capacity() // 4)


_PLACES = Bulkhead(most_drivers)


def _is_alone() -> bool:
    return capacity() == 1


def _slice_s() -> float:
    return ALONE_SLICE_S if _is_alone() else SLICE_S


def drive_ready() -> int:
    """Drive ready evaluations, one after the other; gives how many.

    With all places of the process taken there is nothing to do: who has one comes to what is ready.
    """
    try:
        place = _PLACES.enter()
    except ServiceUnavailable:
        return 0
    with place:
        try:
            return _drive_in_turn()
        finally:
            release_connection()


def _drive_in_turn() -> int:
    count, ends_at = 0, time.monotonic() + _slice_s()
    while time.monotonic() < ends_at and not STOPPING.is_set():
        evaluation = patiently(queue.take)
        if evaluation is None:
            return count
        work_at(evaluation)
        count += 1
    if queue.has_ready():
        # Whoever handed one back has called a driver already: two for each would be more and more.
        call_missing_drivers()
    return count


def work_at(evaluation: Evaluation) -> None:
    """Drive an evaluation that was taken. Raises what says that the database is away for long."""
    threads = ThreadPoolExecutor(min(evaluation.max_concurrency, _MOST_THREADS), thread_name_prefix="evaluators")
    try:
        _drive(evaluation, threads)
    except LeaseLost:
        logger.warning("evaluation_lost", evaluation_id=str(evaluation.id))
    except DATABASE_AWAY as error:
        logger.warning("evaluation_handed_back", evaluation_id=str(evaluation.id), error=str(error))
        patiently(lambda: queue.hand_back(evaluation))
    except Exception:
        logger.exception("evaluation_crashed", evaluation_id=str(evaluation.id))
        message = "The server failed; it has been logged. What was done is kept: resume it."
        ending.finish(evaluation, EvaluationStatus.FAILED, code=CRASHED, message=message)
    finally:
        threads.shutdown(wait=False)


def _drive(evaluation: Evaluation, threads: Executor) -> None:
    drive = Drive(evaluation, threads)
    DRIVES.add(drive)
    try:
        _turn_until_done(drive)
    finally:
        DRIVES.remove(drive)
        if not drive.is_done:
            drive.interrupt()


def _turn_until_done(drive: Drive) -> None:
    ends_at, pause_s = time.monotonic() + _slice_s(), SHORTEST_PAUSE_S
    while not drive.is_done:
        pause_s = SHORTEST_PAUSE_S if drive.turn() else min(pause_s * 1.5, LONGEST_PAUSE_S)
        if STOPPING.is_set():
            drive.close()
        elif time.monotonic() >= ends_at:
            ends_at = time.monotonic() + _slice_s()
            if _is_alone() or queue.has_ready():
                drive.close()
        release_connection()
        if not drive.is_done:
            time.sleep(pause_s)
