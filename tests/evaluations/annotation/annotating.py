"""What the tests of annotation have in common."""

from typing import Any

from apps.evaluations.models import ScoreConfig
from tests.conftest import Person

QUEUES = "/api/v1/annotation-queues"
ANNOTATIONS = "/api/v1/annotations"
TONES = [{"label": "kind", "value": 2}, {"label": "plain", "value": 1}, {"label": "rude", "value": 0}]

Json = Any


def config_of(organization, name="helpful", type="boolean", **fields) -> ScoreConfig:  # noqa: A002 (the field's name)
    return ScoreConfig.objects.create(organization=organization, name=name, type=type, **fields)


def items(count: int) -> list[Json]:
    return [{"input": {"question": f"What is {n}?"}, "output": f"It is {n}."} for n in range(count)]


def fill(person: Person, queue: Json, count: int = 1, **body: Json) -> Json:
    response = person.client.post(f"{QUEUES}/{queue['id']}/tasks", body or {"items": items(count)})
    assert response.status_code == 200, response.content
    return response.json()["data"]


def claim(person: Person, queue: Json) -> Json:
    response = person.client.post(f"{QUEUES}/{queue['id']}/next")
    assert response.status_code == 200, response.content
    return response.json()["data"]["annotation"]


def put(person: Person, annotation: Json, values: Json, comment: str = "") -> Any:
    return person.client.put(f"{ANNOTATIONS}/{annotation['id']}", {"values": values, "comment": comment})


def annotate(person: Person, queue: Json, *values: Json) -> None:
    """Each task that this person gets, with these values, until they are used up."""
    for value in values:
        response = put(person, claim(person, queue), value)
        assert response.status_code == 200, response.content
