"""Speed of the API: `python -m benchmarks [PART ...]`, parts: start, reads, execute, budgets, waiting.

Everything runs on this machine at once: load, web, PostgreSQL, Valkey and the upstream. Each figure is printed with its
ratio to a plain reference of the same run; those in requests per second to plain answers of the same seconds. Needs
`wrk`.
"""

import contextlib
import http.client
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from benchmarks.load import Rate, Waits, many_at_once, paced, wrk
from benchmarks.stack import Stack, free_port, memory_mib, process, running_stack, wait_for

# As in a steady state of 500 waiting calls of 2 s: 250 arrive a second.
RAMP_S = 2.0
READS_PER_SECOND = 50
LIMITS = ("max_concurrency", "requests_per_minute", "tokens_per_minute")
# Plain answers a second of the two cores for which the goals in requests per second were set. Where there are fewer, a
# goal is also given as a ratio to them.
PLAIN_OF_GOALS = 12_000
GOALS: list[tuple[str, bool]] = []


def show(name: str, value: float, unit: str, *, goal: float, at_most: bool = False, ratio: float | None = None) -> None:
    reached = value <= goal if at_most else value >= goal
    GOALS.append((name, reached))
    sign = "≤" if at_most else "≥"
    against = f"   ratio {ratio:.3f}" if ratio is not None else ""
    print(
        f"{'ok  ' if reached else 'MISS'} {name:<52} {value:>9.1f} {unit:<4} (goal {sign} {goal:g}){against}",
        flush=True,
    )


