"""A refusal of a budget as an error of the statement: whatever is sent with it is undone, without a further round trip."""

from django.db import migrations

REFUSE = """
CREATE FUNCTION executions_refuse(refusal json) RETURNS void LANGUAGE plpgsql AS $refuse$
BEGIN
    RAISE EXCEPTION 'a budget has not enough left' USING ERRCODE = 'EQ402', DETAIL = refusal::text;
END
$refuse$;
"""


class Migration(migrations.Migration):
    dependencies = [("executions", "0010_workflow_runs")]

    operations = [migrations.RunSQL(REFUSE, "DROP FUNCTION executions_refuse(json)")]
