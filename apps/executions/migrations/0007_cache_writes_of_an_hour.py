from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions", "0006_count_batches")]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="cache_write_1h_tokens",
            field=models.PositiveIntegerField(null=True),
        ),
    ]
