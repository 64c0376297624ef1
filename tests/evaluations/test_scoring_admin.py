"""Operators see evaluators, versions and score configs, and change only what makes no difference to a score."""

import pytest
from django.test import Client
from django.urls import reverse

from apps.evaluations.models import Evaluator, ScoreConfig
from apps.users.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator():
    client = Client()
    client.force_login(User.objects.create_superuser("operator@acme.example", "a long enough one"))
    return client


@pytest.fixture
def version(make_evaluator, organization):
    config = ScoreConfig.objects.create(
        organization=organization, name="tone", type="categorical", categories=[{"label": "<b>kind</b>", "value": 1}]
    )
    return make_evaluator("contains", {"texts": ["<script>"]}, score_config=config)


def test_lists_and_pages_are_shown(operator, version):
    rows = {"evaluator": version.evaluator, "evaluatorversion": version, "scoreconfig": version.score_config}
    for model, row in rows.items():
        assert operator.get(reverse(f"admin:evaluations_{model}_changelist")).status_code == 200
        page = operator.get(reverse(f"admin:evaluations_{model}_change", args=[row.pk]))
        assert page.status_code == 200
        assert b"<script>&quot;" not in page.content
        assert b"<b>kind</b>" not in page.content
        assert operator.get(reverse(f"admin:evaluations_{model}_add")).status_code == 403
        assert (
            operator.post(reverse(f"admin:evaluations_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code
            == 403
        )


def test_names_and_descriptions_are_changed_and_nothing_else(operator, version):
    page = reverse("admin:evaluations_evaluator_change", args=[version.evaluator.pk])
    management = {f"versions-{name}_FORMS": 0 for name in ("TOTAL", "INITIAL")}
    body = {"name": "Renamed", "description": "New", "kind": "regex", "slug": "other", **management}
    assert operator.post(page, body).status_code == 302
    evaluator = Evaluator.objects.get()
    assert (evaluator.name, evaluator.description) == ("Renamed", "New")
    assert (evaluator.kind, evaluator.slug) == ("contains", version.evaluator.slug)
    page = reverse("admin:evaluations_scoreconfig_change", args=[version.score_config.pk])
    assert operator.post(page, {"description": "New", "type": "text", "name": "other"}).status_code == 302
    config = ScoreConfig.objects.get()
    assert (config.description, config.type, config.name) == ("New", "categorical", "tone")
