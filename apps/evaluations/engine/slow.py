"""Scores that wait for models, or for the baseline's answer: made by threads, and taken by the driver."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from queue import Empty, SimpleQueue

from django.conf import settings
from django.db.models import Sum
from django.db.models.functions import Coalesce

from apps.evaluations.engine.cases import Answered
from apps.evaluations.engine.changes import Changes
from apps.evaluations.engine.ledger import Ledger
from apps.evaluations.engine.metrics import Metric, ScoreRow, score
from apps.evaluations.judging.calling import caller_for
from apps.evaluations.models import Evaluation
from apps.executions.models import Execution, Source
from apps.models.providers.cancellation import Cancellation
from apps.workflows.evaluating import ABSENT, Caller, Context
from everquant.db import release_connection


@dataclass(frozen=True, slots=True)
class Task:
    case: Answered
    metric: Metric

    @property
    def holder(self) -> tuple[int, int]:
        return self.case.case_id, self.metric.position


def context_of(case: Answered, caller: Caller | None = None) -> Context:
    return Context(
        output=case.output,
        expected=case.item.expected if case.item.has_expected else ABSENT,
        input=case.item.input,
        metadata=case.item.metadata,
        other_output=case.other_output if case.has_other else ABSENT,
        latency_ms=case.latency_ms,
        cost_usd=case.cost_usd,
        caller=caller,
    )


class SlowScores:
    """`open` are the tasks that were begun or have to wait for room in the budget, by case and metric."""

    def __init__(self, evaluation: Evaluation, ledger: Ledger, executor: Executor) -> None:
        self._evaluation = evaluation
        self._ledger = ledger
        self._executor = executor
        self._come: SimpleQueue[tuple[Task, ScoreRow | None, bool]] = SimpleQueue()
        self.cancellation = Cancellation()
        self.open: dict[int, set[int]] = {}
        self.refused: list[Task] = []
        self.running = 0

    def begin_first(self, task: Task) -> None:
        """One that this driver has not begun before."""
        if paid := task.case.prepaid.get(task.metric.position):
            self._ledger.note_prepaid(task.holder, paid)
        self.begin(task)

    def begin(self, task: Task) -> None:
        self.open.setdefault(task.case.case_id, set()).add(task.metric.position)
        self.running += 1
        self._executor.submit(self._score, task)

    def again(self) -> None:
        """Begin those once more that the budget had no room for."""
        refused, self.refused = self.refused, []
        for task in refused:
            self.begin(task)

    def take(self, made: Changes) -> list[tuple[Task, ScoreRow]]:
        """Those that have come; what was stopped or refused has not, but what it has cost so far is."""
        come = []
        with suppress(Empty):
            while True:
                task, row, is_stopped = self._come.get_nowait()
                self.running -= 1
                if row is None:
                    raise RuntimeError(f"metric {task.metric.name} of case {task.case.case_id} came to nothing")
                is_refused = self._ledger.was_refused(task.holder)
                if is_stopped or is_refused:
                    self._prepay(made, task, row.cost_usd or Decimal(0))
                    self.refused += [task] * is_refused
                else:
                    made.judged_usd += self._ledger.settle(task.holder, row.cost_usd or Decimal(0))
                    come.append((task, row))
        return come

    def _prepay(self, made: Changes, task: Task, cost_usd: Decimal) -> None:
        if new := self._ledger.prepay(task.holder, cost_usd):
            made.judged_usd += new
            key = f"{self._evaluation.round}/{task.metric.position}"
            made.prepaid.setdefault(task.case.case_id, {})[key] = str(cost_usd)

    def _score(self, task: Task) -> None:
        """One that was stopped says so: it is not an error of the evaluator."""
        row, is_stopped = None, False
        try:
            caller = self._caller(task) if task.metric.calls_models else None
            row = score(task.metric, task.case.case_id, context_of(task.case, caller))
            is_stopped = bool(row.error_code) and self.cancellation.is_requested
        finally:
            self._come.put((task, row, is_stopped))
            release_connection()

    def _caller(self, task: Task) -> Caller:
        evaluation, holder = self._evaluation, task.holder
        allow: Callable[[Decimal | None], None] = lambda amount: self._ledger.allow(holder, amount)  # noqa: E731
        return caller_for(
            organization_id=evaluation.organization_id,
            created_by_id=evaluation.created_by_id,
            api_key_id=evaluation.api_key_id,
            key_prefix=f"{evaluation.id}/{evaluation.round}/{task.case.case_id}/{task.metric.position}",
            deadline=time.monotonic() + settings.BACKGROUND_PATIENCE + settings.PROVIDER_TOTAL_TIMEOUT,
            cancellation=self.cancellation,
            allow=allow if self._ledger.is_limited else None,
            metadata=_mark(evaluation),
        )


def _mark(evaluation: Evaluation) -> dict[str, str]:
    """By which calls of its evaluators are found."""
    return {"evaluation_id": str(evaluation.id)}


def unrecorded_usd(evaluation: Evaluation) -> Decimal:
    """What calls of its evaluators have cost that no score tells of: their driver was killed before."""
    calls = Execution.objects.filter(organization_id=evaluation.organization_id, source=Source.JUDGE)
    mine = calls.exclude(metadata={}).filter(metadata__contains=_mark(evaluation))
    spent: Decimal = mine.aggregate(spent=Coalesce(Sum("cost_usd"), Decimal(0)))["spent"]
    return max(Decimal(0), spent - evaluation.evaluator_cost_usd)
