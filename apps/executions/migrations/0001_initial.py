"""The tables of executions. Django cannot declare partitions, so that their three tables are made by SQL.

Indexes and constraints on the parents are Django's own: PostgreSQL hands them down to every partition. The defaults
are for the columns that the insert of a running execution does not name.
"""

import apps.prompts.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import everquant.db
from django.conf import settings
from django.db import migrations, models

EXECUTION = """
    id uuid NOT NULL PRIMARY KEY,
    organization_id uuid NOT NULL,
    source varchar(16) NOT NULL,
    status varchar(16) NOT NULL,
    is_streamed boolean NOT NULL,
    prompt_id uuid,
    prompt_version_id uuid,
    version_number integer CHECK (version_number >= 0),
    model_id uuid,
    provider_model varchar(200) NOT NULL DEFAULT '',
    unit_id varchar(200) NOT NULL DEFAULT '',
    ab_test_id uuid,
    ab_variant varchar(64) NOT NULL DEFAULT '',
    created_by_id uuid,
    api_key_id uuid,
    metadata jsonb NOT NULL DEFAULT '{}',
    finish_reason varchar(32) NOT NULL DEFAULT '',
    error_code varchar(40) NOT NULL DEFAULT '',
    error_message varchar(500) NOT NULL DEFAULT '',
    input_tokens integer CHECK (input_tokens >= 0),
    cached_input_tokens integer CHECK (cached_input_tokens >= 0),
    cache_write_tokens integer CHECK (cache_write_tokens >= 0),
    output_tokens integer CHECK (output_tokens >= 0),
    reasoning_tokens integer CHECK (reasoning_tokens >= 0),
    cost_usd numeric(24, 12),
    price jsonb,
    queue_ms integer NOT NULL DEFAULT 0 CHECK (queue_ms >= 0),
    latency_ms integer CHECK (latency_ms >= 0),
    first_token_ms integer CHECK (first_token_ms >= 0),
    attempt_count smallint NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    lease_expires_at timestamptz
"""
PAYLOAD = """
    execution_id uuid NOT NULL PRIMARY KEY,
    variables json NOT NULL DEFAULT '{}',
    messages json NOT NULL,
    parameters json NOT NULL DEFAULT '{}',
    tools json,
    response_schema json,
    output text,
    tool_calls json NOT NULL DEFAULT '[]'
"""
ATTEMPT = """
    execution_id uuid NOT NULL,
    number smallint NOT NULL CHECK (number >= 0),
    model_id uuid NOT NULL,
    provider_id uuid NOT NULL,
    provider_model varchar(200) NOT NULL,
    status smallint CHECK (status >= 0),
    error_code varchar(40) NOT NULL DEFAULT '',
    error_message varchar(500) NOT NULL DEFAULT '',
    provider_request_id varchar(200) NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL,
    latency_ms integer NOT NULL CHECK (latency_ms >= 0),
    first_token_ms integer CHECK (first_token_ms >= 0),
    input_tokens integer CHECK (input_tokens >= 0),
    output_tokens integer CHECK (output_tokens >= 0),
    PRIMARY KEY (execution_id, number)
"""


def partitioned(table, key, columns, model):
    """The table, partitioned by RANGE on its key, with a default partition; to Django it is an ordinary model."""
    create = (
        f"CREATE TABLE {table} ({columns}) PARTITION BY RANGE ({key});"
        f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;"
    )
    sql = migrations.RunSQL(create, f"DROP TABLE {table}")
    return migrations.SeparateDatabaseAndState(database_operations=[sql], state_operations=[model])


