from django.db import migrations

MONEY = ("cost_usd", "saved_cost_usd", "price", "model_id", "input_tokens", "cached_input_tokens", "cache_write_tokens",
         "cache_write_1h_tokens", "output_tokens", "reasoning_tokens")  # fmt: skip


def row(name):
    return f"({', '.join(f'{name}.{column}' for column in MONEY)})"


FORWARD = f"""
DROP TRIGGER analytics_mark_ledger ON executions_execution;
CREATE OR REPLACE FUNCTION analytics_mark_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_day date := (to_timestamp(('x' || left(replace(NEW.id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
        AT TIME ZONE 'UTC')::date;
    given_up_before date;
BEGIN
    IF pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    IF OLD.finished_at IS NOT NULL THEN
        -- A purge that gives up the day waits for this transaction, or this one for it.
        SELECT purged_before INTO given_up_before FROM analytics_retentionpolicy
        WHERE organization_id = NEW.organization_id FOR KEY SHARE;
        IF of_day < given_up_before THEN
            UPDATE executions_execution SET ({", ".join(MONEY)}) = ROW{row("OLD")} WHERE id = NEW.id;
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO analytics_ledgermark (organization_id, day, transaction_id)
    VALUES (NEW.organization_id, of_day, txid_current()) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER analytics_mark_ledger AFTER UPDATE ON executions_execution FOR EACH ROW
    WHEN (
        (OLD.finished_at IS NOT NULL AND {row("NEW")} IS DISTINCT FROM {row("OLD")})
        OR (OLD.finished_at IS NULL AND NEW.finished_at > NEW.created_at + interval '1 hour')
    )
    EXECUTE FUNCTION analytics_mark_ledger();
"""  # noqa: S608 (our own names)
BACKWARD = f"""
DROP TRIGGER analytics_mark_ledger ON executions_execution;
CREATE OR REPLACE FUNCTION analytics_mark_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO analytics_ledgermark (organization_id, day, transaction_id)
    VALUES (
        NEW.organization_id,
        (to_timestamp(('x' || left(replace(NEW.id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
            AT TIME ZONE 'UTC')::date,
        txid_current()
    )
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER analytics_mark_ledger AFTER UPDATE ON executions_execution FOR EACH ROW
    WHEN (OLD.finished_at IS NOT NULL AND {row("NEW")} IS DISTINCT FROM {row("OLD")})
    EXECUTE FUNCTION analytics_mark_ledger();
"""


class Migration(migrations.Migration):
    """A day that a purge has given up stays as the ledger has it: a cost of it that changes is taken back.

    What ends more than an hour after it was made may be of a closed day, if clocks differ: it marks its day too.
    """

    dependencies = [("analytics", "0006_vacuum_of_rollups")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
