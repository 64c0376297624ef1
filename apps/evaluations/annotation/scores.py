"""Annotations as scores of the execution that gave the output."""

from collections.abc import Sequence
from uuid import UUID

from apps.evaluations.ab_tests.retracting import retract_scores
from apps.evaluations.models import Annotation, AnnotationTask, ScoreConfig
from apps.executions.models import Execution, Score
from apps.executions.services import add_score
from apps.users.principal import Principal


def replace_scores(
    *, annotation: Annotation, task: AnnotationTask, configs: Sequence[ScoreConfig], by: Principal
) -> list[UUID]:
    """Ids of the new scores, in place of those that this annotation gave before; none without an execution."""
    organization_id = annotation.organization_id
    former = list(Score.objects.for_organization(organization_id).filter(id__in=annotation.score_ids))
    retract_scores(former)
    for score in former:
        score.delete()
    if task.execution_id is None:
        return []
    execution = Execution.objects.for_organization(organization_id).filter(id=task.execution_id).first()
    if execution is None:
        return []
    given = [(config, annotation.values[str(config.id)]) for config in configs if str(config.id) in annotation.values]
    return [
        add_score(
            execution=execution, name=config.name, type=config.type, value=value, comment=annotation.comment, by=by
        ).id
        for config, value in given
    ]
