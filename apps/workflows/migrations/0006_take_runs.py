"""Taking runs as a function: the lock under which all workers count and take is held for no round trip.

It gives at most as many runs as are wanted, running from now on. One whose worker died goes first; then the oldest of
the organization with the fewest running runs, of those below their limits. What was cancelled since it was found is
found no more. Nothing ready is seen without the lock.
"""

from django.db import migrations

TAKE = """
CREATE FUNCTION workflows_take_runs(
    at_time timestamptz, lease_until timestamptz, most_of_one integer, wanted integer
) RETURNS SETOF workflows_workflowrun LANGUAGE plpgsql AS $take$
DECLARE
    found_id uuid;
    taken workflows_workflowrun;
    count integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM workflows_workflowrun WHERE status = 'queued') AND NOT EXISTS (
        SELECT FROM workflows_workflowrun WHERE status = 'running' AND lease_expires_at < at_time
    ) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('workflows.queue'));
    WHILE count < wanted LOOP
        SELECT id INTO found_id FROM workflows_workflowrun WHERE status = 'running' AND lease_expires_at < at_time
        ORDER BY lease_expires_at LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            WITH RECURSIVE ready AS (
                (SELECT organization_id FROM workflows_workflowrun
                 WHERE status = 'queued' ORDER BY organization_id LIMIT 1)
                UNION ALL
                SELECT (SELECT organization_id FROM workflows_workflowrun
                        WHERE status = 'queued' AND organization_id > ready.organization_id
                        ORDER BY organization_id LIMIT 1)
                FROM ready WHERE ready.organization_id IS NOT NULL
            ),
            busy AS (
                SELECT organization_id, workflow_id, count(*) AS runs FROM workflows_workflowrun
                WHERE status = 'running' AND lease_expires_at >= at_time GROUP BY organization_id, workflow_id
            ),
            turn AS (
                SELECT ready.organization_id, coalesce((SELECT sum(runs) FROM busy
                    WHERE busy.organization_id = ready.organization_id), 0) AS runs
                FROM ready WHERE ready.organization_id IS NOT NULL
            )
            SELECT oldest.id INTO found_id FROM turn, LATERAL (
                SELECT run.id, run.queued_at
                FROM workflows_workflowrun run JOIN workflows_workflow w ON w.id = run.workflow_id
                LEFT JOIN busy ON busy.workflow_id = w.id
                WHERE run.organization_id = turn.organization_id AND run.status = 'queued'
                AND (w.max_concurrent_runs IS NULL OR coalesce(busy.runs, 0) < w.max_concurrent_runs)
                ORDER BY run.queued_at, run.id LIMIT 1
            ) oldest
            WHERE turn.runs < most_of_one ORDER BY turn.runs, oldest.queued_at, oldest.id LIMIT 1;
            EXIT WHEN NOT FOUND;
        END IF;
        UPDATE workflows_workflowrun run SET status = 'running', fence = fence + 1, lease_expires_at = lease_until,
            started_at = coalesce(started_at, at_time), wake_at = NULL, last_event = last_event + (fence = 0)::integer
        WHERE id = found_id AND status IN ('queued', 'running') RETURNING run.* INTO taken;
        CONTINUE WHEN NOT FOUND;
        IF taken.fence = 1 THEN
            INSERT INTO workflows_runevent (run_id, number, type, data, created_at)
            VALUES (taken.id, taken.last_event, 'run.started', '{}', now());
        END IF;
        count := count + 1;
        RETURN NEXT taken;
    END LOOP;
END
$take$;
"""
SIGNATURE = "workflows_take_runs(timestamptz, timestamptz, integer, integer)"


class Migration(migrations.Migration):
    dependencies = [("workflows", "0005_runs_of_evaluations")]

    operations = [migrations.RunSQL(TAKE, f"DROP FUNCTION {SIGNATURE}")]
