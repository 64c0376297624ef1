"""A running test of the demo's smallest prompt, so that its next executions have something to be counted for."""

from django.db import transaction

from apps.evaluations.ab_tests.measures import Aggregation, Builtin, Direction
from apps.evaluations.ab_tests.services import create_test, start
from apps.evaluations.ab_tests.variants import VariantWish
from apps.organizations.models import Organization
from apps.prompts.models import ABTest, Prompt
from apps.users.models import User
from apps.users.permissions import PERMISSIONS, Role
from apps.users.principal import Principal

PROMPT, NAME = "hello", "Does an offer of help help?"


@transaction.atomic
def add_example_test(organization: Organization, author: User) -> None:
    """What is there already stays as it is; without the prompt, or with another test of it, there is none."""
    prompt = Prompt.objects.for_organization(organization.pk).alive().filter(slug=PROMPT).first()
    if prompt is None or ABTest.objects.filter(prompt=prompt).exists():
        return
    test = create_test(
        prompt=prompt,
        created_by_id=author.pk,
        name=NAME,
        hypothesis="People who are offered help get further, and it costs a few tokens more.",
        variants=[
            VariantWish(name="control", is_control=True, weight=0.5, version=1),
            VariantWish(name="offer-help", weight=0.5, version=2),
        ],
        metrics=[
            {
                "name": "helpful",
                "measure": "score:helpful",
                "aggregation": Aggregation.MEAN,
                "direction": Direction.INCREASE,
            },
            {
                "name": "cost",
                "measure": Builtin.COST_USD,
                "aggregation": Aggregation.MEAN,
                "direction": Direction.DECREASE,
            },
        ],
        primary_metric="helpful",
        min_effect=0.05,
    )
    principal = Principal(author.pk, organization.pk, author.email, Role.ADMIN, frozenset(PERMISSIONS))
    start(test=test, by=principal)
