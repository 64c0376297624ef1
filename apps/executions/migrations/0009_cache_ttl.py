from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions", "0008_reserve_budgets")]

    operations = [
        migrations.AddField(
            model_name="executionpayload",
            name="cache_ttl_s",
            field=models.PositiveIntegerField(null=True),
        ),
    ]
