"""What leaves for other servers and comes back, over sockets of our own pools; of adapters see tests/models."""

import socket
import threading
from collections.abc import Callable

import pytest

from apps.models.providers.cancellation import Cancellation
from everquant.network.connections import POOL_HOSTS, Deadline, give_back, pool_for, post, read_limited, send

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[int], bytes]


class Server:
    """Answers each request with the next of `answers` (the last one again and again), and keeps what it was sent."""

    def __init__(self, *answers: bytes, closes: bool = False) -> None:
        self._answers, self._closes = list(answers), closes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.messages: list[bytes] = []
        self.opened = 0
        self.ended = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.opened += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as received:
            while head := b"".join(iter(received.readline, b"\r\n")) if received.peek(1) else b"":
                length = next((int(x.split(b":")[1]) for x in head.splitlines() if x.startswith(b"Content-Length")), 0)
                self.messages.append(head + received.read(length))
                connection.sendall(self._answers[0] if len(self._answers) == 1 else self._answers.pop(0))
                if self._closes:
                    break
        self.ended.release()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve(request):
    def make(*answers, closes=False):
        server = Server(*(answers or (OK,)), closes=closes)
        request.addfinalizer(server.close)
        return server

    return make


def pool_of(server, purpose="test"):
    return pool_for(scheme="http", host="127.0.0.1", port=server.port, allow_private=True, purpose=purpose)


def deadline():
    return Deadline(total_s=10, connect_s=5)


def called(server, **options):
    """The body of an answer that is read to its end."""
    response = send(
        pool_of(server), options.pop("method", "POST"), "/path?x=1",
        **{"body": b"{}", "headers": {}, "deadline": deadline(), **options},
    )  # fmt: skip
    try:
        return read_limited(response, 1000)
    finally:
        give_back(response)


def test_a_message_says_once_what_it_has_to(serve):
    server = serve()
    assert called(server, headers={"Content-Type": "application/json", "X-Key": "ä"}) == b"ok"
    head = f"POST /path?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept-Encoding: identity\r\n"
    rest = "Content-Length: 2\r\nContent-Type: application/json\r\nX-Key: ä\r\n"
    assert server.messages == [(head + rest).encode("latin-1") + b"{}"]


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("DELETE", None), ("POST", b"0"), ("PATCH", b"0")])
def test_only_what_may_have_a_body_tells_the_length_of_none(serve, method, length):
    server = serve()
    called(server, method=method, body=None)
    said = [line.split(b": ")[1] for line in server.messages[0].splitlines() if line.startswith(b"Content-Length")]
    assert said == ([] if length is None else [length])


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/x", "X-Key", "a\r\nHost: elsewhere"),
        ("/x", "X-Key", "a\nHost: elsewhere"),
        ("/x", "X-Key: a\r\nHost", "elsewhere"),
        ("/x", "X:Key", "a"),
        ("/x", "", "a"),
        ("/x", "X-Key", "€"),
        ("/x HTTP/1.1\r\nHost: elsewhere", "X-Key", "a"),
        ("/a b", "X-Key", "a"),
        ("", "X-Key", "a"),
    ],
    ids=["crlf", "lf", "crlf-name", "colon", "no-name", "not-latin", "crlf-path", "space", "no-path"],
)
def test_what_would_be_read_as_something_else_is_not_sent(serve, path, name, value):
    server = serve()
    with pytest.raises(ValueError, match=r"cannot be sent|can't encode"):
        post(pool_of(server), path, body=b"", headers={name: value}, deadline=deadline())
    assert server.opened == 0


def test_a_connection_is_used_again_after_a_whole_answer(serve):
    server = serve(OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", OK)
    assert [called(server) for _ in range(3)] == [b"ok"] * 3
    assert server.opened == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
    ],
    ids=["close", "http-1.0", "unread"],
)
def test_no_other_connection_is_used_again(serve, answer):
    server = serve(answer, OK)
    called(server)
    assert server.ended.acquire(timeout=5)
    assert called(server) == b"ok"
    assert server.opened == 2


def test_a_kept_connection_that_was_closed_is_not_used(serve):
    server = serve(OK, closes=True)
    for number in (1, 2):
        assert called(server) == b"ok"
        assert server.ended.acquire(timeout=5)
        assert server.opened == number


def test_an_answer_that_comes_before_all_was_sent_is_read():
    """As of a server that refuses what is too large."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        pool = pool_for(scheme="http", host="127.0.0.1", port=port, allow_private=True, purpose="test")
        response = post(pool, "/", body=b"x" * 3_000_000, headers={}, deadline=deadline())
        give_back(response)
        thread.join(5)
    assert response.status == 413


def test_a_folded_header_is_one_line(serve):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: one\r\n  two\r\nX-Twice: a\r\nX-Twice: b\r\n\r\n")
    response = post(pool_of(server), "/", body=b"", headers={}, deadline=deadline())
    give_back(response)
    assert (response.headers["x-long"], response.headers["x-twice"]) == ("one two", "a, b")


class _Cancellable(Deadline):
    __slots__ = ("cancellation",)

    def apply_to(self, connection):
        self.cancellation.hold(connection)
        super().apply_to(connection)


def test_cancelling_a_call_that_is_over_leaves_its_connection_to_others(serve):
    server = serve()
    first = _Cancellable(total_s=10, connect_s=5)
    first.cancellation = Cancellation()
    called(server, deadline=first)
    first.cancellation.request()
    assert called(server) == b"ok"
    assert server.opened == 1


def test_the_host_that_was_called_longest_ago_keeps_no_connections(serve):
    server = serve()
    pool = pool_of(server, "test-many")
    give_back_all = [post(pool, "/", body=b"", headers={}, deadline=deadline()) for _ in range(2)]
    for response in give_back_all:
        read_limited(response, 10)
        give_back(response)
    for port in range(1, POOL_HOSTS + 1):
        pool_for(scheme="http", host="elsewhere.example", port=port, allow_private=True, purpose="test-many")
    assert all(server.ended.acquire(timeout=5) for _ in range(2))
    read_limited(post(pool, "/", body=b"", headers={}, deadline=deadline()), 10)
    assert server.opened == 3
    pool.close()
    assert server.ended.acquire(timeout=5)
