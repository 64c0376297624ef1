"""Scores of cases that have an answer: at once where nothing is waited for, the others by threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from uuid import UUID

from apps.evaluations.engine import cases
from apps.evaluations.engine.cases import Answered, Item
from apps.evaluations.engine.changes import Answer, Changes
from apps.evaluations.engine.ledger import Ledger
from apps.evaluations.engine.metrics import Metric, load_metrics, score
from apps.evaluations.engine.slow import SlowScores, Task, context_of
from apps.evaluations.models import CaseStatus, Evaluation

MOST_AT_ONCE = 200


class Scoring:
    """`keep` is called between scores: they take time. `has_answered` says that there may be stored cases with an
    answer that nobody scores, `is_piled_up` that there are more of them than are scored now.
    """

    def __init__(self, evaluation: Evaluation, ledger: Ledger, executor: Executor, keep: Callable[[], None]) -> None:
        self._evaluation = evaluation
        self._keep = keep
        self._metrics = load_metrics(evaluation)
        self._with_baseline = any(metric.compares_two for metric in self._metrics)
        self._has_news = False
        self.slow = SlowScores(evaluation, ledger, executor)
        self.has_answered = self.is_piled_up = True

    def add_answers(self, made: Changes, come: Sequence[Answer]) -> None:
        """With the scores that need nothing but them."""
        made.answers += come
        good = [answer for answer in come if answer.status == CaseStatus.ANSWERED]
        items = cases.items([answer.item_id for answer in good]) if good else {}
        for answer in good:
            wanted = self._wanted(answer.subject)
            self._score_now(made, _of(answer, items), wanted)
            if not any(metric.is_slow for metric in wanted):
                answer.status = CaseStatus.SUCCEEDED
        has_slow = any(answer.status == CaseStatus.ANSWERED for answer in come)
        self._has_news = self._has_news or has_slow or (self._with_baseline and bool(come))

    def take(self, made: Changes) -> None:
        """The scores of threads that have come, and what they and those without one have cost."""
        for task, row in self.slow.take(made):
            made.scores.append(row)
            left = self.slow.open[task.case.case_id]
            left.discard(task.metric.position)
            if not left:
                del self.slow.open[task.case.case_id]
                made.scored.append(task.case.case_id)

    def begin(self, made: Changes) -> None:
        """Go on with stored cases that have an answer, as many at once as calls may run at once."""
        if made.answers or made.scores:
            self.slow.again()
        room = min(self._evaluation.max_concurrency - len(self.slow.open), MOST_AT_ONCE)
        self.is_piled_up = self.has_answered and room <= 0
        if not self.has_answered or room <= 0:
            return
        taken = [*self.slow.open, *made.scored]
        found = cases.answered(self._evaluation, taken, room, with_baseline=self._with_baseline)
        self.has_answered, self.is_piled_up = bool(found), len(found) == room
        for case in found:
            self._begin_case(made, case)

    def note_stored(self) -> None:
        """That what was made is stored: it is seen by the next look."""
        self.has_answered, self._has_news = self.has_answered or self._has_news, False

    def _begin_case(self, made: Changes, case: Answered) -> None:
        wanted = [metric for metric in self._wanted(case.subject) if metric.position not in case.scored]
        self._score_now(made, case, wanted)
        slow = [metric for metric in wanted if metric.is_slow]
        if not slow:
            made.scored.append(case.case_id)
        for metric in slow:
            self.slow.begin_first(Task(case, metric))

    def _wanted(self, subject: int) -> list[Metric]:
        return [metric for metric in self._metrics if metric.is_for(subject)]

    def _score_now(self, made: Changes, case: Answered, wanted: Sequence[Metric]) -> None:
        context = context_of(case)
        for metric in wanted:
            if not metric.is_slow:
                self._keep()
                made.scores.append(score(metric, case.case_id, context))


def _of(answer: Answer, items: dict[UUID, Item]) -> Answered:
    return Answered(
        answer.case_id, answer.subject, answer.output, answer.latency_ms, answer.cost_usd, items[answer.item_id],
        has_other=False, other_output=None, scored=frozenset(),
    )  # fmt: skip
