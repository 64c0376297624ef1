"""Workers that die, drain and run out of money in the middle of evaluations."""

from collections import Counter
from decimal import Decimal

from tests.faults.registry import fault
from tests.faults.stack import LEASE_S, Json, Stack, until
from tests.upstream import Behaviour

ITEMS = 80


def _start(stack: Stack, **more: object) -> Json:
    """An evaluation of a prompt on so many items, with two metrics."""
    prompt = stack.make_prompt()
    dataset = stack.data("POST", "/datasets", {"slug": f"set-{prompt['slug']}", "name": "Set"})
    items = [{"input": {"name": f"n{number}"}, "expected": "Hello"} for number in range(ITEMS)]
    stack.data("POST", f"/datasets/{dataset['id']}/items", {"items": items})
    evaluators = []
    for kind in ("exact_match", "json_valid"):
        slug = f"{kind.replace('_', '-')}-{prompt['slug']}"
        stack.data("POST", "/evaluators", {"slug": slug, "name": slug, "kind": kind})
        evaluators.append({"evaluator": slug})
    body = {"dataset": dataset["slug"], "subjects": [{"prompt": prompt["slug"]}], "evaluators": evaluators, **more}
    made: Json = stack.data("POST", "/evaluations", body)
    return made


def _done(stack: Stack, evaluation: Json) -> int:
    sql = "SELECT succeeded_count FROM evaluations_evaluation WHERE id = %s"
    return int(stack.scalar(sql, evaluation["id"]))


def _status(stack: Stack, evaluation: Json) -> tuple[str, str]:
    [found] = stack.rows("SELECT status, error_code FROM evaluations_evaluation WHERE id = %s", evaluation["id"])
    return found[0], found[1]


def _until_ended(stack: Stack, evaluation: Json, timeout_s: float = 60) -> None:
    until(lambda: _status(stack, evaluation)[0] not in {"queued", "running"}, "the evaluation ends", timeout_s)


def _calls(stack: Stack) -> Counter[str]:
    """How often the provider was asked under each key."""
    return Counter(request.headers["idempotency-key"] for request in list(stack.upstream.requests))


def _check(stack: Stack, evaluation: Json) -> None:
    """Each case has one execution of its own that succeeded, all its scores, and the costs add up."""
    assert _status(stack, evaluation) == ("succeeded", ""), _status(stack, evaluation)
    cases = stack.rows(
        "SELECT c.execution_id, c.status, e.status, (SELECT count(*) FROM evaluations_evaluationscore s "
        "WHERE s.case_id = c.id) FROM evaluations_evaluationcase c JOIN executions_execution e "
        "ON e.id = c.execution_id WHERE c.evaluation_id = %s",
        evaluation["id"],
    )
    assert len({case[0] for case in cases}) == len(cases) == ITEMS, len(cases)
    assert {case[1:] for case in cases} == {("succeeded", "succeeded", 2)}, Counter(case[1:] for case in cases)
    made = stack.scalar(
        "SELECT count(*) FROM executions_execution WHERE source = 'evaluation' AND created_at >= "
        "(SELECT created_at FROM evaluations_evaluation WHERE id = %s)",
        evaluation["id"],
    )
    assert made == ITEMS, made
    [(cost, total, counted)] = stack.rows(
        "SELECT v.cost_usd, (SELECT sum(e.cost_usd) FROM executions_execution e JOIN evaluations_evaluationcase c "
        "ON c.execution_id = e.id WHERE c.evaluation_id = v.id), v.succeeded_count FROM evaluations_evaluation v "
        "WHERE v.id = %s",
        evaluation["id"],
    )
    assert cost == total > Decimal(0), (cost, total)
    assert counted == ITEMS, counted


@fault("kill -9 of a worker in the middle of an evaluation")
def worker_killed(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(delay_s=0.3))
    evaluation = _start(stack)
    until(lambda: _done(stack, evaluation) > 10, "some cases are done")
    stack.kill_workers()
    running = stack.running()
    stack.start_worker()
    _until_ended(stack, evaluation, LEASE_S + 90)
    _check(stack, evaluation)
    again = [key for key, count in _calls(stack).items() if count > 1]
    assert len(again) <= running, (len(again), running)
    return f"{running} calls were under way; {len(again)} were asked for again, under their keys; each case has one"


@fault("SIGTERM of a worker in the middle of an evaluation")
def worker_drained(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(delay_s=0.3))
    evaluation = _start(stack)
    until(lambda: _done(stack, evaluation) > 10, "some cases are done")
    stack.stop_workers()
    assert _status(stack, evaluation)[0] == "queued", _status(stack, evaluation)
    done = _done(stack, evaluation)
    stack.start_worker()
    _until_ended(stack, evaluation)
    _check(stack, evaluation)
    assert set(_calls(stack).values()) == {1}, _calls(stack).most_common(3)
    return f"handed over with {done} of {ITEMS} cases done; no call was made twice"


@fault("an evaluation runs out of its budget, and goes on with a larger one")
def out_of_budget(stack: Stack) -> str:
    evaluation = _start(stack, budget_usd="0.001")
    _until_ended(stack, evaluation)
    assert _status(stack, evaluation) == ("failed", "BUDGET_EXCEEDED"), _status(stack, evaluation)
    spent = stack.scalar("SELECT cost_usd FROM evaluations_evaluation WHERE id = %s", evaluation["id"])
    assert Decimal(0) < spent <= Decimal("0.001"), spent
    done = _done(stack, evaluation)
    stack.data("PATCH", f"/evaluations/{evaluation['id']}", {"budget_usd": "10"})
    stack.data("POST", f"/evaluations/{evaluation['id']}/resume", {})
    _until_ended(stack, evaluation)
    _check(stack, evaluation)
    assert stack.upstream.request_count == ITEMS, stack.upstream.request_count
    return f"stopped after {done} cases and {spent} USD; the others came with the next budget"