def make_partitions(apps, schema_editor):
    from apps.executions.partitions import ensure_partitions

    ensure_partitions()


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("organizations", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        partitioned(
            "executions_execution",
            "id",
            EXECUTION,
            migrations.CreateModel(
                name="Execution",
                fields=[
                    (
                        "id",
                        models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False),
                    ),
                    ("organization_id", models.UUIDField()),
                    (
                        "source",
                        models.CharField(
                            choices=[
                                ("api", "Api"),
                                ("batch", "Batch"),
                                ("workflow", "Workflow"),
                                ("evaluation", "Evaluation"),
                                ("judge", "Judge"),
                                ("gateway", "Gateway"),
                            ],
                            default="api",
                            max_length=16,
                        ),
                    ),
                    (
                        "status",
                        models.CharField(
                            choices=[
                                ("queued", "Queued"),
                                ("running", "Running"),
                                ("succeeded", "Succeeded"),
                                ("failed", "Failed"),
                                ("cancelled", "Cancelled"),
                            ],
                            default="queued",
                            max_length=16,
                        ),
                    ),
                    ("is_streamed", models.BooleanField(default=False)),
                    ("prompt_id", models.UUIDField(null=True)),
                    ("prompt_version_id", models.UUIDField(null=True)),
                    ("version_number", models.PositiveIntegerField(null=True)),
                    ("model_id", models.UUIDField(null=True)),
                    ("provider_model", models.CharField(blank=True, max_length=200)),
                    ("unit_id", models.CharField(blank=True, max_length=200)),
                    ("ab_test_id", models.UUIDField(null=True)),
                    ("ab_variant", models.CharField(blank=True, max_length=64)),
                    ("created_by_id", models.UUIDField(null=True)),
                    ("api_key_id", models.UUIDField(null=True)),
                    ("metadata", models.JSONField(default=dict)),
                    ("finish_reason", models.CharField(blank=True, max_length=32)),
                    ("error_code", models.CharField(blank=True, max_length=40)),
                    ("error_message", models.CharField(blank=True, max_length=500)),
                    ("input_tokens", models.PositiveIntegerField(null=True)),
                    ("cached_input_tokens", models.PositiveIntegerField(null=True)),
                    ("cache_write_tokens", models.PositiveIntegerField(null=True)),
                    ("output_tokens", models.PositiveIntegerField(null=True)),
                    ("reasoning_tokens", models.PositiveIntegerField(null=True)),
                    ("cost_usd", models.DecimalField(decimal_places=12, max_digits=24, null=True)),
                    ("price", models.JSONField(null=True)),
                    ("queue_ms", models.PositiveIntegerField(default=0)),
                    ("latency_ms", models.PositiveIntegerField(null=True)),
                    ("first_token_ms", models.PositiveIntegerField(null=True)),
                    ("attempt_count", models.PositiveSmallIntegerField(default=0)),
                    ("created_at", models.DateTimeField()),
                    ("started_at", models.DateTimeField(null=True)),
                    ("finished_at", models.DateTimeField(null=True)),
                    ("lease_expires_at", models.DateTimeField(null=True)),
                ],
                options={
                    "ordering": ["-id"],
                },
            ),
        ),
        partitioned(
            "executions_executionpayload",
            "execution_id",
            PAYLOAD,
            migrations.CreateModel(
                name="ExecutionPayload",
                fields=[
                    (
                        "execution",
                        models.OneToOneField(
                            db_constraint=False,
                            on_delete=django.db.models.deletion.DO_NOTHING,
                            primary_key=True,
                            related_name="payload",
                            serialize=False,
                            to="executions.execution",
                        ),
                    ),
                    ("variables", apps.prompts.fields.OrderedJSONField(default=dict)),
                    ("messages", apps.prompts.fields.OrderedJSONField()),
                    ("parameters", apps.prompts.fields.OrderedJSONField(default=dict)),
                    ("tools", apps.prompts.fields.OrderedJSONField(null=True)),
                    ("response_schema", apps.prompts.fields.OrderedJSONField(null=True)),
                    ("output", models.TextField(null=True)),
                    ("tool_calls", apps.prompts.fields.OrderedJSONField(default=list)),
                ],
                options={
                    "ordering": ["-execution_id"],
                },
            ),
        ),
        partitioned(
            "executions_executionattempt",
            "execution_id",
            ATTEMPT,
            migrations.CreateModel(
                name="ExecutionAttempt",
                fields=[
                    (
                        "pk",
                        models.CompositePrimaryKey(
                            "execution_id", "number", blank=True, editable=False, primary_key=True, serialize=False
                        ),
                    ),
                    (
                        "execution",
                        models.ForeignKey(
                            db_constraint=False,
                            db_index=False,
                            on_delete=django.db.models.deletion.DO_NOTHING,
                            related_name="attempts",
                            to="executions.execution",
                        ),
                    ),
                    ("number", models.PositiveSmallIntegerField()),
                    ("model_id", models.UUIDField()),
                    ("provider_id", models.UUIDField()),
                    ("provider_model", models.CharField(max_length=200)),
                    ("status", models.PositiveSmallIntegerField(null=True)),
                    ("error_code", models.CharField(blank=True, max_length=40)),
                    ("error_message", models.CharField(blank=True, max_length=500)),
                    ("provider_request_id", models.CharField(blank=True, max_length=200)),
                    ("started_at", models.DateTimeField()),
                    ("latency_ms", models.PositiveIntegerField()),
                    ("first_token_ms", models.PositiveIntegerField(null=True)),
                    ("input_tokens", models.PositiveIntegerField(null=True)),
                    ("output_tokens", models.PositiveIntegerField(null=True)),
                ],
                options={
                    "ordering": ["execution_id", "number"],
                },
            ),
        ),
        migrations.CreateModel(
            name="Score",
            fields=[
                ("id", models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("name", models.CharField(max_length=100)),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("numeric", "Numeric"),
                            ("boolean", "Boolean"),
                            ("categorical", "Categorical"),
                            ("text", "Text"),
                        ],
                        max_length=16,
                    ),
                ),
                ("number", models.FloatField(null=True)),
                ("text", models.TextField(blank=True)),
                ("comment", models.TextField(blank=True)),
                (
                    "source",
                    models.CharField(
                        choices=[("human", "Human"), ("api", "Api"), ("evaluator", "Evaluator")], max_length=16
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("type__in", ["numeric", "boolean", "categorical", "text"])),
                        name="executions_score_type_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("source__in", ["human", "api", "evaluator"])),
                        name="executions_score_source_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("number__isnull", False), ("text", ""), ("type", "numeric")),
                            models.Q(("number__in", [0.0, 1.0]), ("text", ""), ("type", "boolean")),
                            models.Q(
                                models.Q(("text", ""), _negated=True),
                                ("number__isnull", True),
                                ("type__in", ["categorical", "text"]),
                            ),
                            _connector="OR",
                        ),
                        name="executions_score_value_fits_type",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(fields=["organization_id", "-id"], name="executions_by_organization"),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(fields=["organization_id", "prompt_id", "-id"], name="executions_by_prompt"),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(fields=["organization_id", "model_id", "-id"], name="executions_by_model"),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status", "failed")), fields=["organization_id", "-id"], name="executions_failed"
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status", "running")), fields=["lease_expires_at"], name="executions_leases"
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("unit_id", ""), _negated=True),
                fields=["organization_id", "unit_id", "-id"],
                name="executions_by_unit",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=django.contrib.postgres.indexes.GinIndex(
                condition=models.Q(("metadata", {}), _negated=True), fields=["metadata"], name="executions_by_metadata"
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["queued", "running", "succeeded", "failed", "cancelled"])),
                name="executions_execution_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(("source__in", ["api", "batch", "workflow", "evaluation", "judge", "gateway"])),
                name="executions_execution_source_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("status__in", ["succeeded", "failed", "cancelled"])), ("finished_at__isnull", False)
                    ),
                    models.Q(
                        models.Q(("status__in", ["succeeded", "failed", "cancelled"]), _negated=True),
                        ("finished_at__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="executions_execution_end_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(models.Q(("error_code", ""), _negated=True), ("status", "failed")),
                    models.Q(models.Q(("status", "failed"), _negated=True), ("error_code", "")),
                    _connector="OR",
                ),
                name="executions_execution_failure_has_code",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "running"), _negated=True),
                    models.Q(("lease_expires_at__isnull", False), ("started_at__isnull", False)),
                    _connector="OR",
                ),
                name="executions_execution_running_has_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("cost_usd__isnull", True),
                    models.Q(("cost_usd__gte", 0), ("price__isnull", False)),
                    _connector="OR",
                ),
                name="executions_execution_cost_has_price",
            ),
        ),
        migrations.AddField(
            model_name="score",
            name="created_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="score",
            name="execution",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="scores",
                to="executions.execution",
            ),
        ),
        migrations.AddField(
            model_name="score",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="organizations.organization"
            ),
        ),
        migrations.AddIndex(
            model_name="score",
            index=models.Index(fields=["organization", "execution", "-id"], name="executions_score_execution"),
        ),
        migrations.AddIndex(
            model_name="score",
            index=models.Index(fields=["organization", "name", "-id"], name="executions_score_name"),
        ),
        migrations.RunPython(make_partitions, migrations.RunPython.noop),
    ]
