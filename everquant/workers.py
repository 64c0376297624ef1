"""What jobs may know of the worker process that runs them."""

import threading

# Set once the process is to end: jobs that go on by themselves hand the rest to a successor.
STOPPING = threading.Event()


class _Capacity:
    jobs = 1


def set_capacity(jobs: int) -> None:
    """How many jobs the process runs at once."""
    _Capacity.jobs = jobs


def capacity() -> int:
    return _Capacity.jobs
