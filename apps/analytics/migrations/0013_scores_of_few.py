from importlib import import_module

from django.db import migrations

COUNTED = import_module("apps.analytics.migrations.0004_count_executions")
SHORTENED = import_module("apps.analytics.migrations.0012_short_conditions")
BEFORE = SHORTENED.with_added(
    SHORTENED.with_added(SHORTENED.COUNT, "BEGIN", SHORTENED.IF_COUNTING),
    "    IF TG_OP = 'UPDATE' THEN",
    SHORTENED.IF_CHANGED,
)
SCORES = COUNTED.count_scores("NEW", 1)
IF_ANY = f"""IF EXISTS (
            SELECT FROM executions_score s WHERE s.organization_id = NEW.organization_id AND s.execution_id = NEW.id
        ) THEN
            {SCORES}
        END IF;"""  # noqa: S608 (our own names)
if BEFORE.count(SCORES) != 1:
    raise ValueError("the function is another one")


class Migration(migrations.Migration):
    """Hardly anything is scored before its end: to look costs less than to begin storing nothing."""

    dependencies = [("analytics", "0012_short_conditions")]

    operations = [migrations.RunSQL(BEFORE.replace(SCORES, IF_ANY, 1), BEFORE)]
