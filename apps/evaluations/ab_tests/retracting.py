"""Scores that are taken back go out of the sums again."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from apps.evaluations.ab_tests.collecting import lock_for_sums
from apps.evaluations.models import ABPending
from apps.executions.models import Execution, Score

_DROP = "DELETE FROM evaluations_abpending WHERE test_id = %s AND kind = %s AND ref_id = ANY(%s) RETURNING ref_id"


def retract_scores(scores: Sequence[Score]) -> None:
    """Call it in the transaction that deletes them. Of those that are in the sums word is left, the rest never is.

    The lock keeps the collector from adding up meanwhile what is taken back.
    """
    numbers = [score for score in scores if score.number is not None]
    if not numbers:
        return
    executions = Execution.objects.filter(
        id__in={score.execution_id for score in numbers}, ab_test_id__isnull=False
    ).values_list("id", "ab_test_id")
    tests: dict[UUID, UUID] = {key: test_id for key, test_id in executions if test_id is not None}
    by_test: dict[UUID, list[Score]] = defaultdict(list)
    for score in numbers:
        if score.execution_id in tests:
            by_test[tests[score.execution_id]].append(score)
    for test_id, own in sorted(by_test.items()):
        if lock_for_sums(test_id) is not None:
            _retract(test_id, own)


def _retract(test_id: UUID, scores: Sequence[Score]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_DROP, [test_id, ABPending.Kind.SCORE, [score.id for score in scores]])
        waited = {row[0] for row in cursor.fetchall()}
    ABPending.objects.bulk_create(
        ABPending(
            test_id=test_id,
            kind=ABPending.Kind.SCORE_RETRACTED,
            ref_id=score.execution_id,
            name=score.name,
            number=score.number,
        )
        for score in scores
        if score.id not in waited
    )
