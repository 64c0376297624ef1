"""What an A/B test adds to a call: `python -m benchmarks.ab_tests [CALLS]` (2,000 of each kind).

The same prompt twice, one of them under a running test, called in turns on one connection, so that a machine that slows
down does so for both. Units are known after a first round; then new ones. Prints medians, and the assignment alone.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.__main__ import GOALS, prompt_with_model, show
from benchmarks.stack import ROOT, Stack, running_stack

UNITS = 500
ALONE = """
import statistics, time
from apps.prompts.ab_tests.assignment import choose
from apps.prompts.ab_tests.routing import load_live
from apps.prompts.models import Prompt

test = load_live(Prompt.objects.get(slug="bench"))
units = [f"user-{number}" for number in range(500)]
for unit in units:
    choose(test, unit_id=unit, metadata={})
took = []
for unit in units * 20:
    began = time.perf_counter()
    choose(test, unit_id=unit, metadata={})
    took.append(time.perf_counter() - began)
print("alone", statistics.median(took) * 1e6)
"""


@dataclass
class Caller:
    """Executes a prompt on one connection."""

    stack: Stack
    token: str

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.stack.port, timeout=60)

    def execute_ms(self, prompt: dict[str, Any], unit: str) -> float:
        body = json.dumps({"variables": {"name": "Ada"}, "unit_id": unit})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        began = time.perf_counter()
        self._connection.request("POST", f"/api/v1/prompts/{prompt['id']}/execute", body, headers)
        response = self._connection.getresponse()
        content = response.read()
        took_ms = (time.perf_counter() - began) * 1000
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {content[:300]!r}")
        return took_ms


def two_prompts(stack: Stack, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """One under a running test, and its like without one."""
    tested = prompt_with_model(stack, token)
    wish = {"slug": "plain", "name": "Plain", "type": "text", "content": "Hello, {{name}}!"}
    plain = stack.call("POST", "/prompts", {**wish, "model_id": tested["model_id"]}, token)
    stack.call("PUT", f"/prompts/{plain['id']}/labels/production", {"version": 1}, token)
    stack.call("POST", f"/prompts/{tested['id']}/versions", {"content": "Dear {{name}}!"}, token)
    variants = [
        {"name": "control", "is_control": True, "weight": 0.5, "version": 1},
        {"name": "warm", "weight": 0.5, "version": 2},
    ]
    metrics = {"metrics": [{"name": "success", "measure": "success"}], "primary_metric": "success", "min_effect": 0.05}
    wish = {"name": "Bench", "prompt_id": tested["id"], "variants": variants, **metrics}
    test = stack.call("POST", "/ab-tests", wish, token)
    stack.call("POST", f"/ab-tests/{test['id']}/start", {}, token)
    return tested, plain


def in_turns(caller: Caller, tested: dict[str, Any], plain: dict[str, Any], units: list[str]) -> tuple[float, float]:
    """Median milliseconds with and without the test."""
    took: dict[str, list[float]] = {"tested": [], "plain": []}
    for number, unit in enumerate(units):
        kinds = [("tested", tested), ("plain", plain)]
        for kind, prompt in kinds if number % 2 else reversed(kinds):
            took[kind].append(caller.execute_ms(prompt, unit))
    return statistics.median(took["tested"]), statistics.median(took["plain"])


def alone_us(stack: Stack) -> float:
    """Microseconds of one assignment of a known unit, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", ALONE], cwd=ROOT, env={**os.environ, **stack.environment},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return next(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("alone"))


def main(calls: int) -> None:
    with running_stack(WEB_PROCESSES="1") as stack:
        token = stack.log_in()
        tested, plain = two_prompts(stack, token)
        caller = Caller(stack, token)
        known = [f"user-{number % UNITS}" for number in range(calls)]
        in_turns(caller, tested, plain, known[:UNITS])
        with_test, without = in_turns(caller, tested, plain, known)
        show("known units: added to execute, median", with_test - without, "ms", goal=0.3, at_most=True,
             ratio=with_test / without)  # fmt: skip
        print(f"     {with_test:.2f} ms with a test, {without:.2f} ms without")
        fresh, without = in_turns(caller, tested, plain, [f"new-{number}" for number in range(calls // 4)])
        print(f"     new units: {fresh - without:.2f} ms added, {fresh:.2f} ms with a test, {without:.2f} ms without")
        print(f"     assignment alone, a known unit: {alone_us(stack):.1f} µs")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    sys.exit(not all(reached for _, reached in GOALS))
