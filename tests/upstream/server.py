"""The server: one thread, one event loop, HTTP/1.1 with keep-alive."""

import asyncio
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import orjson

from tests.upstream import protocols
from tests.upstream.behaviour import FOREVER_S, STEP_S, Behaviour, named_behaviour

_REASONS = {200: b"OK"}
REFUSED_KEY = "sk-refused-0123456789"


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """`headers` have lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int


class UpstreamServer:
    """`url` is its root. Start it in a `with`, or call `start` and `stop`."""

    def __init__(
        self,
        *,
        port: int = 0,
        default: Behaviour | None = None,
        records: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._port = port
        self._default = default or Behaviour()
        self._records = records
        self._tls = tls
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self.requests: list[RecordedRequest] = []
        self.request_count = 0
        self.connections_opened = 0
        self.open_connections: set[int] = set()
        self.seen: Counter[str] = Counter()
        self._script: deque[Behaviour | str] = deque()
        self.transports: set[asyncio.Transport] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def script(self, steps: Iterable[Behaviour | str]) -> None:
        """The next answers in order, each a Behaviour or a `fault-…` name; after them the request's model decides."""
        self._script = deque(steps)

    def reset(self) -> None:
        self._script = deque()
        self._default = Behaviour()
        self.requests = []
        self.request_count = 0
        self.seen.clear()

    def answer_always(self, behaviour: Behaviour) -> None:
        """Until `reset`, for every request that neither the script nor its model's name decides."""
        self._default = behaviour

    def wait_for(self, condition: Callable[[Self], bool], timeout_s: float = 5.0) -> None:
        """Until `condition(server)` holds, looked at whenever a request or a connection comes or goes."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout_s):
                raise AssertionError("what was waited for did not happen")

    def wait_until_last_is_closed(self) -> None:
        """Until the connection of the last request is closed by its client."""
        number = self.requests[-1].connection
        self.wait_for(lambda server: number not in server.open_connections)

    def start(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="upstream", daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the upstream did not start")
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await self._loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self._port, ssl=self._tls, backlog=2048
        )
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for transport in list(self.transports):
            transport.abort()
        for _ in range(10):  # the turns of the loop in which transports close
            await asyncio.sleep(0)

    def behaviour_for(self, request: Any) -> Behaviour:
        model = str(request.get("model", "")) if isinstance(request, dict) else ""
        seen_before = self.seen[model]
        self.seen[model] += 1
        if self._script:
            step = self._script.popleft()
            return step if isinstance(step, Behaviour) else named_behaviour(step, 0)
        return named_behaviour(model, seen_before) if model.startswith("fault-") else self._default

    def note_request(self, request: RecordedRequest) -> None:
        with self._changed:
            self.request_count += 1
            if self._records:
                self.requests.append(request)
            self._changed.notify_all()

    def note_opened(self) -> int:
        with self._changed:
            self.connections_opened += 1
            self.open_connections.add(self.connections_opened)
            self._changed.notify_all()
            return self.connections_opened

    def note_closed(self, number: int) -> None:
        with self._changed:
            self.open_connections.discard(number)
            self._changed.notify_all()


class _Connection(asyncio.Protocol):
    def __init__(self, server: UpstreamServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.transports.add(transport)
        self._number = self._server.note_opened()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.transports.discard(self._transport)
        self._server.note_closed(self._number)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._take_request()

    def _take_request(self) -> None:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        first, *lines = bytes(self._buffer[:head_end]).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        end = head_end + 4 + int(headers.get("content-length", 0))
        if len(self._buffer) < end:
            return
        body = bytes(self._buffer[head_end + 4 : end])
        del self._buffer[:end]
        method, path, _ = first.split(" ")
        request = RecordedRequest(method, path, headers, orjson.loads(body) if body else None, self._number)
        self._server.note_request(request)
        self._answer(request)

    def _answer(self, request: RecordedRequest) -> None:
        behaviour = self._server.behaviour_for(request.body)
        status, parts, is_stream = _answer_parts(request, behaviour)
        head = _head(status, parts, behaviour, is_stream=is_stream)
        if is_stream:
            parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]
        if behaviour.is_plain:
            self._transport.write(head + b"".join(parts))
            if self._buffer:
                self._take_request()
            return
        self._task = asyncio.get_running_loop().create_task(self._answer_slowly(behaviour, head, parts, is_stream))

    async def _answer_slowly(self, behaviour: Behaviour, head: bytes, parts: list[bytes], is_stream: bool) -> None:
        await asyncio.sleep(behaviour.delay_s)
        if behaviour.hang_up:
            self._transport.abort()
            return
        if behaviour.slow_headers:
            await self._drip(head)
        if behaviour.stall_before_token:
            await self._stall(head if is_stream else b"", is_stream)
        self._transport.write(head)
        if behaviour.drip:
            await self._drip(b"".join(parts))
        elif is_stream:
            await self._send_stream(behaviour, parts)
        else:
            body = b"".join(parts)
            self._transport.write(body[: len(body) // 2] if behaviour.cut or behaviour.stall_after_token else body)
            if behaviour.stall_after_token:
                await asyncio.sleep(FOREVER_S)
        if behaviour.cut:
            self._transport.close()
        self._task = None
        self._take_request()

    async def _send_stream(self, behaviour: Behaviour, parts: list[bytes]) -> None:
        half = max(len(parts) // 2, 2)
        for number, part in enumerate(parts):
            if number == half and behaviour.cut:
                return
            if number == half and behaviour.stall_after_token:
                await self._stall(b"", is_stream=True)
            self._transport.write(part)
            if behaviour.interval_s:
                await asyncio.sleep(behaviour.interval_s)

    async def _stall(self, head: bytes, is_stream: bool) -> None:
        """A stream is kept warm by comments, which are no tokens."""
        self._transport.write(head)
        stop_at = time.monotonic() + FOREVER_S
        while time.monotonic() < stop_at:
            await asyncio.sleep(STEP_S)
            if is_stream:
                self._transport.write(b"8\r\n: wait\n\n\r\n")

    async def _drip(self, data: bytes) -> None:
        for byte in data:
            self._transport.write(bytes([byte]))
            await asyncio.sleep(STEP_S)


def _head(status: int, parts: list[bytes], behaviour: Behaviour, *, is_stream: bool) -> bytes:
    head = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Status"))
    head += b"x-request-id: req_1\r\nrequest-id: req_1\r\n"
    if behaviour.retry_after:
        head += b"Retry-After: %b\r\n" % behaviour.retry_after.encode()
    for name, value in behaviour.headers.items():
        head += f"{name}: {value}\r\n".encode()
    if is_stream:
        return head + b"Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % sum(map(len, parts))


def _answer_parts(request: RecordedRequest, behaviour: Behaviour) -> tuple[int, list[bytes], bool]:
    """Status, the parts of the body, and whether they are a stream's events."""
    error = protocols.anthropic_error if request.path == "/v1/messages" else protocols.openai_error
    status, message = _refusal(request) or (behaviour.status, behaviour.message)
    if status != 200:
        return status, [orjson.dumps(error(status, message or f"The upstream answers {status}."))], False
    if request.path == "/v1/models":
        return 200, [b'{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"o"}]}'], False
    if request.body.get("stream"):
        return 200, _streamed_parts(request, behaviour), True
    return 200, [behaviour.raw_body or orjson.dumps(_whole_answer(request, behaviour))], False


