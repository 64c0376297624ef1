from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluations", "0010_gates_of_policies")]

    operations = [
        migrations.AddField(model_name="evaluationcase", name="prepaid", field=models.JSONField(null=True)),
    ]
