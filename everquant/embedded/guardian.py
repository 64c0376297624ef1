"""`python -m everquant.embedded.guardian`: runs one server until nobody uses it.

It starts the server, reports `ready` (or why not) once on its standard output, starts the server again if that dies,
and stops it when `in-use.lock` has no holder left.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from everquant.embedded.places import EmbeddedError, FileLock, run_as, server_account
from everquant.embedded.servers import MAX_LOG_BYTES, PostgresServer, Server, ValkeyServer

READY_TIMEOUT_S = 110.0
CRASH_LOOP_S = 5.0
LONGEST_PAUSE_S = 10.0
WATCH_S = 0.1
START_POLL_S = 0.01
RETRY_S = 30.0
# Each backend of a killed postmaster may add a line or two.
RETRY_LINES = 500
SET_PARENT_DEATH_SIGNAL = 1


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends the signal to the child when its parent ends in any way (Linux only)."""
    if sys.platform != "linux":
        return lambda: None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(SET_PARENT_DEATH_SIGNAL, death_signal)
        if os.getppid() != parent:
            os.kill(os.getpid(), death_signal)

    return ask_kernel


def launch(server: Server) -> "subprocess.Popen[bytes]":
    """Start the server and wait until it answers; raises EmbeddedError with the end of its log."""
    server.prepare()
    deadline = time.monotonic() + RETRY_S
    while True:
        process = _spawn(server)
        if _becomes_ready(server, process):
            return process
        stop(server, process)
        # Backends of a postmaster that was killed take a moment to notice.
        if "shared memory block" not in server.log_tail(RETRY_LINES) or time.monotonic() > deadline:
            raise EmbeddedError(f"{server.name} did not start. The end of {server.log_path}:\n{server.log_tail()}")
        time.sleep(WATCH_S)


def _spawn(server: Server) -> "subprocess.Popen[bytes]":
    is_full = server.log_path.exists() and server.log_path.stat().st_size > MAX_LOG_BYTES
    with server.log_path.open("wb" if is_full else "ab") as log:
        return subprocess.Popen(  # noqa: S603 (programs of the wheel)
            server.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            preexec_fn=die_with_parent(server.parent_death_signal),  # noqa: PLW1509 (this process has one thread)
            **run_as(server_account()),
        )


def _becomes_ready(server: Server, process: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if server.is_ready():
            return True
        time.sleep(START_POLL_S)
    return False


def stop(server: Server, process: "subprocess.Popen[bytes]") -> None:
    for stop_signal, patience_s in server.stop_sequence:
        if process.poll() is not None:
            return
        process.send_signal(stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


def watch(server: Server, process: "subprocess.Popen[bytes]", in_use: FileLock) -> "subprocess.Popen[bytes]":
    """Returns, with the process to stop, when the last user is gone or we are told to end.

    A server that dies is started again as long as it has users; after longer and longer pauses while it dies, or fails
    to start, right after its start.
    """
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    tried_at, pause_s = time.monotonic(), 0.0
    while not told and not in_use.try_acquire(exclusive=True):
        since_s = time.monotonic() - tried_at
        if process.poll() is not None and since_s >= pause_s:
            is_again = since_s < CRASH_LOOP_S + pause_s
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s + WATCH_S) if is_again else 0.0
            tried_at = time.monotonic()
            with suppress(EmbeddedError, OSError):
                process = launch(server)
        time.sleep(WATCH_S)
    return process


def report(message: str) -> None:
    """Tell the starter, if he still lives, and close the pipe that he reads to its end."""
    with suppress(BrokenPipeError):
        os.write(1, message.encode())
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


def main(arguments: str) -> int:
    name, data_dir, socket_dir, durable, binaries = json.loads(arguments)
    kind = {"postgres": PostgresServer, "valkey": ValkeyServer}[name]
    server = kind(Path(data_dir), Path(socket_dir), durable=durable, binaries=Path(binaries))
    if os.fork():  # the starter waits for this process, and has no child that outlives it
        os._exit(0)
    os.umask(0o077)
    alone = FileLock(server.guardian_lock_path)
    if not alone.try_acquire(exclusive=True):
        report(f"{name} already has a guardian")
        return 1
    try:
        process = launch(server)
    except (EmbeddedError, OSError) as error:
        report(str(error))
        return 1
    report("ready")
    try:
        process = watch(server, process, FileLock(server.data_dir / "in-use.lock"))
    finally:
        stop(server, process)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
