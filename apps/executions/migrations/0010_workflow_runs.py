from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions", "0009_cache_ttl")]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="workflow_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="workflow_run_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("workflow_run_id__isnull", False)),
                fields=["organization_id", "workflow_run_id"],
                name="executions_by_workflow_run",
            ),
        ),
    ]
