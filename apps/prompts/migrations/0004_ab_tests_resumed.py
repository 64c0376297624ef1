from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("prompts", "0003_ab_tests")]

    operations = [
        migrations.AddField("abtest", "resume_reason", models.CharField(blank=True, max_length=500)),
        migrations.AddField("abtest", "resumed_at", models.DateTimeField(null=True)),
    ]
