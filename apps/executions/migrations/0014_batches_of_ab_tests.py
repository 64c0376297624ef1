from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions", "0013_ab_phase")]

    operations = [
        migrations.AlterField(
            model_name="batch",
            name="version_number",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AlterField(
            model_name="batch",
            name="model_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("ab_test_id__isnull", False)),
                fields=["organization_id", "ab_test_id", "-id"],
                name="executions_by_ab_test",
            ),
        ),
    ]
