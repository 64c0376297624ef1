"""The demo organization has a running A/B test."""

import pytest
from django.core.management import call_command

from apps.evaluations.ab_tests.examples import NAME, add_example_test
from apps.evaluations.ab_tests.looking_after import collect_all
from apps.evaluations.models import ABArm
from apps.organizations.models import Organization
from apps.prompts.models import ABTest, Prompt
from apps.users.models import Membership, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def demo(settings):
    settings.DEMO_PASSWORD = "correct horse battery"
    call_command("create_demo")
    return Organization.objects.get(slug="demo")


def test_it_counts_what_is_executed(demo, sign_in):
    test = ABTest.objects.get()
    assert (test.name, test.status, test.prompt.slug) == (NAME, "running", "hello")
    client = sign_in(Membership.objects.get(organization=demo, role="editor"))
    answers = {
        client.post(
            f"/api/v1/prompts/{test.prompt_id}/execute", {"variables": {"name": "Ada"}, "unit_id": f"person {number}"}
        ).json()["data"]["output"]
        for number in range(12)
    }
    assert answers == {"Hello, Ada!", "Hello, Ada! How can I help you today?"}
    collect_all()
    assert sum(ABArm.objects.filter(test=test).values_list("units", flat=True)) == 12


def test_it_is_made_once(demo):
    add_example_test(demo, User.objects.get(email="admin@example.com"))
    assert ABTest.objects.count() == 1


def test_without_its_prompt_there_is_none(demo):
    ABTest.objects.all().delete()
    Prompt.objects.get(slug="hello").soft_delete()
    add_example_test(demo, User.objects.get(email="admin@example.com"))
    assert not ABTest.objects.exists()
