"""Clients that do not send their bodies, against the real server with few threads."""

import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPResponse

import pytest
import requests

from tests.executions.test_processes import answers, environment, kill
from tests.project.processes import wait_until

THREADS = 4
LOGIN = b'{"email": "nobody@acme.example", "password": "correct horse"}'


@pytest.fixture(scope="module")
def port(django_db_setup) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "web", "--port", str(port)],
        env={**environment(), "WEB_THREADS": str(THREADS)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(port), "the server answers")
        yield port
    finally:
        kill(process)


def begin(port: int, path: str, sent: bytes) -> socket.socket:
    """A request whose body is not sent to its end."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
    client.sendall(f"{head}\r\nContent-Length: {len(LOGIN)}\r\n\r\n".encode() + sent)
    return client


def status_of(client: socket.socket) -> int:
    with closing(HTTPResponse(client)) as answer:
        answer.begin()
        return answer.status


@pytest.mark.django_db(transaction=True)
def test_slow_bodies_hold_half_of_the_threads_until_their_clients_leave(port: int) -> None:
    """What holds (docs/decisions/0007): beyond the half a body is refused, reads go on, a leaving client frees one."""
    login = f"http://127.0.0.1:{port}/api/v1/auth/login"

    def log_in() -> int:
        headers = {"Content-Type": "application/json"}
        return requests.post(login, data=LOGIN, headers=headers, timeout=10).status_code

    def begin_slowly() -> socket.socket:
        return begin(port, "/api/v1/auth/login", LOGIN[:1])

    def is_full() -> bool:
        """One that came while a further body was read was refused itself, and comes again."""
        for answered in select.select(slow, [], [], 0)[0]:
            answered.close()
            slow[slow.index(answered)] = begin_slowly()
        return log_in() == HTTPStatus.SERVICE_UNAVAILABLE

    slow = [begin_slowly() for _ in range(THREADS // 2)]
    try:
        wait_until(is_full, "a further body is refused")
        assert requests.get(f"http://127.0.0.1:{port}/api/v1/prompts", timeout=5).status_code == 401
    finally:
        for client in slow:
            client.close()
    wait_until(lambda: log_in() == HTTPStatus.UNAUTHORIZED, "bodies are read again")


@pytest.mark.django_db(transaction=True)
def test_a_body_that_nobody_reads_holds_no_thread(port: int) -> None:
    """Who is not signed in is refused before the body is read."""
    silent = [begin(port, "/api/v1/prompts", b"{") for _ in range(2 * THREADS)]
    try:
        for client in silent:
            assert status_of(client) == HTTPStatus.UNAUTHORIZED
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).ok
    finally:
        for client in silent:
            client.close()
