"""The states of a batch's executions are counted by a trigger, which no path that changes a state can pass by.

Each connection has a row of its own to count in: executions that end at the same time do not wait for each other.
"""

from django.db import migrations

SHARDS = 64

COUNT = f"""
CREATE FUNCTION executions_count_batch() RETURNS trigger LANGUAGE plpgsql AS $count$
BEGIN
    INSERT INTO executions_batchcount AS c
        (batch_id, shard, queued, running, succeeded, failed, cancelled, cost_usd)
    VALUES (
        NEW.batch_id, pg_backend_pid() % {SHARDS},
        (NEW.status = 'queued')::int - (OLD.status = 'queued')::int,
        (NEW.status = 'running')::int - (OLD.status = 'running')::int,
        (NEW.status = 'succeeded')::int - (OLD.status = 'succeeded')::int,
        (NEW.status = 'failed')::int - (OLD.status = 'failed')::int,
        (NEW.status = 'cancelled')::int - (OLD.status = 'cancelled')::int,
        coalesce(NEW.cost_usd, 0) - coalesce(OLD.cost_usd, 0)
    )
    ON CONFLICT (batch_id, shard) DO UPDATE SET
        queued = c.queued + excluded.queued, running = c.running + excluded.running,
        succeeded = c.succeeded + excluded.succeeded, failed = c.failed + excluded.failed,
        cancelled = c.cancelled + excluded.cancelled, cost_usd = c.cost_usd + excluded.cost_usd;
    RETURN NULL;
END
$count$;

CREATE TRIGGER executions_count_batch AFTER UPDATE OF status, cost_usd ON executions_execution
FOR EACH ROW WHEN (
    NEW.batch_id IS NOT NULL AND (NEW.status <> OLD.status OR NEW.cost_usd IS DISTINCT FROM OLD.cost_usd)
)
EXECUTE FUNCTION executions_count_batch();
"""
UNCOUNT = """
DROP TRIGGER executions_count_batch ON executions_execution;
DROP FUNCTION executions_count_batch();
"""


class Migration(migrations.Migration):
    dependencies = [("executions", "0005_batches_and_events")]

    operations = [migrations.RunSQL(COUNT, UNCOUNT)]
