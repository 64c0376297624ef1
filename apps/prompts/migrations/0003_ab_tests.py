import apps.prompts.fields
import apps.prompts.models.ab_tests
import django.core.validators
import django.db.models.deletion
import everquant.db
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('models', '0001_initial'),
        ('organizations', '0007_events_of_ab_tests_and_alerts'),
        ('prompts', '0002_versions_are_immutable'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ABTest',
            fields=[
                ('id', models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('deleted_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('name', models.CharField(max_length=200)),
                ('hypothesis', models.TextField(blank=True, max_length=5000)),
                ('status', models.CharField(choices=[('draft', 'Draft'), ('running', 'Running'), ('paused', 'Paused'), ('stopped', 'Stopped'), ('promoted', 'Promoted'), ('rolled_back', 'Rolled Back')], default='draft', max_length=16)),
                ('mode', models.CharField(choices=[('fixed', 'Fixed'), ('bandit', 'Bandit')], default='fixed', max_length=8)),
                ('label', models.CharField(default='production', max_length=64, validators=[django.core.validators.RegexValidator('\\A[a-z][a-z0-9]*([-_.][a-z0-9]+)*\\Z', "Lower-case letters, digits and single '-', '_' or '.', a letter first.")])),
                ('salt', models.CharField(default=apps.prompts.models.ab_tests.new_salt, editable=False, max_length=32)),
                ('exposed_share', models.FloatField(default=1.0)),
                ('segments', apps.prompts.fields.OrderedJSONField(default=dict)),
                ('metrics', apps.prompts.fields.OrderedJSONField(default=list)),
                ('primary_metric', models.CharField(max_length=64)),
                ('min_effect', models.FloatField()),
                ('alpha', models.FloatField(default=0.05)),
                ('power', models.FloatField(default=0.8)),
                ('guardrails', apps.prompts.fields.OrderedJSONField(default=list)),
                ('planned_units', models.PositiveBigIntegerField(null=True)),
                ('phase', models.PositiveIntegerField(default=0)),
                ('started_at', models.DateTimeField(null=True)),
                ('paused_at', models.DateTimeField(null=True)),
                ('pause_reason', models.CharField(blank=True, max_length=500)),
                ('stopped_at', models.DateTimeField(null=True)),
                ('stop_reason', models.CharField(blank=True, max_length=500)),
                ('concluded_at', models.DateTimeField(null=True)),
                ('conclusion_reason', models.CharField(blank=True, max_length=500)),
                ('winner', models.CharField(blank=True, max_length=64)),
                ('final_results', apps.prompts.fields.OrderedJSONField(null=True)),
                ('created_by', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
                ('promoted_version', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='+', to='prompts.promptversion')),
                ('prompt', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='ab_tests', to='prompts.prompt')),
                ('replaced_version', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='+', to='prompts.promptversion')),
            ],
            options={
                'verbose_name': 'A/B test',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ABPhase',
            fields=[
                ('id', models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('number', models.PositiveIntegerField()),
                ('weights', apps.prompts.fields.OrderedJSONField()),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('started_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField(null=True)),
                ('created_by', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='phases', to='prompts.abtest')),
            ],
            options={
                'verbose_name': 'A/B phase',
                'ordering': ['number', 'id'],
            },
        ),
        migrations.CreateModel(
            name='ABAssignment',
            fields=[
                ('pk', models.CompositePrimaryKey('test_id', 'unit_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('unit_id', models.CharField(max_length=200)),
                ('variant', models.CharField(max_length=64)),
                ('phase', models.PositiveIntegerField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='assignments', to='prompts.abtest')),
            ],
            options={
                'verbose_name': 'A/B assignment',
                'ordering': ['test_id', 'unit_id'],
            },
        ),
        migrations.CreateModel(
            name='ABVariant',
            fields=[
                ('id', models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('name', models.CharField(max_length=64, validators=[django.core.validators.RegexValidator('\\A[a-z][a-z0-9]*([-_.][a-z0-9]+)*\\Z', "Lower-case letters, digits and single '-', '_' or '.', a letter first.")])),
                ('position', models.PositiveSmallIntegerField()),
                ('is_control', models.BooleanField(default=False)),
                ('weight', models.FloatField()),
                ('parameters', apps.prompts.fields.OrderedJSONField(default=dict)),
                ('model', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='models.llmmodel')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
                ('test', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='variants', to='prompts.abtest')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.RESTRICT, related_name='+', to='prompts.promptversion')),
            ],
            options={
                'verbose_name': 'A/B variant',
                'ordering': ['position', 'id'],
            },
        ),
        migrations.AddIndex(
            model_name='abtest',
            index=models.Index(fields=['organization', '-id'], name='prompts_abtest_newest'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['draft', 'running', 'paused', 'stopped', 'promoted', 'rolled_back'])), name='prompts_abtest_status_known'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(('mode__in', ['fixed', 'bandit'])), name='prompts_abtest_mode_known'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.UniqueConstraint(condition=models.Q(('status__in', ['running', 'paused'])), fields=('prompt',), name='prompts_abtest_one_live'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(('exposed_share__gte', 0), ('exposed_share__lte', 1)), name='prompts_abtest_share_range'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(('alpha__gt', 0), ('alpha__lt', 0.5)), name='prompts_abtest_alpha_range'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(('power__gte', 0.5), ('power__lt', 1)), name='prompts_abtest_power_range'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(('min_effect__gt', 0)), name='prompts_abtest_effect_positive'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('phase', 0), ('started_at__isnull', True), ('status', 'draft')), models.Q(models.Q(('status', 'draft'), _negated=True), ('phase__gte', 1), ('started_at__isnull', False)), _connector='OR'), name='prompts_abtest_started_has_phase'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status__in', ['draft', 'running', 'paused']), ('stopped_at__isnull', True)), models.Q(('status__in', ['stopped', 'promoted', 'rolled_back']), ('stopped_at__isnull', False)), _connector='OR'), name='prompts_abtest_stopped_has_time'),
        ),
        migrations.AddConstraint(
            model_name='abtest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'promoted'), _negated=True), models.Q(('concluded_at__isnull', False), ('promoted_version__isnull', False)), _connector='OR'), name='prompts_abtest_promoted_has_version'),
        ),
        migrations.AddConstraint(
            model_name='abphase',
            constraint=models.UniqueConstraint(fields=('test', 'number'), name='prompts_abphase_number_unique'),
        ),
        migrations.AddConstraint(
            model_name='abphase',
            constraint=models.UniqueConstraint(condition=models.Q(('ended_at__isnull', True)), fields=('test',), name='prompts_abphase_one_open'),
        ),
        migrations.AddConstraint(
            model_name='abvariant',
            constraint=models.UniqueConstraint(fields=('test', 'name'), name='prompts_abvariant_name_unique'),
        ),
        migrations.AddConstraint(
            model_name='abvariant',
            constraint=models.UniqueConstraint(fields=('test', 'position'), name='prompts_abvariant_position_unique'),
        ),
        migrations.AddConstraint(
            model_name='abvariant',
            constraint=models.UniqueConstraint(condition=models.Q(('is_control', True)), fields=('test',), name='prompts_abvariant_one_control'),
        ),
        migrations.AddConstraint(
            model_name='abvariant',
            constraint=models.CheckConstraint(condition=models.Q(('weight__gte', 0), ('weight__lte', 1)), name='prompts_abvariant_weight_range'),
        ),
    ]
