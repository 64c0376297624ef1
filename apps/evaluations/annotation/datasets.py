"""A labelled dataset of what a queue has come to."""

from typing import Any
from uuid import UUID

from django.db import transaction

from apps.evaluations.annotation.labelling import LabelRule, labels_by_task, metadata_of
from apps.evaluations.annotation.values import configs_of
from apps.evaluations.datasets.items import NewItem
from apps.evaluations.datasets.services import add_items, create_dataset
from apps.evaluations.models import AnnotationQueue, AnnotationTask, Dataset, OnDuplicate
from apps.users.models import User
from apps.workflows.evaluating import ABSENT
from everquant.api.errors import BadRequest, Conflict
from everquant.db import lock_for_update


@transaction.atomic
def make_dataset(
    *,
    queue: AnnotationQueue,
    by: User | None,
    dataset_id: UUID | None = None,
    slug: str | None = None,
    name: str | None = None,
    label: str = LabelRule.MAJORITY.value,
    min_agreement: float = 0.0,
) -> dict[str, Any]:
    """A version with an item for each task that has a label, after those that a dataset has already.

    Items with the same input and another output are not the same, so none is taken for a duplicate. Raises Conflict
    when no task has a label or the slug is taken, BadRequest naming `dataset_id`, or items that do not fit the schemas.
    """
    labels = labels_by_task(queue, LabelRule(label), min_agreement)
    chosen = {task_id: named for task_id, named in labels.items() if named}
    if not chosen:
        raise Conflict("No task has a label yet.", details={"unlabelled_count": str(len(labels))})
    dataset = _dataset(queue, by, dataset_id, slug, name)
    first = configs_of(queue)[0]
    tasks = AnnotationTask.objects.filter(queue=queue, id__in=list(chosen)).order_by("position", "id")
    items = [_item(task, metadata_of(first, chosen[task.id])) for task in tasks.iterator(200)]
    written = add_items(
        dataset=dataset,
        items=items,
        on_duplicate=OnDuplicate.KEEP,
        message=f"Annotated in {queue.name}",
        created_by=by,
    )
    version = written.version
    return {
        "dataset_id": dataset.id,
        "version": version.version_number if version else 0,
        "item_count": written.item_count,
        "unlabelled_count": len(labels) - len(chosen),
    }


def _dataset(
    queue: AnnotationQueue, by: User | None, dataset_id: UUID | None, slug: str | None, name: str | None
) -> Dataset:
    if dataset_id is None:
        return create_dataset(
            organization_id=queue.organization_id, name=name or queue.name, slug=slug, created_by=by, description=""
        )
    datasets = Dataset.objects.for_organization(queue.organization_id).alive()
    try:
        found: Dataset = lock_for_update(datasets, pk=dataset_id)
    except Dataset.DoesNotExist:
        raise BadRequest("No such dataset.", details={"dataset_id": "No such object."}) from None
    return found


def _item(task: AnnotationTask, metadata: dict[str, Any]) -> NewItem:
    return NewItem(
        input=task.input,
        expected=task.expected if task.has_expected else ABSENT,
        output=task.output,
        metadata=metadata,
        source_execution_id=task.execution_id,
    )
