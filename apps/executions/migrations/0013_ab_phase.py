from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('executions', '0012_reserve_for_new_ones'),
    ]

    operations = [
        migrations.AddField(
            model_name='execution',
            name='ab_phase',
            field=models.PositiveIntegerField(null=True),
        ),
    ]
