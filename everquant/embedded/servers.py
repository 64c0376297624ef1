"""How each embedded server is prepared, started, asked and stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import ClassVar

from everquant.embedded.binaries import POSTGRES_MAJOR
from everquant.embedded.places import EmbeddedError, FileLock, make_private_dir, run_as, server_account

ROLE = DATABASE = "everquant"
MAX_LOG_BYTES = 10 * 1024 * 1024
ANSWER_TIMEOUT_S = 2.0
ORPHAN_TIMEOUT_S = 10.0
STATUS_LINE = 7


class Server:
    """One server of a data directory; `binaries` is known to its guardian only."""

    name: ClassVar[str]
    socket_name: ClassVar[str]
    # What to send to end it, and how many seconds each may take before the next.
    stop_sequence: ClassVar[tuple[tuple[signal.Signals, float], ...]]
    parent_death_signal: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path, socket_dir: Path, *, durable: bool, binaries: Path | None = None) -> None:
        self.data_dir = data_dir
        self.socket_path = socket_dir / self.socket_name
        self.durable = durable
        self._binaries = binaries
        self.log_path = data_dir / f"{self.name}.log"
        self.guardian_lock_path = data_dir / f"{self.name}.lock"

    def to_json(self, binaries: Path) -> str:
        return json.dumps([self.name, str(self.data_dir), str(self.socket_path.parent), self.durable, str(binaries)])

    def program(self, name: str) -> str:
        if self._binaries is None:
            raise EmbeddedError(f"{self.name}: its programs were not located")
        return str(self._binaries / name)

    def is_guarded(self) -> bool:
        """Whether a guardian lives. Ask only with `start.lock` held: asking takes its lock for a moment."""
        lock = FileLock(self.guardian_lock_path)
        is_free = lock.try_acquire(exclusive=True)
        lock.release()
        return not is_free

    def prepare(self) -> None:
        """Make the server's files where missing and clear what a killed run left."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def log_tail(self, lines: int = 5) -> str:
        """The end of the log, for an error message."""
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            connection.connect(str(self.socket_path))
        except OSError:
            connection.close()
            raise
        return connection


class PostgresServer(Server):
    name = "postgres"
    socket_name = ".s.PGSQL.5432"
    stop_sequence = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
    parent_death_signal = signal.SIGINT

    @property
    def cluster(self) -> Path:
        return self.data_dir / "postgres"

    def prepare(self) -> None:
        if self.cluster.exists():
            found = (self.cluster / "PG_VERSION").read_text().strip()
            if found != POSTGRES_MAJOR:
                raise EmbeddedError(
                    f"{self.cluster} was made by PostgreSQL {found} and this is {POSTGRES_MAJOR}: "
                    "dump it with the old version, or move it away to start empty"
                )
            self._clear_leftovers()
        else:
            self._make_cluster()

    def command(self) -> list[str]:
        sockets = str(self.socket_path.parent).replace('"', '""')
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{sockets}"',
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
        }
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", str(self.cluster), *options]

    def is_ready(self) -> bool:
        try:
            status = (self.cluster / "postmaster.pid").read_text().splitlines()[STATUS_LINE].strip()
            self._connect().close()
        except (OSError, IndexError):
            return False
        return status == "ready"

    def _make_cluster(self) -> None:
        """initdb beside the final place, so that a killed first start leaves nothing that looks complete."""
        account = server_account()
        fresh = self.data_dir / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        make_private_dir(fresh, account)
        durability = [] if self.durable else ["--no-sync", "--no-data-checksums"]
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = [self.program("initdb"), "-D", str(fresh), "-U", "postgres", "--auth=trust", *locale, *durability]
        self._run(initdb)
        # Single-user mode: nobody can connect before role and database are there.
        statements = f"CREATE ROLE {ROLE} LOGIN CREATEDB;\nCREATE DATABASE {DATABASE} OWNER {ROLE};\n"
        single = [self.program("postgres"), "--single", "-c", "exit_on_error=true", "-D", str(fresh), "postgres"]
        self._run(single, statements)
        fresh.rename(self.cluster)

    def _run(self, command: list[str], text: str = "") -> None:
        done = subprocess.run(  # noqa: S603 (programs of the wheel)
            command, input=text, capture_output=True, text=True, check=False, cwd="/", **run_as(server_account())
        )
        if done.returncode:
            raise EmbeddedError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def _clear_leftovers(self) -> None:
        """Only the guardian calls this, so a postmaster of this cluster that still runs has lost its own."""
        pid_file = self.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            pid = 0
        deadline = time.monotonic() + ORPHAN_TIMEOUT_S
        while pid and self._is_our_postmaster(pid):
            os.kill(pid, signal.SIGINT if time.monotonic() < deadline else signal.SIGKILL)
            time.sleep(0.05)
        # PostgreSQL takes any live process with that id for a postmaster; when dead, it checks the file itself.
        if pid and _is_alive(pid):
            pid_file.unlink(missing_ok=True)
        self.socket_path.unlink(missing_ok=True)
        self.socket_path.with_name(f"{self.socket_name}.lock").unlink(missing_ok=True)

    def _is_our_postmaster(self, pid: int) -> bool:
        arguments = _arguments_of(pid)
        return str(self.cluster) in arguments and "postgres" in arguments


class ValkeyServer(Server):
    """A cache and counters: nothing is written to disk, the oldest entries go when memory is full."""

    name = "valkey"
    socket_name = "valkey.sock"
    stop_sequence = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
    parent_death_signal = signal.SIGTERM

    def prepare(self) -> None:
        make_private_dir(self.data_dir / "valkey", server_account())

    def command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.data_dir / "valkey"),
            "save": "",
            "appendonly": "no",
            "databases": "64",
            "maxmemory": "256mb",
            "maxmemory-policy": "allkeys-lru",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return [self.program("valkey-server"), *options]

    def is_ready(self) -> bool:
        try:
            with self._connect() as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _arguments_of(pid: int) -> str:
    """The command line of a process; empty when it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        if Path("/proc/self").exists():
            return ""
    asked = subprocess.run(  # noqa: S603 (numbers only)
        ["ps", "-ww", "-o", "args=", "-p", str(pid)],  # noqa: S607 (macOS has it in its path)
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
