"""What happens to live tests every few seconds: what waits is added up, and acted on."""

from uuid import UUID

import structlog

from apps.evaluations.ab_tests.bandit import reweigh
from apps.evaluations.ab_tests.collecting import forget_pending, tests_to_look_at, try_to_collect
from apps.evaluations.ab_tests.guarding import guard
from apps.evaluations.ab_tests.points import add_point
from apps.evaluations.ab_tests.results import results_of
from apps.prompts.models import ABTest, ABTestStatus

logger = structlog.get_logger(__name__)


def collect_all() -> int:
    """Each test that runs or has something waiting, one after another; how many waiting rows were added up.

    A test that another process looks after at the moment is left to it, and one that fails holds up no other.
    """
    folded = 0
    for test_id in tests_to_look_at():
        try:
            folded += look_after(test_id)
        except Exception:
            logger.exception("ab_test_not_looked_after", ab_test_id=str(test_id))
    return folded


def look_after(test_id: UUID) -> int:
    """Collect, pause if a guardrail is broken, add to the plot, and set a bandit's weights."""
    if not ABTest.objects.filter(id=test_id).exists():
        forget_pending(test_id)
        return 0
    folded = try_to_collect(test_id)
    test = ABTest.objects.filter(id=test_id, status=ABTestStatus.RUNNING).first()
    if folded is None or test is None:
        return folded or 0
    results = results_of(test)
    add_point(test, results)
    if guard(test, results) is None:
        reweigh(test)
    return folded
