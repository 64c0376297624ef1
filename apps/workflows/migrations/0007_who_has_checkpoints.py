from django.db import migrations

MARK = """
UPDATE workflows_workflowrun SET has_checkpoints = true
WHERE status IN ('queued', 'running', 'waiting') AND fence > 0 AND NOT has_checkpoints
"""


class Migration(migrations.Migration):
    """Runs were marked at their end; now they are with their checkpoint."""

    dependencies = [("workflows", "0006_take_runs")]

    operations = [migrations.RunSQL(MARK, migrations.RunSQL.noop)]
