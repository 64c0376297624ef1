"""Processes that die or go away."""

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.faults.registry import fault
from tests.faults.stack import LEASE_S, Json, Stack, until
from tests.upstream import Behaviour

ROWS = 120


def _budgeted(stack: Stack, model: str = "gpt-4o-mini") -> Json:
    """A prompt under a hard budget that is far from its limit."""
    prompt = stack.make_prompt(model)
    budget = {"name": f"of {prompt['slug']}", "scope": "prompt", "scope_id": prompt["id"], "period": "month"}
    stack.data("POST", "/billing/budgets", {**budget, "limit_usd": "100.000000"})
    return prompt


def _states(stack: Stack, prompt: Json) -> Counter[str]:
    rows = stack.rows("SELECT status, error_code FROM executions_execution WHERE prompt_id = %s", prompt["id"])
    return Counter(f"{status} {code}".strip() for status, code in rows)


def _batch(stack: Stack, prompt: Json) -> Json:
    rows = [{"variables": {"name": f"row {number}"}} for number in range(ROWS)]
    batch: Json = stack.data("POST", "/executions/batch", {"prompt_id": prompt["id"], "rows": rows})
    return batch


@fault("kill -9 of web in the middle of calls and streams")
def web_killed(stack: Stack) -> str:
    prompt = _budgeted(stack)
    stack.upstream.answer_always(Behaviour(text="one two three", delay_s=30))
    path, body = f"/prompts/{prompt['id']}/execute", {"variables": {"name": "Ada"}}
    with ThreadPoolExecutor(1) as threads:
        calls = threads.submit(
            stack.many,
            10,
            lambda index: stack.ask("POST", path, {**body, "stream": index % 2 == 1}, Idempotency_Key=f"key-{index}"),
        )
        until(lambda: _states(stack, prompt)["running"] == 10, "all ten run")
        stack.kill_web()
        lost = calls.result().count(None)
    stack.upstream.reset()
    stack.start_web()
    stack.settle(LEASE_S + 70)
    states = _states(stack, prompt)
    assert states == {"failed INTERRUPTED": 10}, states
    again = stack.ask("POST", path, {**body, "stream": False}, Idempotency_Key="key-0")
    assert again.status_code == 503, again.text
    return f"{lost} clients lost, ten INTERRUPTED by the sweep, reservations released; a repeated key is told"


@fault("kill -9 of a worker in the middle of a batch")
def worker_killed(stack: Stack) -> str:
    prompt = _budgeted(stack)
    stack.upstream.answer_always(Behaviour(delay_s=0.4))
    batch = _batch(stack, prompt)
    until(lambda: _states(stack, prompt)["succeeded"] > 10, "some rows are done")
    stack.kill_workers()
    running = _states(stack, prompt)["running"]
    stack.start_worker()
    stack.settle(LEASE_S + 130)
    states = _states(stack, prompt)
    assert states.total() == ROWS, states
    assert states["failed INTERRUPTED"] == running, (states, running)
    assert states["succeeded"] == ROWS - running, states
    again = stack.data("POST", f"/executions/batches/{batch['id']}/retry")
    stack.settle()
    assert again["row_count"] == running, again
    return f"{running} of {ROWS} rows were INTERRUPTED, the others went on; their retry succeeded"


@fault("SIGTERM of a worker in the middle of a batch")
def worker_drained(stack: Stack) -> str:
    prompt = _budgeted(stack)
    stack.upstream.answer_always(Behaviour(delay_s=0.4))
    _batch(stack, prompt)
    until(lambda: _states(stack, prompt)["succeeded"] > 10, "some rows are done")
    stack.stop_workers()
    handed_back = _states(stack, prompt)["queued"]
    assert _states(stack, prompt)["running"] == 0, _states(stack, prompt)
    stack.start_worker()
    stack.settle()
    assert _states(stack, prompt) == {"succeeded": ROWS}, _states(stack, prompt)
    return f"what ran was finished, {handed_back} rows stayed queued and went on with the next worker"


@fault("SIGTERM of a worker whose calls outlast the drain")
def worker_drained_in_vain(stack: Stack) -> str:
    """Rows that wait for an answer are handed back; a stream that has begun is kept as far as it came."""
    prompt = _budgeted(stack)
    stack.stop_workers()
    stack.start_worker(WORKER_DRAIN_S="1", WORKER_CONCURRENCY="4")
    stack.upstream.answer_always(Behaviour(delay_s=60))
    batch = _batch(stack, prompt)
    until(lambda: stack.upstream.request_count, "rows wait for their answers")
    stack.stop_workers()
    stack.upstream.reset()
    states = _states(stack, prompt)
    assert states == {"queued": ROWS}, states
    tried = stack.scalar("SELECT count(*) FROM executions_executionattempt WHERE error_code = 'INTERRUPTED'")
    stack.start_worker(WORKER_CONCURRENCY="4")
    stack.settle()
    assert _states(stack, prompt) == {"succeeded": ROWS}, _states(stack, prompt)
    counts = stack.data("GET", f"/executions/batches/{batch['id']}")["counts"]
    assert counts["succeeded"] == ROWS, counts
    return f"{tried} calls were stopped and handed back, and all {ROWS} rows succeeded with the next worker"


@fault("PostgreSQL restarts under calls, streams and a batch")
def database_restarted(stack: Stack) -> str:
    return _database_gone(stack, signal.SIGINT)


@fault("PostgreSQL is killed under calls, streams and a batch")
def database_killed(stack: Stack) -> str:
    return _database_gone(stack, signal.SIGQUIT)


def _database_gone(stack: Stack, number: signal.Signals) -> str:
    prompt = _budgeted(stack)
    stack.upstream.answer_always(Behaviour(text="one two three", delay_s=1))
    _batch(stack, prompt)
    with ThreadPoolExecutor(1) as threads:
        calls = threads.submit(stack.many, 40, lambda index: stack.execute(prompt, stream=index % 2 == 1))
        until(lambda: stack.upstream.request_count >= 60, "calls are under way")
        stack.restart_service(stack.postgres_pid(), number)
        statuses = Counter(answer.status_code if answer is not None else 0 for answer in calls.result())
    assert set(statuses) <= {200, 503}, statuses
    stack.settle(LEASE_S + 130)
    states = _states(stack, prompt)
    assert states["succeeded"] >= statuses[200], (states, statuses)
    return f"answers {dict(statuses)}; executions {dict(states)}"


@fault("Valkey is killed, executions go on, and it comes back")
def cache_gone(stack: Stack) -> str:
    prompt = _budgeted(stack)
    pid = stack.valkey_pid()
    with ThreadPoolExecutor(1) as threads:
        restart = threads.submit(stack.restart_service, pid, signal.SIGKILL, away_s=3)
        answers = [stack.execute(prompt) for _ in range(30)]
        restart.result()
    answers += [stack.execute(prompt) for _ in range(5)]
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: 35}, statuses
    slowest = max(answer.elapsed.total_seconds() for answer in answers)
    return f"35 answers, the slowest after {slowest:.1f} s"


@fault("an organization's webhook leads into the private network")
def private_receiver(stack: Stack) -> str:
    for url in ("https://127.0.0.1:9/hook", "https://localhost/hook", "https://169.254.169.254/latest"):
        hook = {"name": "inside", "url": url, "event_types": ["execution.completed"]}
        refused = stack.ask("POST", "/webhooks", hook)
        assert refused.status_code == 400, refused.text
        assert "url" in refused.json()["error"]["details"], refused.text
    return "refused when it is saved, with the field named"
