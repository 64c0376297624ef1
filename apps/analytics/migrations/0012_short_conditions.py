from importlib import import_module

from django.db import migrations

COUNTED = import_module("apps.analytics.migrations.0004_count_executions")
MARKED = import_module("apps.analytics.migrations.0007_final_costs")


def definition(source, start, end):
    place = source.index(start)
    return source[place : source.index(end, place) + len(end)]


def with_added(function, line, added):
    if f"{line}\n" not in function:
        raise ValueError(f"{line!r} is not in the function")
    return function.replace(f"{line}\n", f"{line}\n{added}", 1)


COUNT = definition(COUNTED.FORWARD, "CREATE FUNCTION analytics_count_execution", "$$;").replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)
MARK = definition(MARKED.FORWARD, "CREATE OR REPLACE FUNCTION analytics_mark_ledger", "$$;")
IF_COUNTING = """    IF NOT analytics_is_counting() THEN
        RETURN NULL;
    END IF;
"""
IF_CHANGED = f"""        IF (OLD.finished_at IS NULL) = (NEW.finished_at IS NULL)
           AND NOT {COUNTED.is_changed((*COUNTED.SHARED, *COUNTED.MEASURES))} THEN
            RETURN NULL;
        END IF;
"""
IF_COST_CHANGED = f"""        IF {MARKED.row("NEW")} IS NOT DISTINCT FROM {MARKED.row("OLD")} THEN
            RETURN NULL;
        END IF;
"""
DROP = """
DROP TRIGGER analytics_count_stored ON executions_execution;
DROP TRIGGER analytics_count_changed ON executions_execution;
DROP TRIGGER analytics_mark_ledger ON executions_execution;
"""
FORWARD = f"""
{DROP}
{with_added(with_added(COUNT, "BEGIN", IF_COUNTING), "    IF TG_OP = 'UPDATE' THEN", IF_CHANGED)}
{with_added(MARK, "    IF OLD.finished_at IS NOT NULL THEN", IF_COST_CHANGED)}
CREATE TRIGGER analytics_count_stored AFTER INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION analytics_count_execution();
CREATE TRIGGER analytics_count_changed AFTER UPDATE ON executions_execution FOR EACH ROW
    WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL) EXECUTE FUNCTION analytics_count_execution();
CREATE TRIGGER analytics_mark_ledger AFTER UPDATE ON executions_execution FOR EACH ROW
    WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at > NEW.created_at + interval '1 hour')
    EXECUTE FUNCTION analytics_mark_ledger();
"""
BACKWARD = f"""
{DROP}
{COUNT}
{MARK}
{definition(COUNTED.FORWARD, "CREATE TRIGGER analytics_count_stored", "analytics_count_execution();")}
{definition(COUNTED.FORWARD, "CREATE TRIGGER analytics_count_changed", "analytics_count_execution();")}
{definition(MARKED.FORWARD, "CREATE TRIGGER analytics_mark_ledger", "analytics_mark_ledger();")}
"""


class Migration(migrations.Migration):
    """What an end is looked at for is a matter of the functions, whose expressions a connection keeps.

    A trigger's condition is parsed and planned anew by each statement, whatever it then says: of a hundred columns,
    and a function of SQL, that was a fifth of an execution's end.
    """

    dependencies = [("analytics", "0011_held_organizations_stay")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
