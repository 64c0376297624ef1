from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("organizations", "0004_events_of_workflows")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="http_hosts",
            field=models.JSONField(blank=True, default=list),
        ),
    ]
