"""`python -m benchmarks.streams [COUNT]` (1,000): so many streams at once, of five seconds each.

Prints how many came to their end, what the product adds to the median of the same streams read from the upstream
directly, and the memory of web.
"""

import sys
import threading

from benchmarks.__main__ import GOALS, prompt_with_model, show
from benchmarks.load import many_at_once
from benchmarks.stack import Stack, memory_mib, running_stack

WORDS = 21
INTERVAL_MS = 250
RAMP_S = 5.0
DIRECT = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hello, Ada!"}]}


def streams(stack: Stack, token: str, count: int) -> None:
    prompt = prompt_with_model(stack, token)
    path, body = f"/api/v1/prompts/{prompt['id']}/execute", {"variables": {"name": "Ada"}, "stream": True}
    direct = many_at_once(stack.upstream_port, "/v1/chat/completions", DIRECT, "sk", count, ramp_s=RAMP_S)
    many_at_once(stack.port, path, body, token, count // 4, ramp_s=RAMP_S)
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], memory_mib(stack.group))

    watching = threading.Thread(target=watch)
    watching.start()
    seen = many_at_once(stack.port, path, body, token, count, ramp_s=RAMP_S)
    done.set()
    watching.join()
    show(f"{count} streams of 5 s: came to their end", seen.statuses.get(200, 0), "", goal=count)
    if seen.latencies_ms and direct.latencies_ms:
        added = seen.quantile(0.5) - direct.quantile(0.5)
        print(f"     direct median {direct.quantile(0.5):.0f} ms; added {added:.0f} ms, "
              f"ratio {seen.quantile(0.5) / direct.quantile(0.5):.3f}")  # fmt: skip
    print(f"     web memory in all: {peak[0]:.0f} MiB; answers {seen.statuses}")


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    text = " ".join(["word"] * WORDS)
    # Each stream holds a thread of the server's and one of its own.
    threads = {"WEB_THREADS": str(count), "WEB_PROCESSES": "2"}
    with running_stack(upstream_options=("--interval-ms", str(INTERVAL_MS), "--text", text), **threads) as stack:
        streams(stack, stack.log_in(), count)
    return 0 if all(reached for _, reached in GOALS) else 1


if __name__ == "__main__":
    sys.exit(main())
