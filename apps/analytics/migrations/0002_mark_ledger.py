from django.db import migrations

FORWARD = """
CREATE FUNCTION analytics_mark_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
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
    WHEN (
        OLD.finished_at IS NOT NULL
        AND (NEW.cost_usd, NEW.saved_cost_usd, NEW.price, NEW.model_id, NEW.input_tokens, NEW.cached_input_tokens,
             NEW.cache_write_tokens, NEW.cache_write_1h_tokens, NEW.output_tokens, NEW.reasoning_tokens)
        IS DISTINCT FROM
            (OLD.cost_usd, OLD.saved_cost_usd, OLD.price, OLD.model_id, OLD.input_tokens, OLD.cached_input_tokens,
             OLD.cache_write_tokens, OLD.cache_write_1h_tokens, OLD.output_tokens, OLD.reasoning_tokens)
    )
    EXECUTE FUNCTION analytics_mark_ledger();
CREATE FUNCTION analytics_refuse_statement_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'statements are immutable: make a new revision' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER analytics_statement_immutable BEFORE UPDATE ON analytics_statement
    FOR EACH ROW EXECUTE FUNCTION analytics_refuse_statement_update();
"""
BACKWARD = """
DROP TRIGGER analytics_statement_immutable ON analytics_statement;
DROP FUNCTION analytics_refuse_statement_update();
DROP TRIGGER analytics_mark_ledger ON executions_execution;
DROP FUNCTION analytics_mark_ledger();
"""


class Migration(migrations.Migration):
    """A cost that changes after the end of its execution marks the day of the ledger, in the same transaction.

    The day is that of the key, whose first 48 bits are milliseconds since 1970.
    """

    dependencies = [("analytics", "0001_ledger_and_retention"), ("executions", "0013_ab_phase")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
