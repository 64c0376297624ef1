"""What the tests of annotation have in common."""

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from apps.evaluations.models import Annotation, AnnotationQueue, AnnotationTask, ScoreConfig
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


def store(queue: Json, people: Sequence[Person], table: Sequence[Sequence[Json]]) -> None:
    """As if it had been submitted: `table[person][task]` are values by name, None for nothing."""
    found = AnnotationQueue.objects.get(id=queue["id"])
    ids = {criterion.score_config.name: str(criterion.score_config.id) for criterion in found.criteria.all()}
    common = {"organization": found.organization, "queue": found}
    tasks = AnnotationTask.objects.bulk_create(
        AnnotationTask(**common, position=n, source_key=f"item:{n}", input={"n": n}, output=f"It is {n}.")
        for n in range(len(table[0]))
    )
    now = timezone.now()
    Annotation.objects.bulk_create(
        Annotation(
            queue=found,
            organization=found.organization,
            task=task,
            annotator_id=person.user.id,
            status="submitted",
            started_at=now,
            submitted_at=now,
            values={ids[name]: value for name, value in values.items()},
        )
        for person, row in zip(people, table, strict=True)
        for task, values in zip(tasks, row, strict=True)
        if values is not None
    )
