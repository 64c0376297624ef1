"""Processor time that the parts of the stack have used, which neighbours of the machine disturb less than seconds."""

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.stack import Stack

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def processor_s(stack: Stack, groups: Mapping[int, str]) -> Counter[str]:
    """Seconds since their start by name: of process groups, and of `PostgreSQL`, its ended sessions included."""
    used: Counter[str] = Counter()
    folder = stack.environment["EVERQUANT_DATA_DIR"].encode()
    stats = list(_stats())
    servers = {pid for pid, *_, command in stats if b"postgres" in command and folder in command}
    for pid, parent, group, own_s, ended_s, _ in stats:
        if pid in servers:
            used["PostgreSQL"] += own_s + ended_s
        elif parent in servers:
            used["PostgreSQL"] += own_s
        elif group in groups:
            used[groups[group]] += own_s
    return used


def _stats() -> list[tuple[int, int, int, float, float, bytes]]:
    """Of each process: its id, its parent's, its group's, its seconds, those of its ended children, its command."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            ticks = [int(field) / _TICKS_PER_S for field in fields[11:15]]
            command = (entry / "cmdline").read_bytes()
            found.append((int(entry.name), int(fields[1]), int(fields[2]), sum(ticks[:2]), sum(ticks[2:]), command))
    return found
