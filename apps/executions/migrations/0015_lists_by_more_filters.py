from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Each index is a transaction of its own: calls wait for one of them at a time.
    atomic = False

    dependencies = [("executions", "0014_batches_of_ab_tests")]

    operations = [
        migrations.AddIndex(
            "execution",
            models.Index(fields=["organization_id", "prompt_version_id", "-id"], name="executions_by_version"),
        ),
        migrations.AddIndex(
            "execution",
            models.Index(
                fields=["organization_id", "created_by_id", "-id"],
                name="executions_by_user",
                condition=Q(created_by_id__isnull=False),
            ),
        ),
        migrations.AddIndex(
            "execution",
            models.Index(
                fields=["organization_id", "api_key_id", "-id"],
                name="executions_by_api_key",
                condition=Q(api_key_id__isnull=False),
            ),
        ),
        migrations.AddIndex(
            "execution",
            models.Index(
                fields=["organization_id", "-id"],
                name="executions_unsuccessful",
                condition=Q(status__in=["failed", "cancelled"]),
            ),
        ),
        migrations.RemoveIndex("execution", "executions_failed"),
    ]
