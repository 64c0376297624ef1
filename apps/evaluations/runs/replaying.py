"""What was executed, given to a candidate: the recorded outputs are the baseline."""

from typing import Any
from uuid import UUID

from django.db import transaction

from apps.evaluations.datasets.services.datasets import create_dataset
from apps.evaluations.datasets.services.executions import add_executions
from apps.evaluations.models import Evaluation, OnDuplicate
from apps.evaluations.runs.services import create_evaluation
from apps.evaluations.runs.wishes import SubjectWish
from apps.users.models import User
from apps.users.principal import Principal
from everquant.api.errors import ApiError, BadRequest, Forbidden
from everquant.db import uuid7

BASELINE = "recorded"
_NEEDED = ("executions:read", "datasets:create")


@transaction.atomic(savepoint=False)
def replay(
    *,
    organization_id: UUID,
    criteria: dict[str, str],
    limit: int,
    candidate: SubjectWish,
    by: Principal,
    user: User | None,
    **options: Any,
) -> Evaluation:
    """An evaluation over a new dataset of the newest executions that `criteria` find and that have an output.

    Raises BadRequest naming `filter.<name>` or `candidate.<path>`, Forbidden for a candidate that `by` may not call.
    """
    missing = [permission for permission in _NEEDED if not by.can(permission)]
    if missing:
        raise Forbidden(f"A replay needs {' and '.join(missing)} too.")
    if candidate.is_recorded:
        raise BadRequest("The candidate is called.", details={"candidate.recorded": "Is the baseline already."})
    slug = f"replay-{uuid7()}"
    name = options.get("name") or slug
    dataset = create_dataset(organization_id=organization_id, name=name, slug=slug, created_by=user)
    written = add_executions(
        dataset=dataset,
        criteria=criteria,
        limit=limit,
        with_output=True,
        expects_output=False,
        split="",
        on_duplicate=OnDuplicate.KEEP,
        message="Replayed executions",
        created_by=user,
    )
    if written.version is None:
        raise BadRequest("No execution with an output is found.", details={"filter": "It finds nothing."})
    subjects = [SubjectWish(name=BASELINE, is_recorded=True), candidate]
    try:
        return create_evaluation(
            organization_id=organization_id, dataset_version=written.version, subjects=subjects, by=by, **options
        )
    except ApiError as error:
        raise _named(error) from error


def _named(error: ApiError) -> ApiError:
    """The candidate is the second subject of the evaluation."""
    details = {path.replace("subjects.1", "candidate", 1): why for path, why in error.details.items()}
    return type(error)(error.message, details=details)
