"""What has not been counted yet by those who keep sums: it is not purged before it is."""

from uuid import UUID

from django.db.models import Exists, OuterRef

from apps.evaluations.models import ABPending
from apps.executions.models import Score
from apps.prompts.models import ABTest

Kind = ABPending.Kind


def has_pending(organization_id: UUID, low: UUID, high: UUID) -> bool:
    """Whether an execution with a key from `low` until before `high`, or a score of one, is still to be added up.

    Adding up an execution reads its payload too. Observations stand for themselves.
    """
    waiting = ABPending.objects.filter(test_id__in=ABTest.objects.for_organization(organization_id).values("id"))
    if waiting.filter(kind__in=(Kind.EXECUTION, Kind.SCORE_RETRACTED), ref_id__gte=low, ref_id__lt=high).exists():
        return True
    scores = Score.objects.for_organization(organization_id).filter(execution_id__gte=low, execution_id__lt=high)
    return bool(scores.filter(Exists(waiting.filter(kind=Kind.SCORE, ref_id=OuterRef("id")))).exists())
