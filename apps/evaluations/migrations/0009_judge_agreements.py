import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import everquant.db


class Migration(migrations.Migration):
    dependencies = [
        ("evaluations", "0008_gate_results"),
        ("organizations", "0006_events_of_evaluations"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="JudgeAgreement",
            fields=[
                ("id", models.UUIDField(default=everquant.db.uuid7, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("subject", models.CharField(max_length=100)),
                ("label", models.CharField(max_length=100)),
                (
                    "weighting",
                    models.CharField(
                        choices=[("none", "None"), ("linear", "Linear"), ("quadratic", "Quadratic")],
                        default="none",
                        max_length=16,
                    ),
                ),
                ("threshold", models.FloatField()),
                ("n", models.PositiveIntegerField()),
                ("n_missing", models.PositiveIntegerField()),
                ("n_unlabelled", models.PositiveIntegerField()),
                ("kappa", models.FloatField()),
                ("ci_low", models.FloatField()),
                ("ci_high", models.FloatField()),
                ("categories", models.JSONField()),
                ("confusion", models.JSONField()),
                ("kind_version", models.PositiveIntegerField()),
                ("provider_model", models.CharField(max_length=200)),
                (
                    "created_by",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "evaluation",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="evaluations.evaluation",
                    ),
                ),
                (
                    "evaluator_version",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="agreements",
                        to="evaluations.evaluatorversion",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="organizations.organization"
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at", "-id"],
                "indexes": [
                    models.Index(
                        fields=["evaluator_version", "-created_at", "-id"], name="evaluations_agreement_newest"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("weighting__in", ["none", "linear", "quadratic"])),
                        name="evaluations_agreement_weighting_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("ci_high__gte", models.F("kappa")), ("ci_low__lte", models.F("kappa"))),
                        name="evaluations_agreement_interval",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("ci_high__lte", 1), ("ci_low__gte", -1), ("threshold__gte", -1), ("threshold__lte", 1)
                        ),
                        name="evaluations_agreement_range",
                    ),
                    models.CheckConstraint(condition=models.Q(("n__gte", 1)), name="evaluations_agreement_n"),
                ],
            },
        ),
    ]
