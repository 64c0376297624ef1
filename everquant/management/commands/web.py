"""`manage.py web`: the web server (granian) with what the settings say.

This process loads the application and starts the others from itself: what takes a second is done once, not by all of
them at the same time, and they share the memory of what they never change.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.urls import get_resolver
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from granian.server.common import AbstractServer

APPLICATION = "everquant.wsgi"
# Each waiting call has two sockets: the client's and the provider's.
WANTED_FILES = 65536
BACKLOG = 2048
# Connections that a process holds open, a multiple of its threads: idle keep-alive ones count, and a request beyond
# the bulkhead must get in to be told 503.
CONNECTIONS_PER_THREAD = 4
KILL_TIMEOUT_S = 8
IDLE_THREAD_S = 60
ARENAS = 2
_M_ARENA_MAX = -8


def web_command(port: int) -> list[str]:
    """The command line of the server, for who has emptied the folder of metrics and starts other processes too."""
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "web", "--port", str(port), "--keep-metrics"]


def make_server(host: str, port: int) -> AbstractServer[Any]:
    return Server(
        f"{APPLICATION}:application",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=min(60_000, int(settings.READ_TIMEOUT * 1000))),
        websockets=False,
        workers=settings.WEB_PROCESSES,
        blocking_threads=settings.WEB_THREADS,
        blocking_threads_idle_timeout=IDLE_THREAD_S,
        backlog=BACKLOG,
        backpressure=max(BACKLOG // 2, settings.WEB_THREADS * CONNECTIONS_PER_THREAD),
        respawn_failed_workers=True,
        workers_kill_timeout=KILL_TIMEOUT_S,
        log_level=LogLevels.error,
    )


def load_application() -> None:
    """Import all that answers requests. No thread and no connection is made: processes are forked after it."""
    importlib.import_module(APPLICATION)
    _ = get_resolver().reverse_dict  # every URL, and with them every view
    gc.freeze()  # the collector would write to all of it, which makes copies of what is shared


def allow_many_files() -> None:
    """Raise this process's limit of open files towards what hundreds of waiting calls need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def share_memory() -> None:
    """Have hundreds of threads share two of the allocator's arenas: with one for each, what they free stays theirs.

    For this process, and by the variable for programs started from here on; both are glibc's.
    """
    arenas = os.environ.setdefault("MALLOC_ARENA_MAX", str(ARENAS))
    with contextlib.suppress(AttributeError, ValueError):  # another libc, or not a number
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, int(arenas))


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
        parser.add_argument("--keep-metrics", action="store_true", help="the folder of metrics was emptied before")

    def handle(self, *_args: Any, host: str, port: int, keep_metrics: bool, **_options: Any) -> None:
        allow_many_files()
        share_memory()
        if not keep_metrics:
            clear_metrics()
        load_application()
        make_server(host, port).serve()
