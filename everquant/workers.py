"""What jobs may know of the worker process that runs them."""

import threading
from collections.abc import Callable

# Set once the process is to end: jobs that go on by themselves hand the rest to a successor.
STOPPING = threading.Event()


class _Capacity:
    jobs = 1


def set_capacity(jobs: int) -> None:
    """How many jobs the process runs at once."""
    _Capacity.jobs = jobs


def capacity() -> int:
    return _Capacity.jobs


_at_drain_end: list[Callable[[], None]] = []


def at_drain_end(call: Callable[[], None]) -> None:
    """Have this called when jobs that still run have had their time, seconds before the process ends regardless."""
    _at_drain_end.append(call)


def end_drain() -> None:
    for call in _at_drain_end:
        call()