def _whole_answer(request: RecordedRequest, behaviour: Behaviour) -> dict[str, Any]:
    if request.path == "/v1/embeddings":
        return protocols.openai_embeddings(request.body)
    answer = protocols.Answer(request.body, behaviour)
    return (
        protocols.anthropic_message(answer) if request.path == "/v1/messages" else protocols.openai_completion(answer)
    )


def _streamed_parts(request: RecordedRequest, behaviour: Behaviour) -> list[bytes]:
    if behaviour.raw_body is not None:
        return [b"data: " + behaviour.raw_body + b"\n\n"]
    answer = protocols.Answer(request.body, behaviour)
    if request.path == "/v1/messages":
        return list(protocols.anthropic_events(answer))
    include_usage = bool((request.body.get("stream_options") or {}).get("include_usage"))
    return list(protocols.openai_events(answer, include_usage=include_usage))


def _refusal(request: RecordedRequest) -> tuple[int, str] | None:
    """What the real providers would refuse, with the key in the text as one of them does."""
    headers, body = request.headers, request.body
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if key == REFUSED_KEY:
        return 401, f"Incorrect API key provided: {key}."
    if request.path == "/v1/models":
        return None
    if request.path not in _CHECKS or request.method != "POST":
        return 404, f"Unknown request URL: {request.method} {request.path}."
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return 400, "you must provide a model parameter"
    needed = "input" if request.path == "/v1/embeddings" else "messages"
    if not body.get(needed):
        return 400, f"{needed}: Field required"
    return _CHECKS[request.path](headers, body)


def _anthropic_refusal(headers: dict[str, str], body: Any) -> tuple[int, str] | None:
    version = headers.get("anthropic-version")
    if version not in {"2023-06-01", "2026-10-21"}:
        return 400, "anthropic-version: header is required"
    if version == "2026-10-21":
        for name in ("temperature", "top_p", "top_k"):
            if name in body:
                return 400, f"{name}: Extra inputs are not permitted"
    if not isinstance(body.get("max_tokens"), int):
        return 400, "max_tokens: Field required"
    roles = {message["role"] for message in body["messages"]} - {"user", "assistant", "system"}
    return (400, f"messages: Unexpected role {roles.pop()!r}") if roles else None


_CHECKS: dict[str, Callable[[dict[str, str], Any], tuple[int, str] | None]] = {
    "/v1/chat/completions": lambda _headers, _body: None,
    "/v1/embeddings": lambda _headers, _body: None,
    "/v1/messages": _anthropic_refusal,
}
