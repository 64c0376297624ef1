"""The product as separate processes on loopback, each of which can be killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import redis
import requests

from everquant.embedded import EmbeddedServices, default_data_dir
from tests.upstream import UpstreamServer

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "password of the fault tests"
LEASE_S = 6
FIRST_TOKEN_S = 4
TOTAL_S = 6
SILENT = subprocess.DEVNULL
Json = dict[str, Any]


def until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """What `condition` gives once it is true; raises AssertionError when it is not within the time."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """Everything that runs. `log_path` has what web and worker wrote."""

    def __init__(self, folder: Path, upstream: UpstreamServer) -> None:
        self.folder = folder
        self.upstream = upstream
        self.services = EmbeddedServices(folder)
        self.log_path = folder / "processes.log"
        self.port = free_port()
        self.webs: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.token = ""
        self._names = count(1)
        self.environment = {
            **os.environ,
            "EVERQUANT_DATA_DIR": str(folder),
            "DATABASE_URL": self.services.database_url,
            "REDIS_URL": self.services.redis_url,
            "DJANGO_SETTINGS_MODULE": "everquant.settings",
            "ALLOW_PRIVATE_PROVIDER_URLS": "true",
            "DEMO_PASSWORD": PASSWORD,
            "WEB_PROCESSES": "2",
            "WEB_THREADS": "320",
            "DB_MAX_OPEN_CONNS": "25",
            "WORKER_CONCURRENCY": "32",
            "WORKER_DRAIN_S": "10",
            "EXECUTION_LEASE": str(LEASE_S),
            "PROVIDER_CONNECT_TIMEOUT": "3",
            "PROVIDER_FIRST_TOKEN_TIMEOUT": str(FIRST_TOKEN_S),
            "PROVIDER_TOTAL_TIMEOUT": str(TOTAL_S),
        }

    def start(self) -> None:
        self.services.start()
        self.manage("migrate")
        self.manage("create_demo")
        self.start_web()
        self.start_worker()
        self.token = self.log_in("admin@example.com")
        self.settle()

    def manage(self, *arguments: str) -> None:
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(command, cwd=ROOT, env=self.environment, check=True, stdout=SILENT, stderr=SILENT)

    def _spawn(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=ROOT,
                env={**self.environment, **variables},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_web(self) -> None:
        self.webs.append(self._spawn("web", "--port", str(self.port)))
        until(self.is_up, "web answers")

    def start_worker(self, **variables: str) -> None:
        known = self.scalar("SELECT coalesce(max(id), 0) FROM procrastinate_workers")
        self.workers.append(self._spawn("worker", **variables))
        until(lambda: self.scalar("SELECT coalesce(max(id), 0) FROM procrastinate_workers") > known, "worker is there")

    def is_up(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2).ok
        return False

    def kill_web(self) -> None:
        """SIGKILL to every process of it."""
        for process in self.webs:
            end(process, signal.SIGKILL)
        self.webs = []

    def kill_workers(self) -> None:
        for process in self.workers:
            end(process, signal.SIGKILL)
        self.workers = []

    def stop_workers(self, *, but: int = 0) -> None:
        """SIGTERM to all but so many of the first, and wait until they have drained."""
        for process in self.workers[but:]:
            process.terminate()
            process.wait(60)
        del self.workers[but:]

    def postgres_pid(self) -> int:
        return int((self.folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])

    def valkey_pid(self) -> int:
        with redis.from_url(self.services.redis_url) as client:
            return int(client.info("server")["process_id"])

    def restart_service(self, pid: int, number: signal.Signals, *, away_s: float = 0.5) -> None:
        os.kill(pid, number)
        until(lambda: not Path(f"/proc/{pid}").exists(), "the server is gone")
        time.sleep(away_s)
        self.services.start()

    def stop(self) -> None:
        for process in (*self.webs, *self.workers):
            end(process, signal.SIGTERM, wait_s=15)
        self.services.stop()

    # what is asked of the database

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.services.database_url, autocommit=True) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type] # our own statements

    def change(self, sql: str, *parameters: Any) -> None:
        with psycopg.connect(self.services.database_url, autocommit=True) as connection:
            connection.execute(sql, parameters)  # type: ignore[arg-type] # our own statements

    def scalar(self, sql: str, *parameters: Any) -> Any:
        return self.rows(sql, *parameters)[0][0]

    def running(self) -> int:
        return int(self.scalar("SELECT count(*) FROM executions_execution WHERE status IN ('queued', 'running')"))

    def running_workflows(self) -> int:
        return int(self.scalar("SELECT count(*) FROM workflows_workflowrun WHERE status IN ('queued', 'running')"))

    def running_evaluations(self) -> int:
        return int(self.scalar("SELECT count(*) FROM evaluations_evaluation WHERE finished_at IS NULL"))

    def settle(self, timeout_s: float = 90) -> None:
        """Until every run and execution has ended and every batch is told of, by whatever the product itself does."""
        until(lambda: not self.running_evaluations(), "every evaluation ends", timeout_s)
        until(lambda: not self.running_workflows(), "every run of a workflow ends", timeout_s)
        until(lambda: not self.running(), "every execution ends", timeout_s)
        until(
            lambda: not self.scalar("SELECT count(*) FROM executions_batch WHERE finished_at IS NULL"),
            "every batch ends",
            timeout_s,
        )

    # what clients do

    def log_in(self, email: str) -> str:
        body = {"email": email, "password": PASSWORD}
        answer = requests.post(self.url("/auth/login"), json=body, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["data"]["access_token"])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1{path}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        return requests.request(
            method,
            self.url(path),
            json=body,
            headers={"Authorization": f"Bearer {self.token}", **{k.replace("_", "-"): v for k, v in headers.items()}},
            timeout=120,
        )

    def data(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.ask(method, path, body, **headers)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()["data"] if answer.content else None

    def make_model(self, model_name: str = "gpt-4o-mini", *, base_url: str = "", fallbacks: Any = ()) -> Json:
        """One that the upstream treats as its name says."""
        number = next(self._names)
        provider = {"name": f"upstream {number}", "kind": "openai", "api_key": "sk-faults"}
        provider_id = self.data("POST", "/providers", {**provider, "base_url": base_url or self.upstream.openai_url})[
            "id"
        ]
        model = {
            "slug": f"model-{number}",
            "provider_id": provider_id,
            "provider_model_name": model_name,
            "fallback_ids": list(fallbacks),
            "input_price_usd": "1.000000",
            "output_price_usd": "2.000000",
            "max_output_tokens": 100,
        }
        made: Json = self.data("POST", "/models", model)
        return made

    def make_prompt(self, model_name: str = "gpt-4o-mini", **options: Any) -> Json:
        """A prompt on a model of its own (see `make_model`); `model` is that model's id."""
        model = self.make_model(model_name, **options)
        slug = f"fault-{next(self._names)}"
        body = {"slug": slug, "name": "Fault", "type": "text", "content": "Hello, {{name}}!"}
        return {**self.data("POST", "/prompts", {**body, "model_id": model["id"]}), "model": model["id"]}

    def make_workflow(self, definition: Json) -> Json:
        """A published one."""
        slug = f"fault-{next(self._names)}"
        body = {"slug": slug, "name": slug, "definition": {"schema_version": 1, **definition}}
        made: Json = self.data("POST", "/workflows", body)
        self.data("POST", f"/workflows/{made['id']}/publish", {})
        return made

    def execute(self, prompt: Json, **body: Any) -> requests.Response:
        return self.ask("POST", f"/prompts/{prompt['id']}/execute", {"variables": {"name": "Ada"}, **body})

    def many(self, number: int, call: Callable[[int], Any]) -> list[Any]:
        """What so many calls at once give; a connection that was lost gives None."""

        def one(index: int) -> Any:
            with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return call(index)
            return None

        with ThreadPoolExecutor(number) as threads:
            return list(threads.map(one, range(number)))


def end(process: subprocess.Popen[bytes], number: signal.Signals, wait_s: float = 10) -> None:
    """The process and its children; those that do not end in time are killed."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(wait_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@contextmanager
def running_stack() -> Iterator[Stack]:
    folder = default_data_dir(ROOT) / f"faults-{os.getpid()}"
    with UpstreamServer() as upstream:
        stack = Stack(folder, upstream)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
            shutil.rmtree(folder, ignore_errors=True)
