from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("analytics", "0007_final_costs")]

    operations = [
        migrations.AddField("retentionpolicy", "payloads_gone_before", models.DateField(editable=False, null=True)),
    ]
