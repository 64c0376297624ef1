"""`manage.py web` as processes: forked from one that has loaded all, replaced when they die, ended together."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from django.conf import settings

from tests.databases import database_url
from tests.project.processes import descendants, is_alive, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
WORKERS = 2


class Web:
    """A running server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        given = {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL, "WEB_PROCESSES": str(WORKERS)}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "web", "--port", str(self.port)],
            cwd=CHECKOUT,
            env={
                **os.environ,
                **given,
                "DJANGO_SETTINGS_MODULE": "everquant.settings",
                "PROMETHEUS_MULTIPROC_DIR": str(folder),
            },
        )

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def is_healthy(self) -> bool:
        with suppress(requests.ConnectionError):
            return self.get("/healthz").ok
        return False

    @property
    def workers(self) -> set[int]:
        return set(descendants(self.process.pid))


@pytest.fixture
def web(tmp_path: Path, db: None) -> Iterator[Web]:
    (tmp_path / "counter_1.db").write_bytes(b"of an earlier run")
    web = Web(tmp_path)
    try:
        wait_until(web.is_healthy, "the server answers")
        wait_until(lambda: len(web.workers) == WORKERS, "all processes are there")
        yield web
    finally:
        for pid in {*web.workers, web.process.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        web.process.wait(30)


def memory_kib(pid: int, kind: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind))


def test_processes_share_what_was_loaded_once_and_are_replaced_and_ended(web: Web, tmp_path: Path) -> None:
    """Three things of one server, whose start costs more than they do."""
    check_memory_is_shared(web)
    check_processes_are_told_apart(web, tmp_path)
    check_a_dead_one_is_replaced(web)
    workers = web.workers
    web.process.terminate()
    assert web.process.wait(30) == 0
    wait_until(lambda: not any(map(is_alive, workers)), "no process is left")


def check_memory_is_shared(web: Web) -> None:
    for pid in web.workers:
        assert memory_kib(pid, "Shared_") > memory_kib(pid, "Private_")
    threads_that_wait_for_children = WORKERS
    assert len(list(Path(f"/proc/{web.process.pid}/task").iterdir())) == 1 + threads_that_wait_for_children


def check_processes_are_told_apart(web: Web, folder: Path) -> None:
    """What was forked with the same state gives different ids, and counts in files of its own."""

    def have_all_answered() -> bool:
        ids.extend(web.get("/healthz").headers["X-Request-ID"] for _ in range(20))
        return {f"histogram_{pid}.db" for pid in web.workers} <= {file.name for file in folder.iterdir()}

    ids: list[str] = []
    wait_until(have_all_answered, "each process has answered")
    assert len(ids) == len(set(ids))
    assert not (folder / "counter_1.db").exists()
    line = next(
        line
        for line in web.get("/metrics").text.splitlines()
        if line.startswith('everquant_http_request_seconds_count{method="GET",route="healthz"')
    )
    assert float(line.split()[-1]) >= len(ids)


def check_a_dead_one_is_replaced(web: Web) -> None:
    killed = next(iter(web.workers))
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(web.workers - {killed}) == WORKERS, "another process has taken its place")
    wait_until(web.is_healthy, "the server answers")
