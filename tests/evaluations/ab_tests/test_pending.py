"""Whatever ends an execution of a test leaves word in the transaction that ends it."""

from django.db import connection, transaction
from django.utils import timezone

from apps.evaluations.models import ABObservation, ABPending
from apps.executions.models import Execution, Score


def mark(execution_id, test):
    Execution.objects.filter(id=execution_id).update(ab_test_id=test.id, ab_variant="control", ab_phase=1)


def pending():
    return sorted(ABPending.objects.values_list("kind", "ref_id"))


def test_an_end_leaves_word_once(prompt, execute, make_ab_test):
    test, other = make_ab_test(prompt), execute(prompt, version=1)
    ABPending.objects.all().delete()
    execution = Execution.objects.get(id=other["id"])
    mark(execution.id, test)
    assert pending() == []
    Execution.objects.filter(id=execution.id).update(
        status="running", finished_at=None, lease_expires_at=timezone.now()
    )
    Execution.objects.filter(id=execution.id).update(status="succeeded", finished_at=timezone.now())
    Execution.objects.filter(id=execution.id).update(finished_at=timezone.now())
    assert pending() == [("execution", execution.id)]


def test_numbers_said_of_it_leave_word(prompt, execute, make_ab_test, organization):
    test, execution = make_ab_test(prompt), execute(prompt, version=1)
    mark(execution["id"], test)
    score = Score.objects.create(
        organization=organization, execution_id=execution["id"], name="useful", type="numeric", number=1, source="api"
    )
    Score.objects.create(
        organization=organization, execution_id=execution["id"], name="why", type="text", text="short", source="api"
    )
    told = ABObservation.objects.create(
        organization=organization, test=test, unit_id="ada", variant="control", phase=1, is_exposure=True
    )
    found = [row for row in pending() if row[0] != "execution"]
    assert found == [("observation", told.id), ("score", score.id)]


def test_what_is_rolled_back_leaves_none(prompt, organization, make_ab_test):
    test = make_ab_test(prompt)
    with transaction.atomic():
        ABObservation.objects.create(
            organization=organization, test=test, unit_id="ada", variant="control", phase=1, is_exposure=True
        )
        assert ABPending.objects.count() == 1
        transaction.set_rollback(True)
    assert ABPending.objects.count() == 0
    assert connection.in_atomic_block