class Plain:
    """The reference: a trivial Django answer with the product's server settings."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/"

    def compare(self, name: str, rate: Callable[[], Rate], goal: float) -> None:
        """Show a rate beside that of plain answers right before and right after it."""
        before, found, after = wrk(self._url, seconds=3), rate(), wrk(self._url, seconds=3)
        plain = (before.per_second + after.per_second) / 2
        show(name, found.per_second, "/s", goal=goal, ratio=found.per_second / plain)
        print(f"       plain answers: {plain:.0f} per second; the goal's ratio: {goal / PLAIN_OF_GOALS:.3f}")
        if failed := found.failed + before.failed + after.failed:
            print(f"       {failed} failed")


@contextlib.contextmanager
def plain_answers() -> Iterator[Plain]:
    port = free_port()
    granian = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(port), "--workers", "2"]
    options = ["--blocking-threads", "256", "--no-ws", "--log-level", "warning", "benchmarks.plain:application"]
    with process(*granian, *options):
        wait_for(port, "/")
        yield Plain(port)


def prompt_with_model(stack: Stack, token: str) -> dict[str, Any]:
    """A prompt labelled production on a model of the loopback upstream."""
    provider = stack.call(
        "POST",
        "/providers",
        {
            "name": "upstream",
            "kind": "openai",
            "base_url": f"http://127.0.0.1:{stack.upstream_port}/v1",
            "api_key": "sk-benchmark",
        },
        token,
    )
    model = stack.call(
        "POST", "/models", {"slug": "bench", "provider_id": provider["id"], "provider_model_name": "gpt-4o-mini"}, token
    )
    content = "Hello, {{name}}!"
    body = {"slug": "bench", "name": "Bench", "type": "text", "content": content, "model_id": model["id"]}
    prompt = stack.call("POST", "/prompts", body, token)
    stack.call("PUT", f"/prompts/{prompt['id']}/labels/production", {"version": 1}, token)
    return dict(prompt)


def start(stack: Stack, token: str, plain: Plain) -> None:
    show("start to first healthy answer", stack.start_s, "s", goal=2, at_most=True)
    show("web memory after start, all processes", stack.idle_mib, "MiB", goal=300, at_most=True)
    show("web memory after start, one process", stack.idle_mib / 2, "MiB", goal=150, at_most=True)


def reads(stack: Stack, token: str, plain: Plain) -> None:
    prompt = prompt_with_model(stack, token)
    base = f"http://127.0.0.1:{stack.port}/api/v1"

    def measure(name: str, goal: float, url: str, **options: Any) -> None:
        plain.compare(name, lambda: wrk(url, token=token, **options), goal)

    hot = f"{base}/prompts/by-slug/bench?label=production"
    etag = etag_of(stack, "/api/v1/prompts/by-slug/bench?label=production", token)
    measure("hot read by slug and label", 3000, hot)
    quoted = etag.replace('"', '\\"')
    measure("hot read, 304", 4000, hot, headers={"If-None-Match": quoted})
    measure("read by id", 1000, f"{base}/prompts/{prompt['id']}")
    for number in range(30):
        stack.call("POST", "/prompts", {"slug": f"list-{number}", "name": "L", "type": "text", "content": "x"}, token)
    measure("list of 20", 700, f"{base}/prompts?per_page=20")
    body = {"slug": "new-{n}", "name": "New", "type": "text", "content": "Hello, {{name}}!"}
    measure("create prompt and version", 500, f"{base}/prompts", body=body)


def etag_of(stack: Stack, path: str, token: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    return connection.getresponse().headers["ETag"]


def execute(stack: Stack, token: str, plain: Plain) -> None:
    prompt = prompt_with_model(stack, token)
    path = f"/api/v1/prompts/{prompt['id']}/execute"
    upstream = f"http://127.0.0.1:{stack.upstream_port}/v1/chat/completions"
    direct_body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello, Ada!"}]}
    url = f"http://127.0.0.1:{stack.port}{path}"
    body = {"variables": {"name": "Ada"}}
    wrk(url, token=token, body=body, connections=4, seconds=2)
    one_direct = wrk(upstream, token="sk-benchmark", body=direct_body, connections=1, seconds=5)
    one = wrk(url, token=token, body=body, connections=1, seconds=5)
    show("execute, 0 ms upstream, added at concurrency 1", one.p50_ms - one_direct.p50_ms, "ms", goal=6, at_most=True)
    if one.failed:
        print(f"       {one.failed} failed")
    many_direct = wrk(upstream, token="sk-benchmark", body=direct_body)
    plain.compare("execute, 0 ms upstream, 16 connections", lambda: wrk(url, token=token, body=body), 400)
    print(f"       direct calls: {many_direct.per_second:.0f} per second, {many_direct.failed} failed")


def budgets(stack: Stack, token: str, plain: Plain) -> None:
    """The same call without any checks, with two budgets, and with all limits of its model too.

    In turns, so that a machine that slows down does so for all.
    """
    prompt = prompt_with_model(stack, token)
    model = f"/models/{prompt['model_id']}"
    stack.call("PATCH", model, {"input_price_usd": "0.15", "output_price_usd": "0.6"}, token)
    url = f"http://127.0.0.1:{stack.port}/api/v1/prompts/{prompt['id']}/execute"
    body = {"variables": {"name": "Ada"}}
    wishes = [
        {"name": f"{scope} {period}", "scope": scope, "scope_id": scope_id, "period": period, "limit_usd": "1000000"}
        for scope, scope_id, period in (("organization", None, "month"), ("prompt", prompt["id"], "day"))
    ]
    made = [stack.call("POST", "/billing/budgets", wish, token)["id"] for wish in wishes]
    wrk(url, token=token, body=body, connections=4, seconds=2)
    rates: dict[tuple[int, str], list[Rate]] = {}
    for connections in (1, 16):
        for checks in ("none", "budgets", "budgets and limits") * 3:
            for budget_id in made:
                stack.call("PATCH", f"/billing/budgets/{budget_id}", {"is_active": checks != "none"}, token)
            stack.call("PATCH", model, dict.fromkeys(LIMITS, 10**9 if "limits" in checks else None), token)
            rate = wrk(url, token=token, body=body, connections=connections, seconds=3)
            rates.setdefault((connections, checks), []).append(rate)
            if rate.failed:
                print(f"     {rate.failed} failed")
    medians = {key: statistics.median(rate.p50_ms for rate in found) for key, found in rates.items()}
    per_second = {key: statistics.median(rate.per_second for rate in found) for key, found in rates.items()}
    for checks in ("budgets", "budgets and limits"):
        show(f"{checks} add at the median, 1 connection", medians[1, checks] - medians[1, "none"], "ms", goal=1.5,
             at_most=True, ratio=medians[1, checks] / medians[1, "none"])  # fmt: skip
    for key, median_ms in medians.items():
        print(f"     {key[1]:18}, {key[0]:>2} connections: {median_ms:.2f} ms, {per_second[key]:.0f} per second")


def waiting(stack: Stack, token: str, plain: Plain) -> None:
    prompt = prompt_with_model(stack, token)
    path = f"/api/v1/prompts/{prompt['id']}/execute"
    direct_body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello, Ada!"}]}
    direct = many_at_once(stack.upstream_port, "/v1/chat/completions", direct_body, "sk-benchmark", 500, ramp_s=RAMP_S)
    # As after a minute of traffic: threads are there, pools are open, prices are loaded.
    for stream in (False, True):
        many_at_once(stack.port, path, {"variables": {"name": "Ada"}, "stream": stream}, token, 500, ramp_s=RAMP_S)
    for name, body in (
        ("500 executes of 2 s", {"variables": {"name": "Ada"}}),
        ("500 streams of 2 s", {"variables": {"name": "Ada"}, "stream": True}),
    ):
        peak = [0.0]
        watch = threading.Thread(target=_watch_memory, args=(stack, peak))
        watch.start()
        with ProcessPoolExecutor(1) as readers:
            reading = readers.submit(_reads_meanwhile, stack.port, token)
            waits = many_at_once(stack.port, path, body, token, 500, ramp_s=RAMP_S)
            reads_meanwhile = reading.result()
        watch.join()
        show(f"{name}: succeeded", waits.statuses.get(200, 0), "", goal=500)
        if waits.latencies_ms:
            added = waits.quantile(0.5) - direct.quantile(0.5)
            show(f"{name}: added latency, median", added, "ms", goal=150, at_most=True,
                 ratio=waits.quantile(0.5) / direct.quantile(0.5))  # fmt: skip
        show(f"{name}: web memory in all", peak[0], "MiB", goal=400, at_most=True)
        for label, reads_waits in reads_meanwhile.items():
            show(f"{name}: {label} meanwhile, p99", reads_waits.quantile(0.99), "ms", goal=150, at_most=True)
    beyond = many_at_once(stack.port, path, {"variables": {"name": "Ada"}}, token, 900, ramp_s=0.5)
    print(f"     900 at once: {beyond.statuses}")
    show("beyond the bulkhead: only 200 and 503", beyond.statuses.get(200, 0) + beyond.statuses.get(503, 0), "",
         goal=900)  # fmt: skip
    show("beyond the bulkhead: refused with 503", beyond.statuses.get(503, 0), "", goal=1)


def _watch_memory(stack: Stack, peak: list[float]) -> None:
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        peak[0] = max(peak[0], memory_mib(stack.group))
        time.sleep(0.5)


def _reads_meanwhile(port: int, token: str) -> dict[str, Waits]:
    """In a process of its own, so that the load of the executes does not delay its clock: 100 reads a second."""
    base = "/api/v1/prompts"
    paths = {"hot read": f"{base}/by-slug/bench?label=production", "list": f"{base}?per_page=20"}
    with ThreadPoolExecutor(len(paths)) as threads:
        started = {
            name: threads.submit(paced, port, path, token, per_second=READS_PER_SECOND, seconds=2 * RAMP_S)
            for name, path in paths.items()
        }
        return {name: reading.result() for name, reading in started.items()}


PARTS: dict[str, tuple[Callable[[Stack, str, Plain], None], int, dict[str, str]]] = {
    "start": (start, 0, {}),
    "reads": (reads, 0, {}),
    "execute": (execute, 0, {}),
    "budgets": (budgets, 0, {}),
    "waiting": (waiting, 2000, {"WEB_THREADS": "400", "WEB_PROCESSES": "2"}),
}


def main() -> int:
    wanted = sys.argv[1:] or list(PARTS)
    for name in wanted:
        part, delay_ms, environment = PARTS[name]
        print(f"\n{name}")
        with plain_answers() as plain, running_stack(upstream_delay_ms=delay_ms, **environment) as stack:
            part(stack, stack.log_in(), plain)
    missed = [name for name, reached in GOALS if not reached]
    print(f"\n{len(GOALS) - len(missed)} of {len(GOALS)} goals reached" + "".join(f"\n  missed: {m}" for m in missed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
