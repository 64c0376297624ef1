"""Against the real server in a process of its own: killed in the middle of a call, left by clients, short of
connections; and a database that drops every connection while a call is under way."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from urllib.parse import quote

import orjson
import pytest
import requests
from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.executions.models import INTERRUPTED, Execution, Status
from apps.executions.sweeping import fail_interrupted
from tests.executions.conftest import EXECUTIONS, PROMPTS
from tests.project.processes import wait_until
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db(transaction=True)
POOL_SIZE = 2
BODY = {"variables": {"name": "Ada"}}


def environment() -> dict[str, str]:
    """Of a server on the database and cache of this test process."""
    database = connection.settings_dict
    host, port = database["HOST"], database["PORT"]
    place = f"/{database['NAME']}?host={quote(host)}" if host.startswith("/") else f"{host}:{port}/{database['NAME']}"
    return {
        **os.environ,
        "ENVIRONMENT": "test",
        "DATABASE_URL": f"postgresql://{quote(database['USER'])}:{quote(database['PASSWORD'])}@{place}",
        "REDIS_URL": settings.CACHES["default"]["LOCATION"],
        "SECRET_KEY": settings.SECRET_KEY,
        "JWT_SECRET": ",".join(settings.JWT_SECRETS),
        "ENCRYPTION_KEYS": ",".join(settings.ENCRYPTION_KEYS),
        "ALLOW_PRIVATE_PROVIDER_URLS": "true",
        "DJANGO_SETTINGS_MODULE": "everquant.settings",
        "WEB_PROCESSES": "1",
        "WEB_THREADS": "64",
        "DB_MAX_OPEN_CONNS": str(POOL_SIZE),
    }


@contextmanager
def running_server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "manage.py", "web", "--port", str(port)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: answers(port), "the server answers")
        yield f"http://127.0.0.1:{port}", process
    finally:
        kill(process)


def answers(port: int) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).ok
    return False


def kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def post_in_vain(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.post(url, json=BODY, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def server(django_db_setup):
    with running_server() as (url, _):
        yield url


@pytest.fixture
def headers(editor):
    return {"Authorization": editor.client.defaults["HTTP_AUTHORIZATION"]}


def test_killed_in_the_middle_of_a_call(make_prompt, make_model, upstream, headers, editor, django_db_setup):
    make_model("fault-stall-before", is_default=True)
    prompt = make_prompt()
    path = f"{PROMPTS}/{prompt['id']}/execute"
    headers["Idempotency-Key"] = "k-1"
    with running_server() as (url, process):
        call = threading.Thread(target=post_in_vain, args=(url + path, headers))
        call.start()
        upstream.wait_for(lambda server: server.request_count == 1)
        kill(process)
        call.join(10)
    row = Execution.objects.get()
    assert row.status == Status.RUNNING
    assert row.lease_expires_at > timezone.now()
    assert fail_interrupted() == 0

    Execution.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert fail_interrupted() == 1
    recorded = editor.client.get(f"{EXECUTIONS}/{row.id}").json()["data"]
    assert (recorded["status"], recorded["error"]["code"]) == ("failed", INTERRUPTED)
    again = editor.client.post(path, BODY, headers={"Idempotency-Key": "k-1"})
    assert again.status_code == 503
    assert again.json()["error"]["details"]["execution_id"] == str(row.id)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "wait"])
def test_a_client_that_hangs_up_is_charged_for_the_whole_answer(
    server, make_prompt, make_model, upstream, headers, stream
):
    upstream.answer_always(Behaviour(text="one two three four", interval_s=0.1, delay_s=0.2))
    make_model(is_default=True)
    prompt = make_prompt()
    body = orjson.dumps({**BODY, "stream": stream})
    head = f"POST {PROMPTS}/{prompt['id']}/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Authorization: {headers['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
    address = server.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=10) as client:
        client.sendall(head.encode() + body)
        received = b""
        while stream and b"execution.started" not in received:
            received += client.recv(4096)
        upstream.wait_for(lambda upstream: upstream.request_count == 1)
    wait_until(lambda: Execution.objects.filter(status=Status.SUCCEEDED).exists(), "the answer is recorded")
    row = Execution.objects.select_related("payload").get()
    assert row.payload.output == "one two three four"
    assert (row.is_streamed, row.output_tokens) == (stream, 7)
    assert row.cost_usd > 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "wait"])
def test_forty_calls_wait_at_once_over_two_connections(server, make_prompt, make_model, headers, stream):
    make_model("fault-delay-500", is_default=True)
    url = f"{server}{PROMPTS}/{make_prompt()['id']}/execute"

    def call(_):
        answer = requests.post(url, json={**BODY, "stream": stream}, headers=headers, timeout=30)
        return answer.status_code, "You said: Hello, Ada!" in answer.text

    with ThreadPoolExecutor(40) as threads:
        assert set(threads.map(call, range(40))) == {(200, True)}
    spans = list(Execution.objects.values_list("started_at", "finished_at"))
    together = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert together > 4 * POOL_SIZE


def test_every_connection_lost_while_a_call_is_under_way(server, make_prompt, make_model, upstream, headers):
    upstream.answer_always(Behaviour(delay_s=0.5))
    make_model(is_default=True)
    url = f"{server}{PROMPTS}/{make_prompt()['id']}/execute"
    answers_: list[requests.Response] = []
    call = threading.Thread(target=lambda: answers_.append(requests.post(url, json=BODY, headers=headers, timeout=30)))
    call.start()
    upstream.wait_for(lambda server: server.request_count == 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    # this process has lost its own too, and its pool would find out one by one, ever more slowly
    connection.pool.check()
    call.join(30)
    assert answers_[0].status_code == 200, answers_[0].text
    assert Execution.objects.get().status == Status.SUCCEEDED


def test_without_redis_executions_go_on(execute, prompt, redis_away):
    assert execute(prompt)["status"] == "succeeded"
    assert execute(prompt)["status"] == "succeeded"
