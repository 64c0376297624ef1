"""What must hold of the database whenever nothing runs. Each check is a query of what is wrong."""

from tests.faults.stack import Stack

_LEDGER = """
SELECT coalesce(sum(e.cost_usd), 0) FROM executions_execution e
WHERE e.organization_id = b.organization_id
  AND date_trunc(b.period, e.created_at AT TIME ZONE 'UTC')::date = s.period_start
  AND (b.scope = 'organization' OR b.scope = 'user' AND e.created_by_id = b.scope_id
       OR b.scope = 'api_key' AND e.api_key_id = b.scope_id OR b.scope = 'prompt' AND e.prompt_id = b.scope_id)
"""
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
    "no job has failed or is held by a dead worker": """
        SELECT j.id, j.task_name, j.status FROM procrastinate_jobs j LEFT JOIN procrastinate_workers w
        ON w.id = j.worker_id
        WHERE j.status = 'failed' OR j.status = 'doing' AND (w.id IS NULL OR w.last_heartbeat < now() - interval '60 s')
    """,
}


def violations(stack: Stack) -> list[str]:
    found = []
    for name, sql in CHECKS.items():
        rows = stack.rows(sql)
        if rows:
            found.append(f"{name}: {len(rows)} rows, such as {rows[0]}")
    return found
