"""`manage.py up` as a process: it starts everything, ends everything, and finds its data again."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import call_command

from everquant.management.commands.up import LOGINS, demo_logins
from tests.project.processes import commands, descendants, is_alive, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
# Each run starts five processes of ours and two servers; on a loaded machine that takes its time.
pytestmark = pytest.mark.timeout(600)
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class Up:
    """One run of `manage.py up` on a data directory."""

    def __init__(self, data_dir: Path, port: int, *arguments: str, **environment: str) -> None:
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.data_dir = data_dir
        self.port = port
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, str(CHECKOUT / "manage.py"), "up", *arguments],
            env={**kept, "EVERQUANT_DATA_DIR": str(data_dir), "PORT": str(port), "WEB_PROCESSES": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._greeted = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if "viewer@example.com" in line:
                self._greeted.set()
        self._greeted.set()

    def wait_until_running(self) -> "Up":
        assert self._greeted.wait(150), self.output
        assert self.process.poll() is None, self.output
        return self

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def password(self) -> str:
        found = re.search(r"admin@example\.com +(\S+)", self.output)
        assert found, self.output
        return found[1]

    def log_in(self, email: str) -> dict[str, Any]:
        """The user that the API says we are."""
        base = f"http://127.0.0.1:{self.port}/api/v1/auth"
        answer = requests.post(f"{base}/login", json={"email": email, "password": self.password()}, timeout=30)
        assert answer.status_code == HTTPStatus.OK, answer.text
        token = answer.json()["data"]["access_token"]
        me = requests.get(f"{base}/me", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        assert me.status_code == HTTPStatus.OK, me.text
        return dict(me.json()["data"]["user"])

    def processes(self) -> dict[int, str]:
        """Everything that this run started, the detached servers included."""
        servers = {pid: command for pid, command in commands() if str(self.data_dir) in command}
        return descendants(self.process.pid) | servers

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(30)
        return code

    def close(self) -> None:
        """Read the rest of what it said."""
        self.process.wait(30)
        self._reader.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Place:
    """A fresh data directory and port for the runs of one test."""

    def __init__(self) -> None:
        self.base = Path(tempfile.gettempdir()) / f"eq-{uuid.uuid4().hex[:12]}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.runs: list[Up] = []

    def up(self, *arguments: str, **environment: str) -> Up:
        self.runs.append(Up(self.base / "data", self.port, *arguments, **environment))
        return self.runs[-1]


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    started = {pid for run in place.runs for pid in run.processes()}
    for run in place.runs:
        run.process.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in started), "everything that was started has ended")
    for run in place.runs:
        run.close()
    shutil.rmtree(place.base, ignore_errors=True)


def test_everything_starts_is_found_again_and_survives_kills(place: Place) -> None:
    """One story, because every start costs seconds: each goes on where the one before ended."""
    first = place.up().wait_until_running()
    ids = check_fresh_start(first)
    check_port_is_refused(place)
    check_end(first, signal.SIGINT)

    again = place.up("--no-worker", DEMO_PASSWORD="set too late").wait_until_running()
    assert again.password() == first.password()
    assert {role: again.log_in(f"{role}@example.com")["id"] for role in ids} == ids
    assert not worker_of(again)
    check_end(again, signal.SIGTERM)

    killed = place.up().wait_until_running()
    started = killed.processes()
    assert worker_of(killed)
    killed.process.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in started), "children end with the killed parent")

    last = place.up().wait_until_running()
    check_killed_postgres_comes_back(last)
    started = last.processes()
    os.kill(worker_of(last)[0], signal.SIGKILL)
    assert last.process.wait(30) == 1
    last.close()
    assert "worker was killed by SIGKILL" in last.output
    assert [command for pid, command in started.items() if is_alive(pid)] == []


def worker_of(run: Up) -> list[int]:
    return [pid for pid, command in run.processes().items() if command.endswith("manage.py worker")]


def check_fresh_start(run: Up) -> dict[str, str]:
    """The ids of the demo's people by role."""
    ids = {role: run.log_in(f"{role}@example.com")["id"] for role in ("admin", "editor", "viewer")}
    assert len(set(ids.values())) == 3
    for path in ("/healthz", "/api/docs", "/api/schema", "/admin/login/"):
        assert run.get(path).status_code == HTTPStatus.OK, path
    wait_until(lambda: run.get("/readyz").json()["checks"]["worker"]["ok"], "the worker reports")
    assert (run.data_dir / "demo-password").stat().st_mode & 0o077 == 0
    assert len(run.password()) >= 12
    for name in ("manage.py web", "worker", "postgres", "valkey"):
        assert any(name in command for command in run.processes().values()), name
    return ids


def check_port_is_refused(place: Place) -> None:
    first, second = place.runs[0], place.up()
    assert second.process.wait(30) != 0
    second.close()
    assert f"Port {place.port} on 127.0.0.1 cannot be used" in second.output
    assert "Traceback" not in second.output
    assert first.get("/healthz").status_code == HTTPStatus.OK


def check_end(run: Up, number: int) -> None:
    started = run.processes()
    assert run.end(number) == 0
    assert [command for pid, command in started.items() if is_alive(pid)] == []
    assert "Traceback" not in run.output


def check_killed_postgres_comes_back(run: Up) -> None:
    wait_until(lambda: run.get("/readyz").json()["checks"]["worker"]["ok"], "the worker reports")
    pid_file = run.data_dir / "postgres" / "postmaster.pid"
    postgres = int(pid_file.read_text().split("\n")[0])
    os.kill(postgres, signal.SIGKILL)
    wait_until(
        lambda: not is_alive(postgres) and run.get("/readyz").json()["checks"]["database"]["ok"], "the database is back"
    )
    assert run.process.poll() is None, run.output


@pytest.mark.django_db
def test_logins_that_are_told_are_those_that_work(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.DEMO_PASSWORD = "a password of my own"
    call_command("create_demo")
    assert demo_logins() == [(email, "a password of my own") for email in LOGINS]
    settings.DEMO_PASSWORD = "set too late"
    assert demo_logins() == [(email, "(was changed)") for email in LOGINS]
