"""What happens to live tests every few seconds: what waits is added up, and acted on."""

import time
from uuid import UUID

import structlog

from apps.evaluations.ab_tests.bandit import reweigh
from apps.evaluations.ab_tests.collecting import forget_pending, running_tests, try_to_collect, waiting_tests
from apps.evaluations.ab_tests.guarding import guard, guard_models
from apps.evaluations.ab_tests.points import add_point
from apps.evaluations.ab_tests.results import results_of
from apps.prompts.models import ABTest, ABTestStatus
from everquant.memory import RecentMemory

logger = structlog.get_logger(__name__)

IDLE_S = 30.0
"""After so long a running test is looked after though nothing waits: a point or weights may be due by now, and who
added up last may have died before it acted on that."""
_looked_after: RecentMemory[UUID, float] = RecentMemory(10_000)


def collect_all(idle_s: float = IDLE_S) -> int:
    """Each test that has something waiting, or runs and was left alone for so long, one after another; how many waiting
    rows were added up.

    A test that another process looks after at the moment is left to it, and one that fails holds up no other.
    """
    folded = 0
    idle = {test_id for test_id in running_tests() if _is_due(test_id, idle_s)}
    for test_id in sorted(waiting_tests() | idle):
        try:
            folded += look_after(test_id)
        except Exception:
            logger.exception("ab_test_not_looked_after", ab_test_id=str(test_id))
    return folded


def _is_due(test_id: UUID, idle_s: float) -> bool:
    last = _looked_after.get(test_id)
    return last is None or time.monotonic() - last >= idle_s


def look_after(test_id: UUID) -> int:
    """Collect, pause if a guardrail is broken or a model is gone, add to the plot, and set a bandit's weights."""
    began = time.monotonic()
    if not ABTest.objects.filter(id=test_id).exists():
        forget_pending(test_id)
        return 0
    folded = try_to_collect(test_id)
    test = ABTest.objects.filter(id=test_id, status=ABTestStatus.RUNNING).first()
    if folded is None or test is None:
        return folded or 0
    results = results_of(test)
    add_point(test, results)
    if guard(test, results) is None and guard_models(test) is None:
        reweigh(test)
    _looked_after.keep(test_id, began)
    return folded
