"""What is written and read by hand in place of http.client is what http.client would write and read."""

import io
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPResponse, InvalidURL, LineTooLong
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everquant.network.exchange import LONGEST_LINE, MOST_HEADERS, Answer, request_bytes

NAMES = st.from_regex(r"X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)


class Wire:
    """A socket that keeps what it is sent and answers what it was given."""

    def __init__(self, answer: bytes = b"") -> None:
        self.sent = b""
        self.answer = answer

    def sendall(self, data: bytes) -> None:
        self.sent += bytes(data)

    def makefile(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO(self.answer)

    def close(self) -> None:
        pass


def by_http_client(method: str, target: str, headers: dict[str, str], body: bytes | None) -> bytes:
    connection = HTTPConnection("model.example", 8080)
    wire: Any = Wire()
    connection.sock = wire
    connection.request(method, target, body, {"User-Agent": "everquant", **headers})
    return bytes(wire.sent)


def parts(request: bytes) -> tuple[bytes, list[bytes], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    return line, sorted(headers, key=bytes.lower), body


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20),
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.binary(max_size=30) | st.none(),
)
def test_requests_are_those_of_http_client(method, path, headers, body):
    target = f"/{path}"
    ours = request_bytes(method, target, "model.example:8080", headers, body)
    assert parts(ours) == parts(by_http_client(method, target, headers, body))


def test_headers_of_the_caller_go_before_our_own():
    text = request_bytes("POST", "/", "a.example", {"Host": "b.example", "user-agent": "mine"}, b"{}").decode()
    assert (text.lower().count("host:"), text.lower().count("user-agent:")) == (1, 1)
    assert "b.example" in text
    assert text.endswith("Host: b.example\r\nuser-agent: mine\r\n\r\n{}")


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X": "a\rb"}, {"X": "a\0b"}, {"X": "a\x7fb"}, {"X": "snow \N{SNOWMAN}"},
        {"X Y": "a"}, {"X:": "a"}, {"X\r\nY": "a"}, {"": "a"}, {"\N{SNOWMAN}": "a"}, {"Transfer-Encoding": "chunked"},
    ],
    ids=repr,
)  # fmt: skip
def test_headers_that_cannot_be_sent(headers):
    with pytest.raises(ValueError):  # noqa: PT011 (which one is its caller's affair)
        request_bytes("POST", "/", "a.example", headers, b"")


@pytest.mark.parametrize("method", ["", "GET /x", "GET\r\n", "G\N{SNOWMAN}T"], ids=repr)
def test_methods_that_cannot_be_sent(method):
    with pytest.raises(ValueError):  # noqa: PT011
        request_bytes(method, "/", "a.example", {}, None)


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nHost: b", "/\x00", "/\x7f", "/\N{SNOWMAN}"], ids=repr)
def test_targets_that_cannot_be_sent(target):
    with pytest.raises(InvalidURL):
        request_bytes("GET", target, "a.example", {}, None)


def read(kind: type[HTTPResponse], answer: bytes, method: str) -> dict[str, Any]:
    wire: Any = Wire(answer)
    response = kind(wire, method=method)
    response.begin()
    told = ("status", "reason", "version", "chunked", "length", "will_close")
    return {
        **{name: getattr(response, name) for name in told},
        "headers": {name.lower(): response.headers.get(name) for name in response.headers},
        "body": response.read(),
    }


HEADS = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200\r\ncontent-length:2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 500 Internal Server Error\r\nX-A:  spaced\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "HTTP/1.1 200 OK\r\nX-Name: \xe9\r\nContent-Length: 0\r\n\r\n",
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("answer", HEADS, ids=repr)
def test_heads_are_read_as_by_http_client(answer, method):
    content = answer.encode("latin-1")
    assert read(Answer, content, method) == read(HTTPResponse, content, method)


def test_folded_and_repeated_headers():
    answer = b"HTTP/1.1 200 OK\r\nX: a \r\n  b\r\nY: 1\r\ny: 2\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}"
    found = read(Answer, answer, "GET")
    assert found["headers"] == {"x": "a b", "y": "1, 2", "content-length": "2, 2"}
    assert (found["length"], found["body"]) == (2, b"{}")


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"no colon here\r\n", HTTPException),
        (b": no name\r\n", HTTPException),
        (b"two words: a\r\n", HTTPException),
        (b" folded first: a\r\n", HTTPException),
        (b"Content-Length: 1\r\nContent-Length: 2\r\n", HTTPException),
        (b"X: " + b"a" * LONGEST_LINE + b"\r\n", LineTooLong),
        (b"X: a\r\n" * (MOST_HEADERS + 1), HTTPException),
    ],
    ids=["no-colon", "no-name", "two-words", "folded-first", "two-lengths", "long", "many"],
)
def test_heads_that_are_none(head, error):
    with pytest.raises(error):
        read(Answer, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", "GET")


@pytest.mark.parametrize("line", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc OK\r\n", b"HTTP/2 200 OK\r\n\r\n"], ids=repr)
def test_first_lines_that_are_none(line):
    with pytest.raises((BadStatusLine, HTTPException, ConnectionError)):
        read(Answer, line, "GET")
