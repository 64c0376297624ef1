"""What the demo organization has to evaluate with."""

import pytest
from django.core.management import call_command

from apps.evaluations.examples import EVALUATORS, TICKETS, add_examples
from apps.evaluations.models import Dataset, DatasetItem, DatasetVersion, Evaluator, EvaluatorVersion
from apps.organizations.models import Organization
from apps.prompts.models import Prompt
from apps.users.models import Membership
from tests.evaluations.conftest import EVALUATORS as PATH

pytestmark = pytest.mark.django_db


@pytest.fixture
def demo(db, settings):
    settings.DEMO_PASSWORD = "examples of evaluators"
    call_command("create_demo")
    return Organization.objects.get(slug="demo")


def test_the_demo_has_them_once(demo, sign_in):
    slugs = {fields["slug"] for fields in EVALUATORS}
    assert set(Evaluator.objects.for_organization(demo.id).values_list("slug", flat=True)) == slugs
    author = Membership.objects.get(organization=demo, role="admin").user
    Evaluator.objects.filter(slug="text/similar").update(name="Mine")
    add_examples(demo, author)
    assert (Evaluator.objects.count(), EvaluatorVersion.objects.count()) == (len(slugs), len(slugs))
    assert Evaluator.objects.get(slug="text/similar").name == "Mine"
    assert (Dataset.objects.count(), DatasetVersion.objects.count(), DatasetItem.objects.count()) == (1, 1, 8)


def test_they_fit_each_other_and_the_prompt_that_they_are_for(demo, sign_in):
    member = sign_in(Membership.objects.get(organization=demo, role="editor"))
    version = Dataset.objects.get(slug=TICKETS["slug"]).current_version
    prompt = Prompt.objects.get(organization=demo, slug="support/classify-ticket")
    for item in DatasetItem.objects.of_version(version):
        rendered = member.post(f"/api/v1/prompts/{prompt.id}/render", {"variables": item.input})
        assert rendered.status_code == 200, rendered.content
        right = {"output": item.expected, "expected": item.expected}
        for slug in ("support/ticket-shape", "support/ticket-fields"):
            path = f"{PATH}/{Evaluator.objects.get(slug=slug).id}/test"
            assert member.post(path, right).json()["data"]["score"]["score"] == 1
        wrong = {**right, "output": {**item.expected, "urgency": 9}}
        assert member.post(path, wrong).json()["data"]["score"]["score"] == 0.5
