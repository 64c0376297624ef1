"""Load on loopback: `wrk` for throughput, and many waiting connections with exact latencies."""

import asyncio
import json
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any


@dataclass(frozen=True)
class Rate:
    """Requests per second of one run, and how many were not 2xx or 3xx."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def wrk(
    url: str, *, token: str = "", connections: int = 16, seconds: int = 8, body: Any = None, headers: Any = None
) -> Rate:
    """A run of wrk with one thread. A body makes it a POST; `{n}` in it is replaced by a fresh number."""
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in (headers or {}).items()]
    if token:
        lines.append(f'wrk.headers["Authorization"] = "Bearer {token}"')
    if body is not None:
        text = json.dumps(json.dumps(body))
        lines += ['wrk.method = "POST"', 'wrk.headers["Content-Type"] = "application/json"', f"local body = {text}"]
        lines += [
            "local n = 0",
            "request = function()",
            "  n = n + 1",
            f'  local filled = body:gsub("{{n}}", "{time.time_ns()}-" .. tostring(n))',
            "  return wrk.format(nil, nil, nil, filled)",
            "end",
        ]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines) + "\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
        output = subprocess.run([*command, "-s", script.name, url], capture_output=True, text=True, check=True).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    return Rate(
        float(_one(r"Requests/sec:\s+([\d.]+)", output)),
        _milliseconds(_one(r"\n\s+50%\s+(\S+)", output)),
        _milliseconds(_one(r"\n\s+99%\s+(\S+)", output)),
        (int(failed[1]) if failed else 0) + (sum(map(int, sockets.groups())) if sockets else 0),
    )


def _one(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk did not say {pattern}:\n{text}")
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


_STREAM_ENDS = (b"event: execution.completed", b"data: [DONE]")


@dataclass
class Waits:
    """Latencies in milliseconds of calls made at the same time, and the answers by status."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def quantile(self, share: float) -> float:
        return quantiles(self.latencies_ms, n=1000)[int(share * 1000) - 1]


def many_at_once(port: int, path: str, body: Any, token: str, count: int, *, ramp_s: float = 1.0) -> Waits:
    """`count` POSTs, each on its own connection, opened evenly within `ramp_s`; each answer is read to its end."""
    return asyncio.run(_many(port, path, json.dumps(body).encode(), token, count, ramp_s))


async def _many(port: int, path: str, body: bytes, token: str, count: int, ramp_s: float) -> Waits:
    waits = Waits()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n"
    )
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    request = head.encode() + b"\r\n" + body

    async def one(number: int) -> None:
        await asyncio.sleep(ramp_s * number / count)
        started = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = await _read_answer(reader)
            writer.close()
            status = int(answer[9:12]) if answer else 0
        except (OSError, asyncio.IncompleteReadError):
            status, answer = 0, b""
        if b"text/event-stream" in answer and not any(end in answer for end in _STREAM_ENDS):
            status = -1
        waits.statuses[status] = waits.statuses.get(status, 0) + 1
        if 200 <= status < 300:
            waits.latencies_ms.append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(one(number) for number in range(count)))
    return waits


def paced(port: int, path: str, token: str, *, per_second: int, seconds: float) -> Waits:
    """GETs at a steady pace, whether earlier ones were answered or not, each on its own connection."""
    return asyncio.run(_paced(port, path, token, per_second, seconds))


async def _paced(port: int, path: str, token: str, per_second: int, seconds: float) -> Waits:
    waits = Waits()
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"

    async def one(number: int) -> None:
        await asyncio.sleep(number / per_second)
        started = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        answer = await _read_answer(reader)
        writer.close()
        status = int(answer[9:12])
        waits.statuses[status] = waits.statuses.get(status, 0) + 1
        waits.latencies_ms.append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(one(number) for number in range(int(per_second * seconds))))
    return waits


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    """Head and body of one answer, framed by its length or in chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if length:
        return head + await reader.readexactly(int(length[1]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return head + body
