"""Queues: what they ask, of whom, and how far they are."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Avg, Count, F, Q

from apps.evaluations.models import Annotation, AnnotationCriterion, AnnotationQueue, AnnotationStatus, ScoreConfig
from apps.users.models import Membership, User
from everquant.api.errors import BadRequest, Conflict

_SCORES = "executions:score"


@transaction.atomic
def create_queue(
    *, organization_id: UUID, created_by: User, score_config_ids: Sequence[UUID], **fields: Any
) -> AnnotationQueue:
    """Raises BadRequest naming `score_config_ids.<n>` or `assignees.<n>`, Conflict when the name is taken."""
    queue = AnnotationQueue(organization_id=organization_id, created_by=created_by, **fields)
    configs = _configs(organization_id, score_config_ids)
    _check_assignees(queue)
    _save(queue)
    _ask_for(queue, configs)
    return queue


@transaction.atomic
def update_queue(*, queue: AnnotationQueue, fields: dict[str, Any]) -> AnnotationQueue:
    """Raises as `create_queue`. What was said under score configs that are no longer asked for is kept."""
    wanted = fields.pop("score_config_ids", None)
    for name, value in fields.items():
        setattr(queue, name, value)
    if "assignees" in fields:
        _check_assignees(queue)
    if wanted is not None and list(wanted) != list(queue.criteria.values_list("score_config_id", flat=True)):
        configs = _configs(queue.organization_id, wanted)
        queue.criteria.all().delete()
        _ask_for(queue, configs)
    _save(queue)
    return queue


def _configs(organization_id: UUID, ids: Sequence[UUID]) -> list[ScoreConfig]:
    found = ScoreConfig.objects.for_organization(organization_id).alive().in_bulk(ids)
    details = {f"score_config_ids.{n}": "No such object." for n, one in enumerate(ids) if one not in found}
    if details:
        raise BadRequest("There are no such score configs.", details=details)
    return [found[one] for one in ids]


def _check_assignees(queue: AnnotationQueue) -> None:
    if not queue.assignees:
        return
    members = Membership.objects.for_organization(queue.organization_id).in_force().filter(user_id__in=queue.assignees)
    may = {member.user_id for member in members if _SCORES in member.permissions}
    details = {
        f"assignees.{n}": f"No member of the organization with {_SCORES}."
        for n, one in enumerate(queue.assignees)
        if one not in may
    }
    if details:
        raise BadRequest("There are no such members.", details=details)


def _save(queue: AnnotationQueue) -> None:
    try:
        with transaction.atomic():
            queue.save()
    except IntegrityError as error:
        if "evaluations_annotationqueue_name_unique" not in str(error):
            raise
        raise Conflict("A queue has this name already.", details={"name": "Taken."}) from None


def _ask_for(queue: AnnotationQueue, configs: Sequence[ScoreConfig]) -> None:
    for position, config in enumerate(configs):
        AnnotationCriterion.objects.create(queue=queue, score_config=config, position=position)


def progress_of(queue: AnnotationQueue) -> dict[str, Any]:
    """Counts of tasks and annotations, and each annotator's, the busiest first; times in milliseconds."""
    people = list(
        Annotation.objects.filter(queue=queue)
        .values("annotator_id")
        .annotate(
            **{status.value: Count("id", filter=Q(status=status)) for status in AnnotationStatus},
            mean_duration_ms=Avg("duration_ms"),
        )
        .order_by("-submitted", F("annotator_id"))
    )
    emails = emails_of(person["annotator_id"] for person in people)
    return {
        "tasks": counts_of_tasks(queue),
        "annotations": {status.value: sum(person[status.value] for person in people) for status in AnnotationStatus},
        "annotators": [{**person, "email": emails.get(person["annotator_id"])} for person in people],
    }


def counts_of_tasks(queue: AnnotationQueue) -> dict[str, int]:
    """A task is complete with as many submissions as the queue wants, and begun with fewer."""
    wanted = queue.annotations_per_task
    counts: dict[str, int] = queue.tasks.aggregate(
        total=Count("id"),
        complete=Count("id", filter=Q(submitted_count__gte=wanted)),
        begun=Count("id", filter=Q(submitted_count__gt=0, submitted_count__lt=wanted)),
    )
    return counts


def emails_of(user_ids: Any) -> dict[UUID, str]:
    return dict(User.objects.filter(id__in=set(user_ids)).values_list("id", "email"))
