"""The one place where reservations end and spending grows, which no path that ends an execution can pass by.

A statement trigger sees all rows that one statement has changed, so that it locks budgets in one order, as reserving
does, and the two never wait for each other in a circle. The shared advisory lock makes it wait for a budget of the
organization that is just being made (see apps.executions.budgets.services): either its ledger is summed up with this
end in it, or this end finds the budget.

What an execution adds is its cost now less its cost before, if it had ended before: so repricing is settled as well.
"""

from django.db import migrations

SETTLE = """
CREATE FUNCTION executions_settle_budgets() RETURNS trigger LANGUAGE plpgsql AS $settle$
BEGIN
    IF NOT EXISTS (SELECT FROM now_rows WHERE status IN ('succeeded', 'failed', 'cancelled')) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(7305202, hashtext(organization_id::text))
    FROM (SELECT DISTINCT organization_id FROM now_rows ORDER BY organization_id) AS organizations;

    WITH ended AS (
        SELECT n.id, n.organization_id, n.created_by_id, n.api_key_id, n.prompt_id,
               n.created_at AT TIME ZONE 'UTC' AS made_at,
               coalesce(n.cost_usd, 0)
               - CASE WHEN o.status IN ('succeeded', 'failed', 'cancelled') THEN coalesce(o.cost_usd, 0) ELSE 0 END
               AS added_usd
        FROM now_rows n JOIN old_rows o ON o.id = n.id
        WHERE n.status IN ('succeeded', 'failed', 'cancelled')
          AND (o.status NOT IN ('succeeded', 'failed', 'cancelled') OR n.cost_usd IS DISTINCT FROM o.cost_usd)
    ),
    released AS (
        DELETE FROM executions_reservation r USING ended e WHERE r.execution_id = e.id
        RETURNING r.budget_id, r.period_start, r.amount_usd
    ),
    change AS (
        SELECT budget_id, period_start, sum(added_usd) AS added_usd, sum(released_usd) AS released_usd
        FROM (
            SELECT b.id AS budget_id, date_trunc(b.period, e.made_at)::date AS period_start, e.added_usd,
                   0 AS released_usd
            FROM ended e JOIN executions_budget b
              ON b.organization_id = e.organization_id
             AND date_trunc(b.period, e.made_at) >= date_trunc(b.period, b.created_at AT TIME ZONE 'UTC')
             AND (b.scope = 'organization'
                  OR b.scope = 'user' AND b.scope_id = e.created_by_id
                  OR b.scope = 'api_key' AND b.scope_id = e.api_key_id
                  OR b.scope = 'prompt' AND b.scope_id = e.prompt_id)
            UNION ALL
            SELECT r.budget_id, r.period_start, 0, r.amount_usd
            FROM released r JOIN executions_budget b ON b.id = r.budget_id
        ) AS parts
        GROUP BY budget_id, period_start
    ),
    settled AS (
        INSERT INTO executions_budgetspend AS s (budget_id, period_start, spent_usd, reserved_usd)
        SELECT budget_id, period_start, greatest(added_usd, 0), 0 FROM change ORDER BY budget_id, period_start
        ON CONFLICT (budget_id, period_start) DO UPDATE SET (spent_usd, reserved_usd) = (
            SELECT s.spent_usd + c.added_usd, s.reserved_usd - c.released_usd
            FROM change c WHERE c.budget_id = s.budget_id AND c.period_start = s.period_start
        )
        RETURNING s.budget_id, s.period_start, s.spent_usd
    )
    INSERT INTO executions_budgetalert (budget_id, period_start, share, spent_usd, limit_usd, reached_at)
    SELECT b.id, s.period_start, share, s.spent_usd, b.limit_usd, now()
    FROM settled s JOIN executions_budget b ON b.id = s.budget_id AND b.is_active, unnest(b.alert_at) AS share
    WHERE s.spent_usd > 0 AND s.spent_usd >= b.limit_usd * share::numeric
      AND s.period_start + ('1 ' || b.period)::interval > now() AT TIME ZONE 'UTC' - interval '1 hour'
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$settle$;

CREATE TRIGGER executions_settle_budgets AFTER UPDATE ON executions_execution
REFERENCING OLD TABLE AS old_rows NEW TABLE AS now_rows
FOR EACH STATEMENT EXECUTE FUNCTION executions_settle_budgets();
"""
UNSETTLE = """
DROP TRIGGER executions_settle_budgets ON executions_execution;
DROP FUNCTION executions_settle_budgets();
"""


class Migration(migrations.Migration):
    dependencies = [("executions", "0003_budgets")]

    operations = [migrations.RunSQL(SETTLE, UNSETTLE)]
