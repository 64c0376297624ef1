import apps.prompts.fields
import django.contrib.postgres.fields
import django.db.models.deletion
import everquant.db
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('evaluations', '0011_prepaid_scores'),
        ('executions', '0013_ab_phase'),
        ('prompts', '0003_ab_tests'),
    ]

    operations = [
        migrations.CreateModel(
            name='ABPending',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('test_id', models.UUIDField()),
                ('kind', models.CharField(choices=[('execution', 'Execution'), ('score', 'Score'), ('observation', 'Observation')], max_length=16)),
                ('ref_id', models.UUIDField()),
            ],
            options={
                'ordering': ['id'],
                'indexes': [models.Index(fields=['test_id', 'id'], name='evaluations_abpending_test')],
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['execution', 'score', 'observation'])), name='evaluations_abpending_kind_known')],
            },
        ),
        migrations.CreateModel(
            name='ABObservation',
            fields=[
                ('id', models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='observations', to='prompts.abtest')),
                ('unit_id', models.CharField(max_length=200)),
                ('variant', models.CharField(max_length=64)),
                ('phase', models.PositiveIntegerField()),
                ('is_exposure', models.BooleanField()),
                ('values', apps.prompts.fields.OrderedJSONField(default=dict)),
                ('created_by_id', models.UUIDField(null=True)),
                ('api_key_id', models.UUIDField(null=True)),
            ],
            options={
                'verbose_name': 'A/B observation',
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['test', '-id'], name='evaluations_abobservation_new')],
                'constraints': [],
            },
        ),
        migrations.CreateModel(
            name='ABUnit',
            fields=[
                ('pk', models.CompositePrimaryKey('test_id', 'unit_key', blank=True, editable=False, primary_key=True, serialize=False)),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='units', to='prompts.abtest')),
                ('unit_key', models.CharField(max_length=201)),
                ('variant', models.CharField(max_length=64)),
                ('phase', models.PositiveIntegerField()),
                ('exposures', models.PositiveIntegerField(default=0)),
                ('counts', django.contrib.postgres.fields.ArrayField(base_field=models.PositiveIntegerField(), size=None)),
                ('sums', django.contrib.postgres.fields.ArrayField(base_field=models.FloatField(), size=None)),
                ('first_exposed_at', models.DateTimeField(null=True)),
            ],
            options={
                'verbose_name': 'A/B unit',
                'ordering': ['test_id', 'unit_key'],
                'indexes': [],
                'constraints': [],
            },
        ),
        migrations.CreateModel(
            name='ABArm',
            fields=[
                ('pk', models.CompositePrimaryKey('test_id', 'phase', 'variant', blank=True, editable=False, primary_key=True, serialize=False)),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='arms', to='prompts.abtest')),
                ('phase', models.PositiveIntegerField()),
                ('variant', models.CharField(max_length=64)),
                ('units', models.BigIntegerField(default=0)),
                ('exposures', models.BigIntegerField(default=0)),
                ('squared_exposures', models.BigIntegerField(default=0)),
                ('latency_histogram', models.BinaryField(default=bytes)),
            ],
            options={
                'verbose_name': 'A/B arm',
                'ordering': ['test_id', 'phase', 'variant'],
                'indexes': [],
                'constraints': [],
            },
        ),
        migrations.CreateModel(
            name='ABArmMeasure',
            fields=[
                ('pk', models.CompositePrimaryKey('test_id', 'phase', 'variant', 'measure', blank=True, editable=False, primary_key=True, serialize=False)),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='arm_measures', to='prompts.abtest')),
                ('phase', models.PositiveIntegerField()),
                ('variant', models.CharField(max_length=64)),
                ('measure', models.CharField(max_length=72)),
                ('units', models.BigIntegerField(default=0)),
                ('sum_k', models.FloatField(default=0)),
                ('sum_kk', models.FloatField(default=0)),
                ('sum_s', models.FloatField(default=0)),
                ('sum_ss', models.FloatField(default=0)),
                ('sum_sk', models.FloatField(default=0)),
                ('sum_m', models.FloatField(default=0)),
                ('sum_mm', models.FloatField(default=0)),
            ],
            options={
                'verbose_name': 'A/B measure',
                'ordering': ['test_id', 'phase', 'variant', 'measure'],
                'indexes': [],
                'constraints': [],
            },
        ),
        migrations.CreateModel(
            name='ABPoint',
            fields=[
                ('pk', models.CompositePrimaryKey('test_id', 'taken_at', blank=True, editable=False, primary_key=True, serialize=False)),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='points', to='prompts.abtest')),
                ('taken_at', models.DateTimeField()),
                ('units', models.BigIntegerField()),
                ('metrics', apps.prompts.fields.OrderedJSONField()),
            ],
            options={
                'verbose_name': 'A/B point',
                'ordering': ['test_id', 'taken_at'],
                'indexes': [],
                'constraints': [],
            },
        ),
        migrations.CreateModel(
            name='ABIncident',
            fields=[
                ('id', models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='incidents', to='prompts.abtest')),
                ('kind', models.CharField(choices=[('guardrail', 'Guardrail'), ('sample_ratio', 'Sample Ratio')], max_length=16)),
                ('variant', models.CharField(blank=True, max_length=64)),
                ('message', models.CharField(max_length=500)),
                ('details', apps.prompts.fields.OrderedJSONField(default=dict)),
            ],
            options={
                'verbose_name': 'A/B incident',
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['test', '-id'], name='evaluations_abincident_new')],
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['guardrail', 'sample_ratio'])), name='evaluations_abincident_kind_known')],
            },
        ),
    ]
