"""What has not been counted yet by those who keep sums: it is not purged before it is."""

from uuid import UUID

from django.db.models import Exists, OuterRef

from apps.evaluations.models import ABPending
from apps.executions.models import Score


def has_pending(organization_id: UUID, low: UUID, high: UUID) -> bool:
    """Whether an execution with a key from `low` until before `high`, or a score of one, is still to be added up."""
    pending = ABPending.objects.filter(kind=ABPending.Kind.EXECUTION, ref_id__gte=low, ref_id__lt=high)
    if pending.exists():
        return True
    scores = Score.objects.for_organization(organization_id).filter(execution_id__gte=low, execution_id__lt=high)
    waiting = ABPending.objects.filter(kind=ABPending.Kind.SCORE, ref_id=OuterRef("id"))
    return bool(scores.filter(Exists(waiting)).exists())
