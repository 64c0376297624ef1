"""Calls that are made of pending cases, and answers that come of them."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from apps.evaluations.engine import answers, cases
from apps.evaluations.engine.cases import Pending
from apps.evaluations.engine.changes import Answer, Changes, RunWish, Started
from apps.evaluations.engine.ledger import Ledger
from apps.evaluations.engine.subjects import (
    UNAVAILABLE,
    CaseFailure,
    Missing,
    Models,
    ModelSubject,
    Recorded,
    Subject,
    Unpriced,
    WorkflowSubject,
    load_subjects,
)
from apps.evaluations.models import Evaluation
from apps.executions.orchestrator.cases import CaseCall, cancel_calls
from apps.workflows.engine.ending import request_cancel
from apps.workflows.models import WorkflowRun
from everquant.api.errors import Conflict
from everquant.db import uuid7

MOST_AT_ONCE = 200


class Asking:
    """`running` are the cases whose call was asked for, by the id of their execution or run; `queued` of them nobody
    has begun yet. `has_pending` says that there may be more, `lacks_room` that the budget has none for the next one.
    """

    def __init__(self, evaluation: Evaluation, ledger: Ledger) -> None:
        self._evaluation = evaluation
        self._ledger = ledger
        self._subjects = load_subjects(evaluation)
        self._models: dict[int, Models] = {}
        self._after = self._place = 0
        self.running: dict[UUID, Started] = {}
        self.queued = 0
        self.has_pending = True
        self.lacks_room = self.is_unpriced = False

    @property
    def subject_count(self) -> int:
        return len(self._subjects)

    def open(self) -> None:
        """Go on with what an earlier driver has asked for."""
        for started in cases.running(self._evaluation):
            self.running[started.key] = started
            if started.reserved_usd is not None:
                self._ledger.hold(started.case_id, started.reserved_usd)
        self._place = self._evaluation.succeeded_count + self._evaluation.failed_count + len(self.running)
        if self._ledger.is_limited:
            self.is_unpriced = any(_is_unpriced(subject) for subject in self._subjects)

    def look_again(self) -> None:
        """For pending cases from the first one on."""
        self._after, self.has_pending = 0, True

    def take(self) -> list[Answer]:
        """What has come of those that run."""
        calls = {key: started for key, started in self.running.items() if started.execution_id}
        runs = {key: started for key, started in self.running.items() if not started.execution_id}
        ended, self.queued = answers.of_executions(calls) if calls else ([], 0)
        ended += answers.of_runs(runs)
        for started, answer in ended:
            del self.running[started.key]
            self._ledger.settle(started.case_id, answer.charged_usd)
        return [answer for _, answer in ended]

    def ask(self, made: Changes) -> list[Answer]:
        """For the next pending cases, as many as may run at once and the budget has room for; gives what stands in
        their items, or why they cannot be asked for."""
        self.lacks_room = False
        room = self._evaluation.max_concurrency - len(self.running)
        if not self.has_pending or room <= 0 or self._runs_unreserved():
            return []
        found = cases.pending(self._evaluation, self._after, min(room, MOST_AT_ONCE))
        self.has_pending = bool(found)
        come: list[Answer] = []
        recorded: list[Pending] = []
        self._models.clear()
        for row in found:
            if isinstance(self._subjects[row.subject], Recorded):
                recorded.append(row)
            elif not self._begin(made, row, come):
                break
            self._after = row.case_id
        return come + answers.of_recorded(recorded)

    def _runs_unreserved(self) -> bool:
        """What was asked for before there was a budget may cost anything: it has to end first."""
        return self._ledger.is_limited and any(started.reserved_usd is None for started in self.running.values())

    def note_started(self, started: Sequence[Started]) -> None:
        """That these are stored."""
        self.running.update((each.key, each) for each in started)

    def cancel(self) -> None:
        """Ask those that run to end; what is queued ends at once."""
        if calls := [key for key, started in self.running.items() if started.execution_id]:
            cancel_calls(calls)
        runs = [key for key, started in self.running.items() if not started.execution_id]
        for run in WorkflowRun.objects.filter(id__in=runs):
            try:
                request_cancel(run=run)
            except Conflict:
                continue

    def _begin(self, made: Changes, row: Pending, come: list[Answer]) -> bool:
        """False when the budget has no room for it now, or its price is not known."""
        subject = self._subjects[row.subject]
        try:
            if isinstance(subject, WorkflowSubject):
                return self._begin_run(made, row, subject)
            if isinstance(subject, ModelSubject):
                return self._begin_call(made, row, subject)
            why = subject.why if isinstance(subject, Missing) else ""
            come.append(_failed(row, UNAVAILABLE, why))
        except CaseFailure as failure:
            come.append(_failed(row, failure.code, failure.message))
        except Unpriced:
            self.is_unpriced = True
            return False
        return True

    def _begin_call(self, made: Changes, row: Pending, subject: ModelSubject) -> bool:
        """Raises CaseFailure, Unpriced."""
        amount, models = None, self._models_of(row.subject, subject)
        if self._ledger.is_limited:
            plan, variables, amount = subject.limited_plan(row.input, models)
            if not self._has_room(row, amount):
                return False
        else:
            plan, variables = subject.plan(row.input, models)
        key = uuid7()
        made.calls.append(CaseCall(key, plan, variables, subject.prompt_id, self._place))
        made.started.append(Started(row.case_id, row.subject, row.item_id, key, reserved_usd=amount))
        self._place += 1
        return True

    def _models_of(self, position: int, subject: ModelSubject) -> Models:
        """Looked up once in a turn, so that a change is heeded soon. Raises CaseFailure."""
        if position not in self._models:
            self._models[position] = subject.models()
        return self._models[position]

    def _begin_run(self, made: Changes, row: Pending, subject: WorkflowSubject) -> bool:
        """Raises CaseFailure, Unpriced."""
        inputs, amount = subject.inputs(row.input), None
        if self._ledger.is_limited:
            amount = subject.most_usd()
            if not self._has_room(row, amount):
                return False
        case = Started(row.case_id, row.subject, row.item_id, reserved_usd=amount)
        made.runs.append(RunWish(case, subject.workflow, subject.version, inputs))
        return True

    def _has_room(self, row: Pending, amount_usd: Decimal) -> bool:
        self.lacks_room = not self._ledger.reserve(row.case_id, amount_usd)
        return not self.lacks_room


def _failed(row: Pending, code: str, message: str) -> Answer:
    return answers.failed(Answer(row.case_id, row.subject, row.item_id), code, message)


def _is_unpriced(subject: Subject) -> bool:
    try:
        if isinstance(subject, ModelSubject):
            subject.check_price()
        elif isinstance(subject, WorkflowSubject):
            subject.most_usd()
    except Unpriced:
        return True
    return False
