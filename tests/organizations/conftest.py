import base64
import hashlib
import hmac
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.db import connection

from apps.organizations.models import EventType, WebhookEndpoint
from tests.project.test_worker import start  # noqa: F401 (a fixture)

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"taken"
    headers: dict[str, str] = field(default_factory=dict)
    is_silent: bool = False


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """A real HTTP server that keeps what it gets; `script` says how it answers, then it takes everything."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.script: deque[Answer] = deque()
        self.stopping = threading.Event()
        self.arrived = threading.Semaphore(0)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=lambda: self._server.serve_forever(0.01), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?of=acme"

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                receiver.arrived.release()
                answer = receiver.script.popleft() if receiver.script else Answer()
                if answer.is_silent:
                    receiver.stopping.wait(30)
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # the sender need not read it all
                    self.wfile.write(answer.body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.stop()


@pytest.fixture
def empty_queue(transactional_db: Any) -> Iterator[None]:
    """For tests that commit: Django empties its own tables only."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs CASCADE")


MakeEndpoint = Callable[..., WebhookEndpoint]


@pytest.fixture
def make_endpoint() -> MakeEndpoint:
    def make(organization: Any, **values: Any) -> WebhookEndpoint:
        given = {"name": "ci", "url": "http://127.0.0.1:9/hook", "event_types": [EventType.EXECUTION_COMPLETED]}
        endpoint = WebhookEndpoint(organization=organization, **{**given, **values})
        endpoint.set_secret(SECRET)
        endpoint.save()
        return endpoint

    return make


def verifies(received: Received, secret: str) -> bool:
    """Whether one of the signatures is made with the secret, by the specification and not by our code."""
    signed = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    key = base64.b64decode(secret.partition("_")[2])
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(part == f"v1,{expected}" for part in received.headers["webhook-signature"].split(" "))
