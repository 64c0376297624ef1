"""Who does which task: claims with a lease, and how they end.

Whoever changes an annotation and its task locks the annotation first. A task's counts change only under its lock, so
that never more people than wanted have it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from apps.evaluations.annotation.scores import replace_scores
from apps.evaluations.annotation.values import checked_values, configs_of
from apps.evaluations.models import Annotation, AnnotationQueue, AnnotationStatus, AnnotationTask
from apps.evaluations.models.annotations import LEASE, TAKING
from apps.users.principal import Principal
from everquant.api.errors import Conflict, Forbidden, NotFound
from everquant.db import lock_for_update

_MOST_EXPIRED = 100


def require_annotator(queue: AnnotationQueue, by: Principal) -> None:
    """Raises Forbidden when the queue is assigned to others."""
    if queue.assignees and by.user_id not in queue.assignees:
        raise Forbidden("This queue is assigned to others.")


def open_annotation(*, queue: AnnotationQueue, by: Principal) -> Annotation | None:
    """The task that this person has open, with its queue and task; None without one."""
    own = _open_of(queue, by).first()
    return None if own is None else _with_task(own)


@transaction.atomic
def claim_next(*, queue: AnnotationQueue, by: Principal) -> Annotation | None:
    """The task that this person has open, else the least annotated one that they have not done; None without any.

    The claim lasts for 30 minutes from now. Raises Forbidden, and Conflict when the queue is not active.
    """
    require_annotator(queue, by)
    if not queue.is_active:
        raise Conflict("The queue is not active.")
    now = timezone.now()
    own = _open_of(queue, by).select_for_update().first()
    if own is not None:
        own.claimed_until = now + LEASE
        Annotation.objects.filter(pk=own.pk).update(claimed_until=own.claimed_until)
        return _with_task(own)
    _expire(queue, now)
    task = _next_task(queue, by)
    if task is None:
        return None
    try:
        with transaction.atomic():
            return _take(task, by, now)
    except IntegrityError:
        # The same person has asked twice at once: the other request has it.
        return open_annotation(queue=queue, by=by)


@transaction.atomic
def submit(*, annotation: Annotation, by: Principal, values: Mapping[str, Any], comment: str) -> Annotation:
    """What this person says, by names of score configs; again to change it. Its execution gets the scores.

    Raises BadRequest naming `values.<name>`, and Conflict for another person's, or when the claim has expired and
    others have taken the task since.
    """
    found = _locked(annotation, by)
    queue = found.queue
    configs = configs_of(queue)
    checked = checked_values(configs, values)
    task = _locked_task(found)
    now = timezone.now()
    if found.status not in TAKING:
        _take_place(task, queue)
    if found.status != AnnotationStatus.SUBMITTED:
        task.submitted_count += 1
        found.submitted_at = now
        found.duration_ms = max(0, round((now - found.started_at).total_seconds() * 1000))
    task.save(update_fields=["taken_count", "submitted_count"])
    found.status, found.claimed_until = AnnotationStatus.SUBMITTED, None
    found.values, found.comment = checked, comment
    found.score_ids = replace_scores(annotation=found, task=task, configs=configs, by=by)
    found.save()
    found.task = task
    return found


@transaction.atomic
def skip(*, annotation: Annotation, by: Principal) -> Annotation:
    """This person is not asked again. Raises Conflict for another person's, and for a submitted one."""
    found = _locked(annotation, by)
    _give_up_place(found)
    found.status, found.claimed_until = AnnotationStatus.SKIPPED, None
    found.save_fields("status", "claimed_until")
    return found


@transaction.atomic
def release(*, annotation: Annotation, by: Principal) -> None:
    """As if the task had never been claimed. Raises as `skip`."""
    found = _locked(annotation, by)
    _give_up_place(found)
    found.delete()


def _open_of(queue: AnnotationQueue, by: Principal) -> Any:
    return Annotation.objects.filter(queue=queue, status=AnnotationStatus.OPEN).of_person(by.user_id)


def _with_task(annotation: Annotation) -> Annotation:
    """With its queue and task read."""
    found: Annotation = Annotation.objects.select_related("queue", "task").get(pk=annotation.pk)
    return found


def _expire(queue: AnnotationQueue, now: datetime) -> None:
    """Open annotations whose lease has ended give their places back."""
    over = Annotation.objects.filter(queue=queue, status=AnnotationStatus.OPEN, claimed_until__lt=now)
    for annotation in over.select_for_update(skip_locked=True).order_by("task_id")[:_MOST_EXPIRED]:
        AnnotationTask.objects.filter(pk=annotation.task_id).update(taken_count=F("taken_count") - 1)
        annotation.status, annotation.claimed_until = AnnotationStatus.EXPIRED, None
        annotation.save_fields("status", "claimed_until")


def _next_task(queue: AnnotationQueue, by: Principal) -> AnnotationTask | None:
    """Locked. What others are claiming just now is waited for only when there is nothing else."""
    done = Annotation.objects.filter(task=OuterRef("pk")).of_person(by.user_id)
    wanted = (
        AnnotationTask.objects.filter(~Exists(done.exclude(status=AnnotationStatus.EXPIRED)), queue=queue)
        .filter(taken_count__lt=queue.annotations_per_task)
        .order_by("taken_count", "position", "id")
    )
    for skips in (True, False):
        task: AnnotationTask | None = wanted.select_for_update(skip_locked=skips).first()
        if task is not None:
            return task
    return None


def _take(task: AnnotationTask, by: Principal, now: datetime) -> Annotation:
    """Raises IntegrityError when this person has it, or another one, already."""
    AnnotationTask.objects.filter(pk=task.pk).update(taken_count=F("taken_count") + 1)
    opened = {"status": AnnotationStatus.OPEN, "claimed_until": now + LEASE, "started_at": now}
    annotation, is_new = Annotation.objects.get_or_create(
        task=task,
        annotator_id=by.user_id,
        defaults={"organization_id": task.organization_id, "queue_id": task.queue_id, **opened},
    )
    if not is_new:
        for name, value in opened.items():
            setattr(annotation, name, value)
        annotation.save_fields(*opened)
    return _with_task(annotation)


def _locked(annotation: Annotation, by: Principal) -> Annotation:
    if annotation.annotator_id != by.user_id:
        raise Conflict("This is another person's annotation.")
    try:
        found: Annotation = lock_for_update(Annotation.objects.select_related("queue"), pk=annotation.pk)
    except Annotation.DoesNotExist:
        raise NotFound("It has been given back meanwhile.") from None
    return found


def _locked_task(annotation: Annotation) -> AnnotationTask:
    found: AnnotationTask = lock_for_update(AnnotationTask.objects.all(), pk=annotation.task_id)
    return found


def _take_place(task: AnnotationTask, queue: AnnotationQueue) -> None:
    if task.taken_count >= queue.annotations_per_task:
        raise Conflict("The claim had expired, and others have taken the task since.")
    task.taken_count += 1


def _give_up_place(annotation: Annotation) -> None:
    if annotation.status == AnnotationStatus.SUBMITTED:
        raise Conflict("It has been submitted.", details={"status": annotation.status})
    if annotation.status == AnnotationStatus.OPEN:
        AnnotationTask.objects.filter(pk=annotation.task_id).update(taken_count=F("taken_count") - 1)
