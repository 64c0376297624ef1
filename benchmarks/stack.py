"""The real stack as separate processes on loopback, with data of its own, for as long as a benchmark runs."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everquant.embedded import default_data_dir

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "benchmark password 1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, path: str, deadline_s: float = 60) -> float:
    """Seconds until a 200 came; raises TimeoutError."""
    started = time.perf_counter()
    while time.perf_counter() - started < deadline_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return time.perf_counter() - started
        time.sleep(0.01)
    raise TimeoutError(f"nothing answers on port {port}")


@contextlib.contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a group of its own; the whole group ends with the block."""
    child = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def memory_mib(group: int) -> float:
    """Memory of a process group: private pages, and each shared page counted once in all (PSS)."""
    total = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                rollup = (entry / "smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


@dataclass(frozen=True)
class Stack:
    """The running product: `port` of its web, `group` of its web processes, `start_s` until the first answer."""

    port: int
    upstream_port: int
    group: int
    start_s: float
    idle_mib: float
    environment: dict[str, str]

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """One call of the API; its `data`. Raises RuntimeError on anything but a 2xx."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {content[:500]!r}")
        return json.loads(content)["data"] if content else None

    def log_in(self) -> str:
        answer = self.call("POST", "/auth/login", {"email": "admin@example.com", "password": PASSWORD})
        return str(answer["access_token"])


@contextlib.contextmanager
def running_stack(
    *, upstream_delay_ms: int = 0, upstream_options: tuple[str, ...] = (), **environment: str
) -> Iterator[Stack]:
    """PostgreSQL, Valkey, web and an upstream that answers after a delay; all of it gone after the block."""
    with data_folder() as folder:
        port, upstream_port = free_port(), free_port()
        env = {
            "EVERQUANT_DATA_DIR": str(folder),
            "ALLOW_PRIVATE_PROVIDER_URLS": "true",
            "DEMO_PASSWORD": PASSWORD,
            "PORT": str(port),
            "LOG_LEVEL": "INFO",
            **environment,
        }
        upstream = [sys.executable, "-m", "tests.upstream", "--port", str(upstream_port)]
        with process(*upstream, "--delay-ms", str(upstream_delay_ms), *upstream_options), services(env):
            for command in ("migrate", "create_demo"):
                subprocess.run(
                    [sys.executable, "manage.py", command], cwd=ROOT, env={**os.environ, **env}, check=True,
                    stdout=subprocess.DEVNULL,
                )  # fmt: skip
            with process(sys.executable, "manage.py", "web", "--port", str(port), **env) as web:
                start_s = wait_for(port, "/healthz")
                time.sleep(1)
                yield Stack(port, upstream_port, web.pid, start_s, memory_mib(web.pid), env)


@contextlib.contextmanager
def data_folder() -> Iterator[Path]:
    """A place that the embedded servers' user can enter, emptied afterwards."""
    folder = default_data_dir(ROOT) / f"benchmark-{os.getpid()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def services(env: dict[str, str]) -> Iterator[None]:
    """Hold the embedded services of this data directory for the time of the block."""
    holder = (
        "import os,sys;os.environ['DJANGO_SETTINGS_MODULE']='everquant.settings'\n"
        "from django.conf import settings\n"
        "with settings.EMBEDDED:\n"
        "    print('up', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", holder],
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    if child.stdout is None or child.stdout.readline().strip() != b"up":
        raise RuntimeError("the embedded services did not start")
    try:
        yield
    finally:
        child.communicate(timeout=60)
