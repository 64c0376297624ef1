from django.db import migrations, models

SOURCES = ["api", "schedule", "trigger", "retry", "fork", "evaluation"]


class Migration(migrations.Migration):
    dependencies = [("workflows", "0004_checkpoints")]

    operations = [
        migrations.RemoveConstraint(model_name="workflowrun", name="workflows_run_source_known"),
        migrations.AlterField(
            model_name="workflowrun",
            name="source",
            field=models.CharField(
                choices=[(source, source.title()) for source in SOURCES], default="api", max_length=16
            ),
        ),
        migrations.AddConstraint(
            model_name="workflowrun",
            constraint=models.CheckConstraint(
                condition=models.Q(("source__in", SOURCES)), name="workflows_run_source_known"
            ),
        ),
    ]
