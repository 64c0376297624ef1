"""Many people at one queue at the same time: a task has never more of them than are wanted, nor one of them twice."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connection

from apps.evaluations.annotation.claiming import claim_next, release, skip, submit
from apps.evaluations.models import Annotation, AnnotationCriterion, AnnotationQueue, AnnotationTask
from apps.users.permissions import PERMISSIONS, Role
from apps.users.principal import Principal
from everquant.api.errors import Conflict, NotFound
from tests.evaluations.annotation.annotating import config_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def filled(organization):
    """A queue with so many tasks, to be annotated so often each."""

    def make(tasks: int, *, per_task: int) -> AnnotationQueue:
        queue = AnnotationQueue.objects.create(organization=organization, name="Q", annotations_per_task=per_task)
        AnnotationCriterion.objects.create(queue=queue, score_config=config_of(organization), position=0)
        AnnotationTask.objects.bulk_create(
            AnnotationTask(organization=organization, queue=queue, position=n, source_key=f"item:{n}")
            for n in range(tasks)
        )
        return queue

    return make


def somebody(organization) -> Principal:
    return Principal(uuid4(), organization.id, "a@acme.example", Role.EDITOR, frozenset(PERMISSIONS))


def at_once(calls):
    """What each call gave, begun together in threads of their own."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        try:
            barrier.wait(10)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_two_callers_never_have_more_than_are_wanted(filled, organization):
    queue = filled(3, per_task=2)
    people = [somebody(organization) for _ in range(10)]
    claimed = at_once([lambda by=by: claim_next(queue=queue, by=by) for by in people])
    tasks = Counter(annotation.task_id for annotation in claimed if annotation is not None)
    assert sorted(tasks.values()) == [2, 2, 2]
    assert list(AnnotationTask.objects.values_list("taken_count", flat=True)) == [2, 2, 2]


def test_who_asks_twice_at_once_has_one_task(filled, organization):
    queue, by = filled(5, per_task=1), somebody(organization)
    claimed = at_once([lambda: claim_next(queue=queue, by=by)] * 4)
    assert len({annotation.id for annotation in claimed if annotation is not None}) == 1
    assert Annotation.objects.count() == 1
    assert sum(AnnotationTask.objects.values_list("taken_count", flat=True)) == 1


def test_everybody_until_nothing_is_left(filled, organization):
    queue = filled(6, per_task=2)

    def work(by):
        while (annotation := claim_next(queue=queue, by=by)) is not None:
            submit(annotation=annotation, by=by, values={"helpful": True}, comment="")

    at_once([lambda by=by: work(by) for by in [somebody(organization) for _ in range(4)]])
    counts = AnnotationTask.objects.values_list("taken_count", "submitted_count")
    assert set(counts) == {(2, 2)}
    assert Annotation.objects.submitted().count() == 12


def test_the_last_place_of_a_task_is_given_once(filled, organization):
    """Expired or skipped, several people may come back: the first gets the place."""
    queue = filled(1, per_task=1)
    late = []
    for _ in range(4):
        by = somebody(organization)
        annotation = claim_next(queue=queue, by=by)
        skip(annotation=annotation, by=by)
        late.append((annotation, by))

    def come_back(annotation, by):
        try:
            submit(annotation=annotation, by=by, values={"helpful": False}, comment="")
        except Conflict:
            return False
        return True

    told = at_once([lambda one=one: come_back(*one) for one in late])
    assert sorted(told) == [False, False, False, True]
    assert AnnotationTask.objects.values_list("taken_count", "submitted_count").get() == (1, 1)


def test_what_was_given_back_meanwhile_is_not_found(filled, organization):
    queue, by = filled(1, per_task=1), somebody(organization)
    annotation = claim_next(queue=queue, by=by)
    release(annotation=annotation, by=by)
    with pytest.raises(NotFound):
        submit(annotation=annotation, by=by, values={"helpful": True}, comment="")
    assert AnnotationTask.objects.values_list("taken_count", "submitted_count").get() == (0, 0)
