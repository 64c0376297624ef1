"""What must hold of the database whenever nothing runs. Each check is a query of what is wrong."""

from collections.abc import Mapping

from tests.faults.stack import Stack

_LEDGER = """
SELECT coalesce(sum(e.cost_usd), 0) FROM executions_execution e
WHERE e.organization_id = b.organization_id
  AND date_trunc(b.period, e.created_at AT TIME ZONE 'UTC')::date = s.period_start
  AND (b.scope = 'organization' OR b.scope = 'user' AND e.created_by_id = b.scope_id
       OR b.scope = 'api_key' AND e.api_key_id = b.scope_id OR b.scope = 'prompt' AND e.prompt_id = b.scope_id)
"""
_HELD = """
SELECT j.id, j.task_name FROM procrastinate_jobs j LEFT JOIN procrastinate_workers w ON w.id = j.worker_id
WHERE j.status = 'doing' AND (w.id IS NULL OR w.last_heartbeat < now() - interval '60 s')
"""
_BEGUN = "(SELECT max(e.at) FROM procrastinate_events e WHERE e.job_id = j.id AND e.type = 'started')"
CHECKS = {
    "every execution has ended": (
        "SELECT id, status FROM executions_execution WHERE status NOT IN ('succeeded', 'failed', 'cancelled')"
    ),
    "what succeeded has its answer and one successful try": """
        SELECT e.id FROM executions_execution e JOIN executions_executionpayload p ON p.execution_id = e.id
        WHERE e.status = 'succeeded' AND NOT e.is_cached AND (p.output IS NULL OR (
            SELECT count(*) FROM executions_executionattempt a WHERE a.execution_id = e.id AND a.error_code = '') <> 1)
    """,
    "every result is written once": """
        SELECT e.id FROM executions_execution e
        WHERE e.attempt_count <> (SELECT count(*) FROM executions_executionattempt a WHERE a.execution_id = e.id)
    """,
    "pieces of a stream are numbered without a gap": """
        SELECT execution_id FROM executions_executionevent GROUP BY execution_id
        HAVING max(number) - min(number) + 1 <> count(*) OR min(number) <> 2
    """,
    "what succeeded is paid for": (
        "SELECT id FROM executions_execution WHERE status = 'succeeded' AND provider_model = 'gpt-4o-mini' "
        "AND NOT coalesce(cost_usd, 0) > 0"
    ),
    "what was spent is the sum of the ledger": f"""
        SELECT b.name, s.period_start, s.spent_usd, ({_LEDGER}) FROM executions_budgetspend s
        JOIN executions_budget b ON b.id = s.budget_id WHERE s.spent_usd <> ({_LEDGER})
    """,
    "nothing is reserved": (
        "SELECT budget_id, reserved_usd FROM executions_budgetspend WHERE reserved_usd <> 0 "
        "UNION ALL SELECT budget_id, amount_usd FROM executions_reservation"
    ),
    "no hard budget is overspent": """
        SELECT b.name, s.spent_usd, b.limit_usd FROM executions_budgetspend s
        JOIN executions_budget b ON b.id = s.budget_id WHERE b.is_hard AND s.spent_usd > b.limit_usd
    """,
    "batches count what is there": """
        SELECT b.id FROM executions_batch b WHERE b.row_count <> (
            SELECT count(*) FROM executions_execution e WHERE e.batch_id = b.id)
        OR (SELECT coalesce(sum(c.succeeded), 0) FROM executions_batchcount c WHERE c.batch_id = b.id) <> (
            SELECT count(*) FROM executions_execution e WHERE e.batch_id = b.id AND e.status = 'succeeded')
    """,
    "every run of a workflow has ended": (
        "SELECT id, status FROM workflows_workflowrun WHERE finished_at IS NULL AND status <> 'waiting'"
    ),
    "what waits is waited for": """
        SELECT r.id, r.wake_at FROM workflows_workflowrun r WHERE r.status = 'waiting' AND (
            r.wake_at < now() - interval '15 s' OR r.wake_at IS NULL AND NOT EXISTS (
                SELECT FROM workflows_approval a WHERE a.run_id = r.id AND a.status = 'pending'))
    """,
    "a queued run has a job that comes for it": """
        SELECT r.id FROM workflows_workflowrun r WHERE r.status = 'queued' AND NOT EXISTS (
            SELECT FROM procrastinate_jobs j WHERE j.task_name = 'workflows.run_next' AND j.status = 'todo')
    """,
    "what has ended is held by nobody and asks nobody": """
        SELECT r.id FROM workflows_workflowrun r WHERE r.finished_at IS NOT NULL AND (
            r.lease_expires_at IS NOT NULL OR r.wake_at IS NOT NULL OR EXISTS (
                SELECT FROM workflows_approval a WHERE a.run_id = r.id AND a.status = 'pending'))
    """,
    "events of runs are numbered without a gap": """
        SELECT r.id, r.last_event FROM workflows_workflowrun r LEFT JOIN workflows_runevent e ON e.run_id = r.id
        GROUP BY r.id HAVING (count(e.number), min(e.number), max(e.number)) IS DISTINCT FROM
            (r.last_event::bigint, 1, r.last_event)
    """,
    "runs begin once, and their end is one event, the last one": """
        SELECT id, begins, ends, last FROM (
            SELECT r.*, count(*) FILTER (WHERE e.type = 'run.started') AS begins,
            count(*) FILTER (WHERE e.type IN ('run.succeeded', 'run.failed', 'run.cancelled', 'run.timed_out')) AS ends,
            max(e.type) FILTER (WHERE e.number = r.last_event) AS last
            FROM workflows_workflowrun r JOIN workflows_runevent e ON e.run_id = r.id GROUP BY r.id) run
        WHERE begins <> (fence > 0)::integer OR ends <> (finished_at IS NOT NULL)::integer
        OR finished_at IS NOT NULL AND last <> 'run.' || status
    """,
    "no node has succeeded twice in a run": """
        SELECT run_id, path FROM workflows_workflowstep WHERE status = 'succeeded'
        GROUP BY run_id, path HAVING count(*) > 1
    """,
    "what a run cost is the sum of its steps and of its executions": """
        SELECT id, cost_usd, steps, calls FROM (
            SELECT r.id, r.cost_usd,
            (SELECT coalesce(sum(s.cost_usd), 0) FROM workflows_workflowstep s
                WHERE s.run_id = r.id AND NOT s.is_reused) AS steps,
            (SELECT coalesce(sum(e.cost_usd), 0) FROM executions_execution e WHERE e.workflow_run_id = r.id) AS calls
            FROM workflows_workflowrun r WHERE r.finished_at IS NOT NULL) run
        WHERE cost_usd <> steps OR cost_usd <> calls
    """,
    "evaluations have ended, held by nobody": (
        "SELECT id, status FROM evaluations_evaluation WHERE finished_at IS NULL OR lease_expires_at IS NOT NULL"
    ),
    "evaluations count what is there": """
        SELECT id, cases, scores FROM (
            SELECT v.*,
            (SELECT (count(*), count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'))
                FROM evaluations_evaluationcase c WHERE c.evaluation_id = v.id) AS cases,
            (SELECT (count(*) FILTER (WHERE error_code = ''), count(*) FILTER (WHERE error_code <> ''))
                FROM evaluations_evaluationscore s WHERE s.evaluation_id = v.id) AS scores
            FROM evaluations_evaluation v) e
        WHERE cases <> (case_count::bigint, succeeded_count::bigint, failed_count::bigint)
        OR scores <> (score_count::bigint, score_error_count::bigint)
    """,
    "no evaluation is overspent": (
        "SELECT id FROM evaluations_evaluation WHERE cost_usd + evaluator_cost_usd > budget_usd"
    ),
    "imports have ended, and nothing is left of their files": (
        "SELECT id, status FROM evaluations_datasetimport WHERE finished_at IS NULL OR has_file"
    ),
    "no job has failed": "SELECT id, task_name FROM procrastinate_jobs WHERE status = 'failed'",
    "no job is held by a dead worker for long": f"{_HELD} AND {_BEGUN} < now() - interval '180 s'",
}
# What is only waited for once: the jobs of a dead worker are queued again within two minutes.
LAST_CHECKS = {**CHECKS, "no job is held by a dead worker": _HELD}


def violations(stack: Stack, checks: Mapping[str, str] = CHECKS) -> list[str]:
    found = []
    for name, sql in checks.items():
        rows = stack.rows(sql)
        if rows:
            found.append(f"{name}: {len(rows)} rows, such as {rows[0]}")
    return found
