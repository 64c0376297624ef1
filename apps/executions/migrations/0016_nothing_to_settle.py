from importlib import import_module

from django.db import migrations

SETTLE = import_module("apps.executions.migrations.0004_settle_budgets").SETTLE
FUNCTION = SETTLE[: SETTLE.index("CREATE TRIGGER")].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
START = "    WITH ended AS ("
UNLESS_NOTHING = """    IF NOT EXISTS (
        SELECT FROM now_rows n JOIN executions_budget b ON b.organization_id = n.organization_id
    ) AND NOT EXISTS (
        SELECT FROM now_rows n JOIN executions_reservation r ON r.execution_id = n.id
    ) THEN
        RETURN NULL;
    END IF;

"""


class Migration(migrations.Migration):
    """Without a budget and a reservation there is nothing to settle, and the statement for it is not begun.

    It is looked for under the lock that the making of a budget takes, as what follows is.
    """

    dependencies = [("executions", "0015_lists_by_more_filters")]

    operations = [migrations.RunSQL(FUNCTION.replace(START, UNLESS_NOTHING + START, 1), FUNCTION)]
