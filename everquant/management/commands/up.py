"""`manage.py up`: all of EverQuant on this machine, until Ctrl-C."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from everquant.embedded import EmbeddedError
from everquant.embedded.guardian import die_with_parent
from everquant.management.commands.web import allow_many_files, share_memory, web_command

HEALTHY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.1
LOGINS = ("admin@example.com", "editor@example.com", "viewer@example.com")


class Child(NamedTuple):
    name: str
    process: "subprocess.Popen[bytes]"


class Command(BaseCommand):
    help = "Start database, cache, web and worker, with a demo organization; Ctrl-C ends all of it."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (PORT)")
        parser.add_argument("--no-worker", action="store_true", help="web only; background jobs wait")

    def handle(self, *_args: Any, port: int, no_worker: bool, **_options: Any) -> None:
        refuse_taken_port(settings.WEB_HOST, port)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        children: list[Child] = []
        failed = ""
        try:
            logins = self._prepare()
            allow_many_files()
            share_memory()
            os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(self._empty_metrics_dir()))
            children.append(start("web", web_command(port), port))
            if not no_worker:
                worker = [sys.executable, str(settings.BASE_DIR / "manage.py"), "worker"]
                children.append(start("worker", worker, port))
            wait_until_healthy(port, children)
            self._greet(port, logins)
            failed = watch(children)
        except KeyboardInterrupt:
            self.stdout.write("\nStopping.")
        except EmbeddedError as error:
            failed = str(error)
        finally:
            stop(children)
            if settings.EMBEDDED is not None:
                settings.EMBEDDED.stop()
        if failed:
            raise CommandError(failed)

    def _prepare(self) -> list[tuple[str, str]]:
        """Services, tables and demo data, whose logins it returns; leaves no connection or thread of the pool."""
        if settings.EMBEDDED is not None:
            self.stdout.write(f"Data: {settings.DATA_DIR}")
            settings.EMBEDDED.start()
        call_command("migrate", interactive=False, verbosity=0)
        call_command("create_demo")
        logins = demo_logins()
        for connection in connections.all(initialized_only=True):
            connection.close()
            if hasattr(connection, "close_pool"):
                connection.close_pool()
        return logins

    def _empty_metrics_dir(self) -> Path:
        """Where the processes of this run add up their metrics; those of an earlier run would count again."""
        path = Path(settings.DATA_DIR) / "metrics"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def _greet(self, port: int, logins: list[tuple[str, str]]) -> None:
        base = f"http://localhost:{port}"
        lines = [
            "",
            "EverQuant is running. Ctrl-C ends it.",
            f"  API    {base}/api/v1",
            f"  Docs   {base}/api/docs",
            f"  Admin  {base}/admin",
            "",
            "Log in with:",
            *(f"  {email:<20} {password}" for email, password in logins),
            "",
        ]
        self.stdout.write("\n".join(lines))
        self.stdout.flush()


def demo_logins() -> list[tuple[str, str]]:
    """E-mail and password of the demo's people; DEMO_PASSWORD may have come or gone since they were made."""
    kept = Path(settings.DATA_DIR) / "demo-password"
    known = [settings.DEMO_PASSWORD, kept.read_text().strip() if kept.exists() else ""]
    users = get_user_model().objects.filter(email__in=LOGINS).in_bulk(field_name="email")
    return [
        (email, next((word for word in known if word and users[email].check_password(word)), "(was changed)"))
        for email in LOGINS
        if email in users
    ]


def refuse_taken_port(host: str, port: int) -> None:
    """The web server shares a port with a second copy of itself without a word (SO_REUSEPORT); better to say it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise CommandError(
            f"Port {port} on {host} cannot be used ({error.strerror}): end what uses it, or choose another, "
            f"for example PORT={port + 1 if port < 65535 else 8080} make up"
        ) from error


def start(name: str, command: list[str], port: int) -> Child:
    """Start a child that hears no Ctrl-C of the terminal (we tell it), ends when we are killed, and keeps the
    embedded services for as long as it lives."""
    services = settings.EMBEDDED
    process = subprocess.Popen(  # noqa: S603 (our own programs)
        command,
        cwd=settings.BASE_DIR,
        env={**os.environ, "PORT": str(port)},
        start_new_session=True,
        pass_fds=services.lock_fds if services else (),
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (no thread runs: the pool was closed)
    )
    return Child(name, process)


def wait_until_healthy(port: int, children: list[Child]) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.WEB_HOST, settings.WEB_HOST)  # noqa: S104
    deadline = time.monotonic() + HEALTHY_TIMEOUT_S
    while not _is_healthy(host, port):
        if ended := ended_child(children):
            raise CommandError(ended)
        if time.monotonic() > deadline:
            raise CommandError(f"web does not answer on port {port} after {HEALTHY_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)


def _is_healthy(host: str, port: int) -> bool:
    with closing(http.client.HTTPConnection(host, port, timeout=5)) as connection:
        try:
            connection.request("GET", "/healthz", headers={"Host": f"localhost:{port}"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def ended_child(children: list[Child]) -> str:
    """What to say about a child that has ended; empty while all live."""
    for name, process in children:
        if (code := process.poll()) is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            return f"{name} {how}; its last lines are above. The rest was stopped."
    return ""


def watch(children: list[Child]) -> str:
    """Wait until a child ends, and tell which; KeyboardInterrupt comes through."""
    while not (ended := ended_child(children)):
        time.sleep(POLL_S)
    return ended


def stop(children: list[Child]) -> None:
    """SIGTERM to all, SIGKILL to whole groups after STOP_TIMEOUT_S or at a second Ctrl-C."""
    deadline = time.monotonic() + STOP_TIMEOUT_S

    def give_up(_number: int, _frame: FrameType | None) -> None:
        nonlocal deadline
        deadline = 0.0

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, give_up)
    for _, process in children:
        if process.poll() is None:
            process.terminate()
    while any(process.poll() is None for _, process in children) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for _, process in children:
        _kill_group(process.pid)
        process.wait()


def _kill_group(leader: int) -> None:
    """What is left of a child's own group: a web server that was killed leaves its processes."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
