"""The rows of an evaluation that was deleted, some at a time: there may be millions."""

from uuid import UUID

from django.db import connection, transaction

from apps.evaluations.models import Evaluation

CHUNK = 2000
_CASES = "SELECT id FROM evaluations_evaluationcase WHERE evaluation_id = %s LIMIT %s"
_DELETE_SCORES = "DELETE FROM evaluations_evaluationscore WHERE case_id = ANY(%s)"
_DELETE_CASES = "DELETE FROM evaluations_evaluationcase WHERE id = ANY(%s)"


def purge(evaluation_id: UUID) -> None:
    """Of an evaluation that `delete_evaluation` took out of sight; repeating it does no harm."""
    evaluation = Evaluation.objects.filter(id=evaluation_id, deleted_at__isnull=False).first()
    if evaluation is None:
        return
    while _purge_chunk(evaluation_id):
        pass
    evaluation.delete()


def _purge_chunk(evaluation_id: UUID) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CASES, [evaluation_id, CHUNK])
        cases = [row[0] for row in cursor.fetchall()]
        if cases:
            cursor.execute(_DELETE_SCORES, [cases])
            cursor.execute(_DELETE_CASES, [cases])
    return bool(cases)
