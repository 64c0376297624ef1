"""Reserving for an execution that the same transaction has just stored: nobody else can have ended it or reserved for it.

Looking it up among all partitions was half of what reserving cost.
"""

import importlib

from django.db import migrations

_PARAMETERS = """(
    of_execution uuid, of_organization uuid, of_user uuid, of_api_key uuid, of_prompt uuid,
    made_at timestamptz, amount_usd numeric, is_priced boolean
) RETURNS TABLE (
    budget_id uuid, budget_name varchar, budget_scope varchar, budget_period varchar, period_from date,
    limited_usd numeric, spent_before_usd numeric, reserved_before_usd numeric
) LANGUAGE plpgsql"""
HOLD = f"""
CREATE FUNCTION executions_hold {_PARAMETERS} AS $hold$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH wanted AS (
        SELECT b.id, b.name, b.scope, b.period, b.limit_usd, b.is_hard,
               date_trunc(b.period, made_at AT TIME ZONE 'UTC')::date AS period_start
        FROM executions_budget b
        WHERE b.organization_id = of_organization AND b.is_active
          AND (b.scope = 'organization' OR b.scope = 'user' AND b.scope_id = of_user
               OR b.scope = 'api_key' AND b.scope_id = of_api_key OR b.scope = 'prompt' AND b.scope_id = of_prompt)
    ),
    held AS (
        INSERT INTO executions_budgetspend AS s (budget_id, period_start, spent_usd, reserved_usd)
        SELECT w.id, w.period_start, 0, executions_hold.amount_usd FROM wanted w ORDER BY w.id
        ON CONFLICT (budget_id, period_start) DO UPDATE SET reserved_usd = s.reserved_usd + excluded.reserved_usd
        RETURNING s.budget_id, s.period_start, s.spent_usd, s.reserved_usd
    ),
    kept AS (
        INSERT INTO executions_reservation (execution_id, budget_id, period_start, amount_usd)
        SELECT of_execution, h.budget_id, h.period_start, executions_hold.amount_usd FROM held h
    )
    SELECT w.id, w.name, w.scope, w.period, w.period_start, w.limit_usd::numeric, h.spent_usd::numeric,
           (h.reserved_usd - executions_hold.amount_usd)::numeric
    FROM held h JOIN wanted w ON w.id = h.budget_id
    WHERE w.is_hard AND (NOT is_priced OR h.spent_usd + h.reserved_usd > w.limit_usd)
    ORDER BY w.limit_usd - h.spent_usd - h.reserved_usd, w.id LIMIT 1;
END
$hold$;
"""
RESERVE = f"""
CREATE OR REPLACE FUNCTION executions_reserve {_PARAMETERS} AS $reserve$
BEGIN
    PERFORM FROM executions_execution WHERE id = of_execution AND status IN ('queued', 'running') FOR UPDATE;
    IF NOT FOUND OR EXISTS (SELECT FROM executions_reservation r WHERE r.execution_id = of_execution) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM executions_hold(
        of_execution, of_organization, of_user, of_api_key, of_prompt, made_at, amount_usd, is_priced
    );
END
$reserve$;
"""
_before = importlib.import_module("apps.executions.migrations.0008_reserve_budgets")
DROP = f"DROP FUNCTION {_before.SIGNATURE.replace('executions_reserve', 'executions_hold')}"
RESERVE_BEFORE = _before.RESERVE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


class Migration(migrations.Migration):
    dependencies = [("executions", "0011_refuse_by_raising")]

    operations = [
        migrations.RunSQL(HOLD, DROP),
        migrations.RunSQL(RESERVE, RESERVE_BEFORE),
    ]
