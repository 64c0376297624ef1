"""What tests of whole processes share: looking at them, waiting for them."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

WAIT_S = 60


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def commands() -> Iterator[tuple[int, str]]:
    """Every living process and its command line; zombies have none."""
    for name in os.listdir("/proc"):  # noqa: PTH208 (a path for each of hundreds of processes, fifty times a second)
        if name.isdigit() and (command := _command(int(name))):
            yield int(name), command


def is_alive(pid: int) -> bool:
    return bool(_command(pid))


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 (as above)
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def descendants(pid: int) -> dict[int, str]:
    """Children, their children and so on, with their command lines."""
    parents = {}
    for other, _ in commands():
        with suppress(OSError):
            parents[other] = int(Path(f"/proc/{other}/stat").read_text().rsplit(")", 1)[1].split()[1])
    found = {pid}
    while more := {other for other, parent in parents.items() if parent in found} - found:
        found |= more
    return {other: command for other, command in commands() if other in found - {pid}}
