"""One request and the head of its answer (RFC 9112), on a connection of urllib3 that has a socket.

http.client checks and adds up each header by itself and has the parser of e-mails read those of an answer, which took a
twelfth of the processor time of a whole call. Connecting, TLS, pools, and bodies with their decoding are urllib3's.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from http.client import HTTPException, HTTPResponse, InvalidURL, LineTooLong, UnknownProtocol
from typing import Any

from urllib3 import HTTPHeaderDict

USER_AGENT = "everquant"
LONGEST_LINE = 65_536
MOST_HEADERS = 100
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_TARGET = re.compile(r"[^\x21-\x7e]")
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})
_NO_CONTENT, _NOT_MODIFIED, _CONTINUE = 204, 304, 100


def request_bytes(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Head and body in one piece. Raises InvalidURL, and ValueError for a method or headers that cannot be sent."""
    if _NOT_IN_TARGET.search(target) or not target:
        raise InvalidURL("The path holds characters that cannot be sent.")
    given = {_checked_name(name): value for name, value in headers.items()}
    if "transfer-encoding" in given or _TOKEN.fullmatch(method) is None:
        raise ValueError("unknown framing or method")
    defaults = {"host": host, "accept-encoding": "identity", "user-agent": USER_AGENT}
    if body is not None or method.upper() not in _WITHOUT_BODY:
        defaults["content-length"] = str(len(body or b""))
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{_titled(name)}: {value}" for name, value in defaults.items() if name not in given]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(map(_UNSENDABLE.search, lines)):
        raise ValueError("a header holds a line break or another control character")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


@lru_cache(maxsize=256)
def _checked_name(name: str) -> str:
    if _TOKEN.fullmatch(name) is None:
        raise ValueError("not a header's name")
    return name.lower()


@lru_cache(maxsize=8)
def _titled(name: str) -> str:
    return name.title()


class Answer(HTTPResponse):
    """http.client's answer, but for its head. `headers` is a HTTPHeaderDict."""

    headers: Any
    msg: Any

    def begin(self) -> None:
        """Raises HTTPException for what is no head of an answer."""
        status = _CONTINUE
        while status == _CONTINUE:
            protocol, status, reason = self._read_status()  # type: ignore[attr-defined] # http.client's
            self.headers = self.msg = read_headers(self.fp)
        if not protocol.startswith("HTTP/1."):
            raise UnknownProtocol(protocol)
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if protocol == "HTTP/1.0" else 11
        self.chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.length = None if self.chunked else self._told_length()
        if status in {_NO_CONTENT, _NOT_MODIFIED} or status < 200 or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        without_end = not self.chunked and self.length is None
        self.will_close = without_end or self._check_close()  # type: ignore[attr-defined]

    def _told_length(self) -> int | None:
        told, *others = {part.strip() for part in self.headers.get("content-length", "").split(",")}
        if others:
            raise HTTPException("more than one length")
        return int(told) if told.isascii() and told.isdigit() else None


def read_headers(lines: Any) -> HTTPHeaderDict:
    """Up to the empty line. Raises HTTPException for what are no headers, LineTooLong."""
    headers: list[tuple[str, str]] = []
    while len(headers) <= MOST_HEADERS:
        line: bytes = lines.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise LineTooLong("header line")
        if line in {b"\r\n", b"\n", b""}:
            return HTTPHeaderDict(headers)
        name, colon, value = line.decode("latin-1").partition(":")
        if headers and name[:1] in {" ", "\t"}:  # a folded line
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.decode('latin-1').strip()}")
        elif not colon or _TOKEN.fullmatch(name) is None:
            raise HTTPException("not a header")
        else:
            headers.append((name, value.strip()))
    raise HTTPException(f"got more than {MOST_HEADERS} headers")
