"""Where the servers' files live, who owns them, and the locks between processes."""

import fcntl
import hashlib
import os
import pwd
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypedDict

ROOT_HOME = Path("/var/lib/everquant")
# The kernel allows 107 bytes on Linux and 103 on macOS.
MAX_SOCKET_PATH_BYTES = 103
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
LOCK_POLL_S = 0.02


class EmbeddedError(Exception):
    """The embedded servers cannot be had; the message says why and what to do."""


class Account(NamedTuple):
    """The unprivileged user that runs the servers when we are root."""

    name: str
    uid: int
    gid: int


class RunAs(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def server_account() -> Account | None:
    """None for an ordinary user, who runs the servers as himself. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL does not run as root and there is no user `postgres` or `nobody`: "
        "run as an ordinary user, or set DATABASE_URL and REDIS_URL"
    )


def run_as(account: Account | None) -> RunAs:
    """Arguments for subprocess."""
    return RunAs(user=account.uid, group=account.gid, extra_groups=[]) if account else RunAs()


def is_accessible(path: Path, account: Account | None, mode: str) -> bool:
    """Whether the servers' user may read (`r`) or enter or execute (`x`) the path."""
    command = ["test", f"-{mode}", str(path)]
    return subprocess.run(command, check=False, cwd="/", **run_as(account)).returncode == 0  # noqa: S603


def default_data_dir(base_dir: Path) -> Path:
    """`.everquant/` in the checkout; for root a directory of its own, since the servers run as another user."""
    if os.geteuid() != 0:
        return base_dir / ".everquant"
    return ROOT_HOME / f"{base_dir.name}-{_short_hash(base_dir)}"


def socket_dir_for(data_dir: Path) -> Path:
    """`run/` in the data directory, or a short directory named after it when the sockets' paths would be too long."""
    nearby = data_dir / "run"
    if len(os.fsencode(nearby / LONGEST_SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES:
        return nearby
    if os.geteuid() == 0:
        return ROOT_HOME / f"run-{_short_hash(data_dir)}"
    return Path("/tmp") / f"everquant-{os.geteuid()}-{_short_hash(data_dir)}"  # noqa: S108 (checked when entered)


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def make_data_dir(data_dir: Path) -> None:
    """Make what is missing of the path. A directory that is there keeps its permissions, whatever they are."""
    account = server_account()
    make_dirs(data_dir, 0o711 if account else 0o700)
    if account and not is_accessible(data_dir, account, "x"):
        raise EmbeddedError(
            f"{data_dir} is closed to the user `{account.name}`, who runs the servers for root: "
            "set EVERQUANT_DATA_DIR to a path that he can enter"
        )


def make_dirs(path: Path, mode: int) -> None:
    """Like `mkdir --parents`, where each directory made gets exactly this mode."""
    missing = [part for part in (path, *path.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(exist_ok=True)
        part.chmod(mode)


def make_private_dir(path: Path, account: Account | None) -> None:
    """A directory (0700) of the servers' user; refused when somebody else could have put it there."""
    make_dirs(path.parent, 0o711 if account else 0o700)
    owner = account.uid if account else os.geteuid()
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        is_ours = found.st_uid in {owner, os.geteuid()} and not found.st_mode & 0o077
        if not (stat.S_ISDIR(found.st_mode) and is_ours):
            raise EmbeddedError(f"{path} is not a private directory of this user: move it away") from None
    if account:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


class FileLock:
    """An flock on a file: shared or exclusive, dropped by the kernel when its holders die."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def fileno(self) -> int:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return self._fd

    def try_acquire(self, *, exclusive: bool) -> bool:
        """Take it, or change the kind that is held."""
        try:
            fcntl.flock(self.fileno(), (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self, *, exclusive: bool, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.try_acquire(exclusive=exclusive):
            if time.monotonic() > deadline:
                self.release()
                raise EmbeddedError(f"another process has held {self._path} for {timeout_s:.0f} s")
            time.sleep(LOCK_POLL_S)

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @contextmanager
    def held(self, *, exclusive: bool, timeout_s: float) -> Iterator[None]:
        self.acquire(exclusive=exclusive, timeout_s=timeout_s)
        try:
            yield
        finally:
            self.release()
