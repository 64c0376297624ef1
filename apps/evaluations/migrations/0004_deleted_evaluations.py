from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluations", "0003_annotation")]

    operations = [
        migrations.AddField(
            model_name="evaluation", name="deleted_at", field=models.DateTimeField(editable=False, null=True)
        )
    ]
