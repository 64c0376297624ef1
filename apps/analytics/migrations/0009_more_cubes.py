import importlib

from django.db import migrations

_counting = importlib.import_module("apps.analytics.migrations.0004_count_executions")
SHARED, MEASURES, columns = _counting.SHARED, _counting.MEASURES, _counting.columns

# Of days whose executions are purged the sums are all that is left.
IS_COUNTED = """NOT EXISTS (SELECT FROM analytics_retentionpolicy p WHERE p.organization_id = {row}.organization_id
    AND {row}.{moment} < p.purged_before::timestamp AT TIME ZONE 'UTC')"""
# Nobody ends or scores an execution meanwhile: it would be counted twice.
FORWARD = f"""
LOCK TABLE executions_execution, executions_score IN SHARE ROW EXCLUSIVE MODE;
TRUNCATE analytics_pendingexecution, analytics_pendingscore;
DELETE FROM analytics_executionrollup r WHERE {IS_COUNTED.format(row="r", moment="starts_at")};
DELETE FROM analytics_scorerollup r WHERE {IS_COUNTED.format(row="r", moment="starts_at")};
INSERT INTO analytics_pendingexecution ({columns(("sign", *SHARED, *MEASURES))})
SELECT 1, {columns((*SHARED, *MEASURES), "e.")} FROM executions_execution e
WHERE e.finished_at IS NOT NULL AND {IS_COUNTED.format(row="e", moment="created_at")};
INSERT INTO analytics_pendingscore (sign, name, number, {columns(SHARED)})
SELECT 1, s.name, s.number, {columns(SHARED, "e.")} FROM executions_score s
JOIN executions_execution e ON e.id = s.execution_id
WHERE e.finished_at IS NOT NULL AND s.number IS NOT NULL AND {IS_COUNTED.format(row="e", moment="created_at")};
"""  # noqa: S608 (our own names)


class Migration(migrations.Migration):
    """Cells of six hours, and more cubes: everything is counted anew, by the worker, from the executions there are.

    Of days that were purged before this, sums by the new cubes and grains are missing.
    """

    dependencies = [("analytics", "0008_payloads_gone_before")]

    operations = [migrations.RunSQL(FORWARD, FORWARD)]
