import apps.prompts.fields
import django.db.models.deletion
import everquant.db
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('evaluations', '0007_promotion_policies'),
        ('organizations', '0006_events_of_evaluations'),
    ]

    operations = [
        migrations.CreateModel(
            name='GateResult',
            fields=[
                ('id', models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('candidate', models.PositiveSmallIntegerField()),
                ('baseline', models.PositiveSmallIntegerField(null=True)),
                ('rules', apps.prompts.fields.OrderedJSONField()),
                ('rules_hash', models.BinaryField(max_length=32)),
                ('verdict', models.CharField(choices=[('pass', 'Pass'), ('fail', 'Fail'), ('inconclusive', 'Inconclusive')], max_length=16)),
                ('report', apps.prompts.fields.OrderedJSONField()),
                ('evaluation_finished_at', models.DateTimeField()),
                ('against_finished_at', models.DateTimeField(null=True)),
                ('created_by_id', models.UUIDField(null=True)),
                ('api_key_id', models.UUIDField(null=True)),
                ('against', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='evaluations.evaluation')),
                ('evaluation', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='gates', to='evaluations.evaluation')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['evaluation', '-id'], name='evaluations_gate_newest')],
                'constraints': [models.CheckConstraint(condition=models.Q(('verdict__in', ['pass', 'fail', 'inconclusive'])), name='evaluations_gateresult_verdict_known')],
            },
        ),
    ]
