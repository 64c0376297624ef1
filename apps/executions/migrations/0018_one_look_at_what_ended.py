from importlib import import_module

from django.db import migrations

SETTLED = import_module("apps.executions.migrations.0016_nothing_to_settle")
BEFORE = SETTLED.FUNCTION.replace(SETTLED.START, SETTLED.UNLESS_NOTHING + SETTLED.START, 1)
LOOK_AND_LOCK = """    IF NOT EXISTS (SELECT FROM now_rows WHERE status IN ('succeeded', 'failed', 'cancelled')) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(7305202, hashtext(organization_id::text))
    FROM (SELECT DISTINCT organization_id FROM now_rows ORDER BY organization_id) AS organizations;
"""
LOCK_WHAT_ENDED = """    PERFORM pg_advisory_xact_lock_shared(7305202, hashtext(organization_id::text))
    FROM (
        SELECT DISTINCT organization_id FROM now_rows
        WHERE status IN ('succeeded', 'failed', 'cancelled') ORDER BY organization_id
    ) AS organizations;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
"""
if LOOK_AND_LOCK not in BEFORE:
    raise ValueError("the function is another one")


class Migration(migrations.Migration):
    """Whether anything has ended is what the lock's own query finds: a query less at the end of each execution."""

    dependencies = [("executions", "0017_checks_of_few_words")]

    operations = [migrations.RunSQL(BEFORE.replace(LOOK_AND_LOCK, LOCK_WHAT_ENDED, 1), BEFORE)]
