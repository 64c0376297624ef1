from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluations", "0005_dataset_imports")]

    operations = [
        migrations.AddField(
            model_name="evaluation",
            name="reopening",
            field=models.CharField(
                blank=True, choices=[("cancelled", "Cancelled"), ("errors", "Errors")], max_length=16
            ),
        ),
        migrations.AddField(model_name="evaluation", name="round", field=models.PositiveSmallIntegerField(default=0)),
    ]
