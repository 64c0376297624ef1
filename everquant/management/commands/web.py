"""`manage.py web`: becomes the web server (granian) with what the settings say."""

import os
import resource
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

# Each waiting call has two sockets: the client's and the provider's.
WANTED_FILES = 65536
BACKLOG = 2048
# Connections that a process holds open, a multiple of its threads: idle keep-alive ones count, and a request beyond
# the bulkhead must get in to be told 503.
CONNECTIONS_PER_THREAD = 4
KILL_TIMEOUT_S = 8
IDLE_THREAD_S = 60


def web_command(host: str, port: int) -> list[str]:
    """The command line of the server."""
    options = {
        "--interface": "wsgi",
        "--http": "1",
        "--host": host,
        "--port": port,
        "--workers": settings.WEB_PROCESSES,
        "--blocking-threads": settings.WEB_THREADS,
        "--blocking-threads-idle-timeout": IDLE_THREAD_S,
        "--backlog": BACKLOG,
        "--backpressure": max(BACKLOG // 2, settings.WEB_THREADS * CONNECTIONS_PER_THREAD),
        "--http1-header-read-timeout": min(60_000, int(settings.READ_TIMEOUT * 1000)),
        "--workers-kill-timeout": KILL_TIMEOUT_S,
        "--log-level": "error",
    }
    flags = ["--no-ws", "--no-access-log", "--respawn-failed-workers"]
    granian = Path(sys.executable).with_name("granian")
    given = [str(part) for option in options.items() for part in option]
    return [str(granian), *given, *flags, "everquant.wsgi:application"]


def allow_many_files() -> None:
    """Raise this process's limit of open files towards what hundreds of waiting calls need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def share_memory() -> None:
    """Have hundreds of threads share two of the allocator's arenas: with one for each, what they free stays theirs.

    For programs started from here on; the variable is glibc's.
    """
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")


def clear_metrics() -> None:
    """Empty the folder through which the processes add up their metrics: those of an earlier run would count again."""
    folder = settings.PROMETHEUS_MULTIPROC_DIR
    for file in folder.glob("*.db") if folder else ():
        file.unlink(missing_ok=True)


class Command(BaseCommand):
    help = "Serve HTTP. Database and cache must be there; `up` starts everything on one machine."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.WEB_HOST, help="address to listen on (WEB_HOST)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (PORT)")

    def handle(self, *_args: Any, host: str, port: int, **_options: Any) -> None:
        allow_many_files()
        share_memory()
        clear_metrics()
        command = web_command(host, port)
        os.execv(command[0], command)  # noqa: S606 (our own server, no shell)
