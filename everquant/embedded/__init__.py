"""PostgreSQL 18 and Valkey from wheels, over unix sockets, for a machine that has neither.

Nothing starts at import. Each server runs under a guardian process (`guardian.py`) that stops it when the last
process using the services is gone, however that one ended.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from everquant.embedded.binaries import locate_binaries
from everquant.embedded.places import (
    EmbeddedError,
    FileLock,
    default_data_dir,
    make_data_dir,
    make_private_dir,
    server_account,
    socket_dir_for,
)
from everquant.embedded.servers import PostgresServer, Server, ValkeyServer

__all__ = ["EmbeddedError", "EmbeddedServices", "default_data_dir"]

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02
CHECKOUT = Path(__file__).resolve().parents[2]


class EmbeddedServices:
    """The servers of one data directory, shared by every process that starts (or attaches to) them.

    `durable=False` trades crash safety for speed; the first process to start a server decides.
    """

    def __init__(self, data_dir: Path, *, postgres: bool = True, valkey: bool = True, durable: bool = True) -> None:
        self.data_dir = Path(os.path.realpath(data_dir))
        self.socket_dir = socket_dir_for(self.data_dir)
        wanted = {"postgres": postgres, "valkey": valkey}
        kinds: list[type[Server]] = [PostgresServer, ValkeyServer]
        self._all = [kind(self.data_dir, self.socket_dir, durable=durable) for kind in kinds]
        self._servers = [server for server in self._all if wanted[server.name]]
        self._in_use: FileLock | None = None

    @property
    def database_url(self) -> str:
        return f"postgresql://everquant@/everquant?host={quote(str(self.socket_dir))}"

    @property
    def redis_url(self) -> str:
        return f"unix://{quote(str(self.socket_dir / ValkeyServer.socket_name))}?db=0"

    @property
    def is_running(self) -> bool:
        """Whether every server answers on its socket now."""
        return all(server.is_ready() for server in self._servers)

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """Descriptors to hand to children (`pass_fds`), so that the servers outlive them too."""
        return (self._in_use.fileno(),) if self._in_use else ()

    def start(self) -> None:
        """Start the servers, or attach to those that run; does nothing for what this process already has running.

        Raises EmbeddedError, with what to do about it, when they cannot be had.
        """
        if not self._servers:
            return
        make_data_dir(self.data_dir)
        with FileLock(self.data_dir / "start.lock").held(exclusive=True, timeout_s=START_TIMEOUT_S):
            holds = self._in_use or FileLock(self.data_dir / "in-use.lock")
            # An earlier run's guardian holds it while it stops its server.
            holds.acquire(exclusive=False, timeout_s=STOP_TIMEOUT_S)
            try:
                self._start_missing()
            except BaseException:
                self._in_use = None
                self._leave(holds)
                raise
            self._in_use = holds

    def stop(self) -> None:
        """Leave; when nobody else uses the servers, wait until they have ended."""
        if self._in_use is None:
            return
        holds, self._in_use = self._in_use, None
        with FileLock(self.data_dir / "start.lock").held(exclusive=True, timeout_s=START_TIMEOUT_S):
            self._leave(holds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _leave(self, holds: FileLock) -> None:
        is_last = holds.try_acquire(exclusive=True)
        holds.release()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while is_last and any(server.is_guarded() for server in self._all) and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _start_missing(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        missing = [server for server in self._servers if not _attach(server, deadline)]
        if not missing:
            return
        account = server_account()
        binaries = locate_binaries(account)
        make_private_dir(self.socket_dir, account)
        with ExitStack() as stack:
            reports = [stack.enter_context(_guardian(server, binaries[server.name])) for server in missing]
            outcomes = [report.read().strip() for report in reports]
        for server, outcome in zip(missing, outcomes, strict=True):
            if outcome != "ready":
                raise EmbeddedError(outcome or f"{server.name} did not start; see {server.log_path}")


def _attach(server: Server, deadline: float) -> bool:
    """Whether a guardian already runs the server; waits for one that is still starting it."""
    while server.is_guarded():
        if server.is_ready():
            return True
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{server.name} is being started by another process but does not answer")
        time.sleep(POLL_S)
    return False


@contextmanager
def _guardian(server: Server, binaries: Path) -> Iterator[IO[str]]:
    """Spawn the server's guardian, which detaches from us; yields the pipe on which it reports once."""
    command = [sys.executable, "-S", "-m", "everquant.embedded.guardian", server.to_json(binaries)]
    process = subprocess.Popen(  # noqa: S603 (our own module)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(CHECKOUT), "LC_ALL": "C"},
        start_new_session=True,
        text=True,
    )
    if process.stdout is None:
        raise EmbeddedError(f"{server.name}: its guardian has no output")
    with process.stdout as reports:
        yield reports
    process.wait()
