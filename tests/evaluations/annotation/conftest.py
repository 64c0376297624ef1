"""Score configs, queues made over HTTP, and people who annotate."""

import pytest

from apps.evaluations.models import AnnotationQueue
from tests.conftest import Person, make_person
from tests.evaluations.annotation.annotating import QUEUES, TONES, config_of


@pytest.fixture
def configs(organization):
    """One of each type: helpful, tone, score from 1 to 5, and why."""
    return [
        config_of(organization),
        config_of(organization, "tone", "categorical", categories=TONES),
        config_of(organization, "score", "numeric", minimum=1, maximum=5),
        config_of(organization, "why", "text"),
    ]


@pytest.fixture
def make_queue(editor, configs):
    """Create a queue over HTTP, with all configs unless some are named; answers its data."""

    def make(person: Person = editor, **fields):
        named = fields.pop("configs", configs)
        body = {"name": f"Queue {AnnotationQueue.objects.count()}", "score_config_ids": [c.id for c in named], **fields}
        response = person.client.post(QUEUES, body)
        assert response.status_code == 201, response.content
        return response.json()["data"]

    return make


@pytest.fixture
def annotators(organization, sign_in):
    """Three more editors."""
    return [make_person(organization, f"{name}@acme.example", "editor", sign_in) for name in ("ann", "ben", "cleo")]
