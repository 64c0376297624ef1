"""A dataset and evaluators to begin with, for the demo's prompt that classifies tickets."""

from typing import Any

from django.db import transaction

from apps.evaluations.datasets.items import NewItem
from apps.evaluations.datasets.services import add_items, create_dataset
from apps.evaluations.models import Dataset, Evaluator, OnDuplicate
from apps.evaluations.scoring.services import create_evaluator
from apps.organizations.models import Organization
from apps.users.models import User

_CATEGORIES = ["billing", "bug", "account", "feature", "other"]
_TICKET = {"type": "object", "required": ["subject", "body"]}
TICKETS: dict[str, Any] = {
    "slug": "support/tickets",
    "name": "Support tickets",
    "description": "Tickets with the category and urgency that people gave them: items for support/classify-ticket.",
    "tags": ["example"],
    "input_schema": {"type": "object", "required": ["ticket"], "properties": {"ticket": _TICKET}},
    "expected_schema": {"type": "object", "properties": {"category": {"enum": _CATEGORIES}}},
}
# subject, body, category, urgency
_SAID = (
    ("Charged twice", "My card was charged twice for March. Please send one payment back.", "billing", 3),
    ("Cannot sign in", "Since this morning nobody in our team gets past the login page.", "account", 5),
    ("Export is empty", "The CSV export has a header and no rows, whatever filter I choose.", "bug", 3),
    ("Dark mode", "It would be lovely to have a dark theme for late evenings.", "feature", 1),
    ("Invoice address", "Please put our new address on the invoices from next month on.", "billing", 2),
    ("Crash on upload", "The app closes when I upload a photo. I cannot finish my report today.", "bug", 4),
    ("Change of owner", "Our admin has left. How do I become the owner of the account?", "account", 3),
    ("Thank you", "Just wanted to say that your support is great!", "other", 1),
)
EVALUATORS: tuple[dict[str, Any], ...] = (
    {
        "slug": "support/ticket-shape",
        "name": "Has the shape of a ticket",
        "description": "Whether the answer is JSON with a known category and an urgency from 1 to 5.",
        "kind": "json_schema",
        "config": {
            "schema": {
                "type": "object",
                "required": ["category", "urgency"],
                "properties": {
                    "category": {"enum": _CATEGORIES},
                    "urgency": {"type": "integer", "minimum": 1, "maximum": 5},
                },
            }
        },
    },
    {
        "slug": "support/ticket-fields",
        "name": "Category and urgency are right",
        "description": "The share of the two fields that are as expected.",
        "kind": "json_fields",
        "config": {"fields": ["category", "urgency"]},
    },
    {
        "slug": "text/similar",
        "name": "Similar to the expected text",
        "description": "The F1 score of their words, as in SQuAD; 0.8 passes.",
        "kind": "token_similarity",
        "config": {"measure": "f1", "threshold": 0.8},
    },
)


@transaction.atomic
def add_examples(organization: Organization, author: User) -> None:
    """What is there already stays as it is."""
    for fields in EVALUATORS:
        if not _has(Evaluator, organization, fields["slug"]):
            create_evaluator(organization_id=organization.pk, created_by=author, **fields)
    if not _has(Dataset, organization, TICKETS["slug"]):
        _add_tickets(organization, author)


def _has(model: Any, organization: Organization, slug: str) -> bool:
    return bool(model.objects.for_organization(organization.pk).alive().filter(slug=slug).exists())


def _add_tickets(organization: Organization, author: User) -> None:
    dataset = create_dataset(organization_id=organization.pk, created_by=author, **TICKETS)
    items = [
        NewItem(
            input={"ticket": {"subject": subject, "body": body}},
            expected={"category": category, "urgency": urgency},
        )
        for subject, body, category, urgency in _SAID
    ]
    add_items(dataset=dataset, items=items, on_duplicate=OnDuplicate.SKIP, message="First tickets", created_by=author)
